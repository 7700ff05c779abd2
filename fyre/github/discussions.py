"""What the forge knows of pull requests and of what was said of a commit; and how something is said there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from fyre.github.client import Comment, Forge
from fyre.github.errors import translated
from fyre.github.webhook import Said
from fyre.runs.run import Repository

THREAD = 86400.0
"""Seconds before a comment from which on a conversation is read."""


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request, as it is now."""

    number: int
    head: str  # SHA
    branch: str  # full: refs/heads/topic
    fork: bool  # whether the head is another repository's, or of one that is gone


def pull(forge: Forge, repository: Repository, number: int) -> Pull:
    """The pull request of that number. Raises ``NotFoundError`` where there is none."""
    what = f"pull request {number} of {repository.name}"
    with translated(what):
        data = forge.get(what, repository, f"/repos/{repository.name}/pulls/{number}")
        head = data["head"]
        fork = (head.get("repo") or {}).get("id") != repository.id
        return Pull(number, str(head["sha"]), f"refs/heads/{head['ref']}", fork)


def head_at(forge: Forge, repository: Repository, one: Pull, at: float) -> str:
    """The head of a branch's pull request as it was at a time, as far as the forge's activity says; else as it is."""
    what = f"the activity of {one.branch} in {repository.name}"
    with translated(what):
        path = f"/repos/{repository.name}/activity?ref={quote(one.branch, safe='')}&per_page=100"
        entries = forge.get(what, repository, path)
        if (
            not entries or entries[0]["after"] != one.head
        ):  # the two answers are not of one time: the newer is right
            return one.head
        then = (
            entry["after"]
            for entry in entries
            if datetime.fromisoformat(entry["timestamp"]).timestamp() <= at
        )
        return str(next(then, one.head))


def thread(forge: Forge, said: Said) -> list[Comment]:
    """What is said where a comment stands, oldest first; of a pull request, from a day before it on."""
    if not said.pull:
        return forge.comments(said.repository, said.sha)
    since = moment(said.at - THREAD)
    what = f"the comments of pull request {said.pull} of {said.repository.name}"
    path = f"/repos/{said.repository.name}/issues/{said.pull}/comments?since={since}&per_page=100"
    with translated(what):
        return [comment(entry) for entry in forge.entries(what, said.repository, path)]


def say(forge: Forge, said: Said, body: str) -> None:
    """Write a comment where another one stands."""
    if said.pull:
        forge.discuss(said.repository, said.pull, body)
    else:
        forge.comment(said.repository, said.sha, body)


def comment(entry: dict[str, object]) -> Comment:
    """A comment as the API has it, of either kind."""
    user = entry.get("user")
    author = str(user["login"]) if isinstance(user, dict) else ""
    return Comment(
        int(str(entry["id"])),
        str(entry.get("commit_id") or ""),
        author,
        str(entry.get("body") or ""),
    )


def moment(seconds: float) -> str:
    """A time as the API takes it: whole seconds, UTC."""
    return datetime.fromtimestamp(int(max(seconds, 0.0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
