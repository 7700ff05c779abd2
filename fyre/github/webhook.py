"""``headers, body → event``: what a delivery says, verified and parsed without any I/O.

GitHub's facts: the signature is ``X-Hub-Signature-256: sha256=HEX`` over the raw body; a push lists at most 2,048
commits and does not say when it was cut; a tag's or a branch's deletion, and a force-push that drops commits, name a
``head_commit`` that was not pushed, so ``head_commit`` is never looked at.
"""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fyre.runs.run import ZERO_SHA, Repository

BODY_MAX = 25 * 1024 * 1024
"""Bytes; GitHub sends no larger payload."""

COMMITS_MAX = 2048
"""Commits that a push payload lists at most; that many mean that there may be more."""

HEADS = "refs/heads/"
_QUEUE = "refs/heads/gh-readonly-queue/"


class ForgedError(Exception):
    """The delivery is not signed with the secret: nothing of it may be believed. ``args[0]`` says why."""


class MalformedError(Exception):
    """The delivery is signed, and yet not what GitHub sends. ``args[0]`` says why."""


@dataclass(frozen=True, slots=True)
class Push:
    """A branch that has new commits. ``shas`` are as listed, oldest first; ``cut`` says that there may be more."""

    repository: Repository
    ref: str
    before: str
    after: str
    actor: str
    shas: tuple[str, ...]
    cut: bool = False

    @property
    def created(self) -> bool:
        """Whether the branch is new."""
        return self.before == ZERO_SHA


@dataclass(frozen=True, slots=True)
class Said:
    """A comment on a commit, or in the conversation of a pull request."""

    repository: Repository
    sha: str  # "" in a pull request: the forge does not say which commit is meant
    actor: str
    body: str
    comment_id: int
    at: float = 0.0  # when it was written; seconds since the epoch, by the forge's clock
    pull: int = 0  # the pull request's number
    bot: bool = False  # whether no person wrote it


@dataclass(frozen=True, slots=True)
class Rerequested:
    """A click on the Re-run button of one of our check runs, or on the one of all of a commit's."""

    repository: Repository
    sha: str
    actor: str
    name: str  # of the run; "" for all
    number: int  # what makes it this click, whenever it is told again


@dataclass(frozen=True, slots=True)
class Nothing:
    """A delivery that starts nothing, and why."""

    why: str


Event = Push | Said | Rerequested | Nothing


def verify(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes) -> None:
    """Hold the body to its signature, in constant time; any of the secrets will do. Raises ``ForgedError``."""
    given = headers.get("x-hub-signature-256", "")
    if not any(secrets):
        raise ForgedError("no webhook secret is configured")
    if not given:
        raise ForgedError("X-Hub-Signature-256 is missing")
    expected = [
        b"sha256=" + hmac.new(secret, body, "sha256").hexdigest().encode()
        for secret in secrets
        if secret
    ]
    if not any([hmac.compare_digest(given.encode(errors="replace"), one) for one in expected]):  # noqa: C419 - no early exit
        raise ForgedError("X-Hub-Signature-256 does not match")


def parse(forge: str, headers: Mapping[str, str], body: bytes) -> Event:
    """What a verified delivery means. ``forge`` is the API's base URL. Raises ``MalformedError``."""
    event = headers.get("x-github-event", "")
    if event not in _READERS and event != "check_suite":
        return Nothing(f"event {event[:40] or '(none)'} starts nothing")
    try:
        data = json.loads(body)
        if event == "check_suite":
            return _on_suite(forge, data, headers.get("x-github-delivery", ""))
        return _READERS[event](forge, data)
    except RecursionError as error:
        raise MalformedError("JSON nested too deeply") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise MalformedError(
            f"not a {event} payload: {type(error).__name__} {str(error)[:100]}"
        ) from error


def _push(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    ref, before, after = _text(data["ref"]), _sha(data["before"]), _sha(data["after"])
    if not ref.startswith(HEADS):
        return Nothing("only branches launch")
    if ref.startswith(_QUEUE):
        return Nothing("a merge queue's own branch")
    if data["deleted"] or after == ZERO_SHA:
        return Nothing("the branch was deleted")
    shas = tuple(_sha(commit["id"]) for commit in data["commits"])
    actor = _text((data.get("sender") or {}).get("login") or "")
    return Push(
        _repository(forge, data), ref, before, after, actor, shas, cut=len(shas) >= COMMITS_MAX
    )


def _on_commit(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    return _said(forge, data, sha=_sha(data["comment"]["commit_id"]))


def _on_issue(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    if not data["issue"].get("pull_request"):
        return Nothing("an issue has no commit")
    return _said(forge, data, pull=int(data["issue"]["number"]))


def _said(forge: str, data: Any, *, sha: str = "", pull: int = 0) -> Event:  # noqa: ANN401 - what JSON holds
    comment, sender = data["comment"], data.get("sender") or {}
    if data["action"] != "created":
        return Nothing("only a new comment is a command")
    return Said(
        repository=_repository(forge, data),
        sha=sha,
        actor=_text(sender.get("login") or ""),
        body=_text(comment["body"]),
        comment_id=int(comment["id"]),
        at=datetime.fromisoformat(_text(comment["created_at"])).timestamp(),
        pull=pull,
        bot=sender.get("type") == "Bot",
    )


def _on_check(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    context, number = _text(data["check_run"]["name"]), int(data["check_run"]["id"])
    if not context.startswith("fyre/"):
        return Nothing("no run of ours")
    return _clicked(
        forge, data, data["check_run"]["head_sha"], context.removeprefix("fyre/"), number
    )


def _on_suite(forge: str, data: Any, delivery: str) -> Event:  # noqa: ANN401 - what JSON holds
    """A commit has one suite for good: what tells its clicks apart is the delivery, which keeps its GUID."""
    return _clicked(forge, data, data["check_suite"]["head_sha"], "", uuid.UUID(delivery).int)


def _clicked(forge: str, data: Any, sha: object, name: str, number: int) -> Event:  # noqa: ANN401 - what JSON holds
    """GitHub tells ``rerequested`` to the App whose check runs these are, and to no other."""
    sender = data.get("sender") or {}
    if data["action"] != "rerequested":
        return Nothing("a check run's other news are our own")
    if sender.get("type") == "Bot":
        return Nothing("nobody clicked")
    return Rerequested(
        _repository(forge, data), _sha(sha), _text(sender.get("login") or ""), name, number
    )


def _repository(forge: str, data: Any) -> Repository:  # noqa: ANN401 - what JSON holds
    found = data["repository"]
    return Repository(
        forge,
        int(found["id"]),
        _text(found["full_name"]),
        _text(found.get("default_branch") or "main"),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is missing")
    return value


def _sha(value: object) -> str:
    text = _text(value)
    if len(text) not in (40, 64) or not set(text) <= set("0123456789abcdef"):
        raise ValueError("not a SHA")
    return text


_READERS: Mapping[str, Callable[[str, Any], Event]] = {
    "push": _push,
    "commit_comment": _on_commit,
    "issue_comment": _on_issue,
    "check_run": _on_check,
}
