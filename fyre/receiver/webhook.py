"""``headers, body → event``: what a delivery says, verified and parsed without any I/O.

GitHub's facts: the signature is ``X-Hub-Signature-256: sha256=HEX`` over the raw body; a push lists at most 2,048
commits and does not say when it was cut; a tag's or a branch's deletion, and a force-push that drops commits, name a
``head_commit`` that was not pushed, so ``head_commit`` is never looked at.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fyre.git import ZERO
from fyre.run import Repository

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
        return self.before == ZERO


@dataclass(frozen=True, slots=True)
class Said:
    """A comment on a commit."""

    repository: Repository
    sha: str
    actor: str
    body: str
    comment_id: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """A delivery that starts nothing, and why."""

    why: str


Event = Push | Said | Nothing


def verify(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes) -> None:
    """Hold the body to its signature, in constant time; any of the secrets will do. Raises ``ForgedError``."""
    given = headers.get("x-hub-signature-256", "")
    if not any(secrets):
        raise ForgedError("no webhook secret is configured")
    if not given:
        raise ForgedError("X-Hub-Signature-256 is missing")
    expected = [b"sha256=" + hmac.new(secret, body, "sha256").hexdigest().encode() for secret in secrets if secret]
    if not any([hmac.compare_digest(given.encode(errors="replace"), one) for one in expected]):  # noqa: C419 - no early exit
        raise ForgedError("X-Hub-Signature-256 does not match")


def parse(forge: str, headers: Mapping[str, str], body: bytes) -> Event:
    """What a verified delivery means. ``forge`` is the API's base URL. Raises ``MalformedError``."""
    event = headers.get("x-github-event", "")
    if event not in ("push", "commit_comment"):
        return Nothing(f"event {event[:40] or '(none)'} starts nothing")
    try:
        data = json.loads(body)
        return _push(forge, data) if event == "push" else _said(forge, data)
    except RecursionError as error:
        raise MalformedError("JSON nested too deeply") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise MalformedError(f"not a {event} payload: {type(error).__name__} {str(error)[:100]}") from error


def _push(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    ref, before, after = _text(data["ref"]), _sha(data["before"]), _sha(data["after"])
    if not ref.startswith(HEADS):
        return Nothing("only branches launch")
    if ref.startswith(_QUEUE):
        return Nothing("a merge queue's own branch")
    if data["deleted"] or after == ZERO:
        return Nothing("the branch was deleted")
    shas = tuple(_sha(commit["id"]) for commit in data["commits"])
    actor = _text((data.get("sender") or {}).get("login") or "")
    return Push(_repository(forge, data), ref, before, after, actor, shas, cut=len(shas) >= COMMITS_MAX)


def _said(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    comment = data["comment"]
    if data["action"] != "created":
        return Nothing("only a new comment is a command")
    actor = _text((data.get("sender") or {}).get("login") or "")
    return Said(_repository(forge, data), _sha(comment["commit_id"]), actor, _text(comment["body"]), int(comment["id"]))


def _repository(forge: str, data: Any) -> Repository:  # noqa: ANN401 - what JSON holds
    found = data["repository"]
    return Repository(forge, int(found["id"]), _text(found["full_name"]), _text(found.get("default_branch") or "main"))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is missing")
    return value


def _sha(value: object) -> str:
    text = _text(value)
    if len(text) not in (40, 64) or not set(text) <= set("0123456789abcdef"):
        raise ValueError("not a SHA")
    return text
