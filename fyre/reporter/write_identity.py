"""Identities of writes that wait: two of one identity are one write. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordStatusWrite:
    """The statuses that a run's record leaves to post, one after the other."""

    run_key: str


@dataclass(frozen=True, slots=True)
class UnrecordedStatusWrite:
    """A status that no record brings back; ``context`` in lower case, as GitHub compares it."""

    repository_id: int
    sha: str
    context: str


@dataclass(frozen=True, slots=True)
class CheckRunWrite:
    """The check run of a run that has ended."""

    repository_id: int
    run_key: str


@dataclass(frozen=True, slots=True)
class CommentWrite:
    """A comment that answers the one with this key; each is answered once."""

    repository_id: int
    comment_key: str
    is_optional: bool = False  # true if it gives way to every status


WriteId = RecordStatusWrite | UnrecordedStatusWrite | CheckRunWrite | CommentWrite
