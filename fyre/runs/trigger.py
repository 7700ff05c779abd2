"""The trigger of a commit's runs: a push, a comment, a click. Pure.

Access is judged by it, and a run takes its ``ref`` and its ``actor`` from it. Identity is the actor
whom the forge names, never what a commit says of its author.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TriggerKind(StrEnum):
    """The kinds of triggers. Nothing makes a schedule yet."""

    PUSH = "push"
    COMMENT = "comment"
    RERUN = "rerun"  # a click on the Re-run button of a check run
    RUN_END = "run end"  # of a run of the same commit: it is planned again for its push
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Trigger:
    """One request to launch, as the forge reports it."""

    kind: TriggerKind
    actor: str
    """The login of the person who asked; "" if the forge named nobody."""

    ref: str = ""
    """Full: ``refs/heads/main`` of a push, ``refs/pull/7/head`` of a fork's commit that a comment
    approves; "" for a request that names a commit and no branch."""

    head_sha: str = ""
    """The commit that the ref is at now, as the event says; "" if there is no ref. At a run's end
    it is the commit itself: when the push was planned, it was found to be on the ref."""

    at: float = 0.0
    """The time at which it happened, or we learnt of it; seconds since the epoch."""

    id: str = ""
    """Identifies this request, however often it is delivered. It is hashed into the keys of the
    runs that a comment or a click launches, so its form is a stored one: ``comment 9`` for one
    on a commit, ``pull comment 9``, and ``comment -9`` for a click. "" for a push, and
    for a run's end: their runs are identified by their commits."""

    def is_head(self, sha: str) -> bool:
        """Return True if the event itself says that its ref is at this commit."""
        return sha == self.head_sha
