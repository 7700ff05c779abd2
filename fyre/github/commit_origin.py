"""Find out who wrote a pushed commit's message: somebody who may push, or somebody else.

It is decided by the pull request that brought the commit, by the pull requests that brought the
commits of that one (``fyre.github.nested_pulls``), by the upstream of a fork, and by a signature
that the forge has verified. Never by an e-mail address, which anybody may write into a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fyre.github.errors import DeniedError, UnauthenticatedError
from fyre.github.nested_pulls import (
    FORGE_LOGIN,
    NestedPulls,
    UnclearOriginError,
    find_outside_writer,
    is_signed_by_writer,
)
from fyre.github.origin_questions import OriginQuestions
from fyre.github.permissions import malformed_as_transient
from fyre.runs.access import CommitOrigin

PULL_RIGHT = "pull requests: read"
"""The right to ask which pull requests brought a commit."""


@dataclass(frozen=True)
class PushedCommit:
    """A commit whose message asks for runs, with who pushed it to which branch (``main``)."""

    sha: str
    message: str
    actor: str
    branch: str


def find_origin(
    questions: OriginQuestions, commit: PushedCommit, *, is_without_pulls: Callable[[], bool]
) -> CommitOrigin:
    """Return the origin of a pushed commit. Raises what ``OriginQuestions`` raises.

    ``is_without_pulls`` says if no pull request can have brought it, as ``has_no_pulls`` does.
    """
    try:
        pulls = [] if is_without_pulls() else questions.list_pulls(commit.sha)
        upstream = questions.find_upstream_of(commit.sha, commit.branch)
    except UnauthenticatedError:
        raise
    except DeniedError:
        return _origin_by_author(questions.get_commit(commit.sha), commit.actor)
    origin = _origin_by_pulls(questions, commit, pulls, upstream)
    if origin == CommitOrigin():
        return origin
    data = questions.get_commit(commit.sha)
    return CommitOrigin() if is_signed_by_writer(data, questions.get_role) else origin


def _origin_by_pulls(
    questions: OriginQuestions, commit: PushedCommit, pulls: list[dict[str, Any]], upstream: str
) -> CommitOrigin:
    """Return the origin as the pull requests of a commit tell it, whoever signed it."""
    description = f"the pull requests of {commit.sha[:7]} in {questions.repository.name}"
    nested = NestedPulls(questions, commit.message, commit.actor, commit.branch)
    with malformed_as_transient(description):
        writer = find_outside_writer(pulls, commit.actor, questions.get_role) or upstream
        try:
            return CommitOrigin(writer or nested.find_writer(commit.sha, pulls))
        except UnclearOriginError as error:
            return CommitOrigin(problem=str(error))


def _origin_by_author(commit: dict[str, Any], actor: str) -> CommitOrigin:
    """Return the origin of a commit as far as the commit itself tells it.

    A merge that the forge committed may hold a title that somebody else wrote.
    """
    with malformed_as_transient("a commit's author"):
        author = (commit.get("author") or {}).get("login") or commit["commit"]["author"]["name"]
        committer = (commit.get("committer") or {}).get("login")
        merged_by_forge = committer == FORGE_LOGIN and len(commit["parents"]) > 1
    if author == actor and not merged_by_forge:
        return CommitOrigin()
    return CommitOrigin("somebody else" if author == actor else str(author), PULL_RIGHT)
