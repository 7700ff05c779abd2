"""Verify and parse webhook deliveries: ``headers, body → event``, without any I/O.

GitHub's facts: the signature is ``X-Hub-Signature-256: sha256=HEX`` over the raw body; a push lists
at most 2,048 commits and does not say when it was cut; a tag's or a branch's deletion, and a
force-push that drops commits, name a ``head_commit`` that was not pushed, so ``head_commit`` is
never looked at.
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

BRANCH_PREFIX = "refs/heads/"

MERGE_QUEUE_PREFIX = f"{BRANCH_PREFIX}gh-readonly-queue/"
"""The branches of GitHub's merge queue, which launch nothing."""

_PULL_REQUEST = "pull_request"
_NEW_HEAD_ACTIONS = ("opened", "synchronize")
_PULL_ACTIONS = (*_NEW_HEAD_ACTIONS, "reopened", "edited")


class SignatureError(Exception):
    """The delivery is not signed with the secret, so nothing in it may be believed.

    ``args[0]`` says why.
    """


class PayloadError(Exception):
    """The delivery is signed, and yet not what GitHub sends. ``args[0]`` says why."""


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A branch that has new commits.

    ``shas`` are as listed, oldest first; ``is_truncated`` says that there may be more.
    """

    repository: Repository
    ref: str
    before: str
    after: str
    actor: str
    shas: tuple[str, ...]
    is_truncated: bool = False

    @property
    def is_new_branch(self) -> bool:
        """True if the branch is new."""
        return self.before == ZERO_SHA


@dataclass(frozen=True, slots=True)
class CommentEvent:
    """A comment on a commit, or in the conversation of a pull request."""

    repository: Repository
    sha: str  # "" in a pull request: the forge does not say which commit is meant
    actor: str
    body: str
    comment_id: int
    created_at: float = 0.0  # seconds since the epoch, by the forge's clock
    pull_number: int = 0  # 0 for a comment on a commit
    is_bot: bool = False  # true if no person wrote it


@dataclass(frozen=True, slots=True)
class RerequestEvent:
    """A click on the Re-run button of one of our check runs, or of all those of a commit."""

    repository: Repository
    sha: str
    actor: str
    run_name: str  # "" for all runs
    click_id: int  # identifies this click, however often it is delivered


@dataclass(frozen=True, slots=True)
class PullRequestEvent:
    """An open pull request that is new, or has changed."""

    repository: Repository
    number: int
    head_sha: str
    base: str  # the branch: main
    title: str
    body: str
    is_fork: bool  # true if the head is of another repository, or of one that is gone
    takes_squash: bool  # false if the repository allows no squash
    updated_at: float  # seconds since the epoch, by the forge's clock
    has_new_head: bool = False  # true if nobody was told of this head before


@dataclass(frozen=True, slots=True)
class IgnoredEvent:
    """A delivery that starts nothing, and why."""

    reason: str


Event = PushEvent | CommentEvent | RerequestEvent | PullRequestEvent | IgnoredEvent


def verify_signature(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes) -> None:
    """Check the body's signature, in constant time; any of the secrets will do.

    Raises ``SignatureError``.
    """
    signature = headers.get("x-hub-signature-256", "")
    if not any(secrets):
        raise SignatureError("no webhook secret is configured")
    if not signature:
        raise SignatureError("X-Hub-Signature-256 is missing")
    expected = [
        b"sha256=" + hmac.new(secret, body, "sha256").hexdigest().encode()
        for secret in secrets
        if secret
    ]
    signature_bytes = signature.encode(errors="replace")
    if not any([hmac.compare_digest(signature_bytes, digest) for digest in expected]):  # noqa: C419 - no early exit
        raise SignatureError("X-Hub-Signature-256 does not match")


def parse_event(forge: str, headers: Mapping[str, str], body: bytes) -> Event:
    """Return the event of a verified delivery. ``forge`` is the API's base URL.

    Raises ``PayloadError``.
    """
    event_name = headers.get("x-github-event", "")
    if event_name not in _EVENT_PARSERS and event_name != "check_suite":
        return IgnoredEvent(f"event {event_name[:40] or '(none)'} starts nothing")
    try:
        data = json.loads(body)
        if event_name == "check_suite":
            return _parse_check_suite(forge, data, headers.get("x-github-delivery", ""))
        return _EVENT_PARSERS[event_name](forge, data)
    except RecursionError as error:
        raise PayloadError("JSON nested too deeply") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if event_name == _PULL_REQUEST:  # it starts nothing, whatever it holds
            return IgnoredEvent("a pull request that can't be read")
        raise PayloadError(
            f"not a {event_name} payload: {type(error).__name__} {str(error)[:100]}"
        ) from error


def _parse_push(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a push."""
    ref, before, after = (
        _require_text(data["ref"]),
        _require_sha(data["before"]),
        _require_sha(data["after"]),
    )
    if not ref.startswith(BRANCH_PREFIX):
        return IgnoredEvent("only branches launch")
    if ref.startswith(MERGE_QUEUE_PREFIX):
        return IgnoredEvent("a merge queue's own branch")
    if data["deleted"] or after == ZERO_SHA:
        return IgnoredEvent("the branch was deleted")
    shas = tuple(_require_sha(commit["id"]) for commit in data["commits"])
    actor = _require_text(_find_sender(data).get("login", ""))
    return PushEvent(
        _parse_repository(forge, data),
        ref,
        before,
        after,
        actor,
        shas,
        is_truncated=len(shas) >= COMMITS_MAX,
    )


def _parse_commit_comment(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a comment on a commit."""
    return _comment_event(forge, data, sha=_require_sha(data["comment"]["commit_id"]))


def _parse_issue_comment(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a comment on an issue, which may be a pull request."""
    if not data["issue"].get("pull_request"):
        return IgnoredEvent("an issue has no commit")
    return _comment_event(forge, data, pull_number=int(data["issue"]["number"]))


def _comment_event(forge: str, data: Any, *, sha: str = "", pull_number: int = 0) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a new comment.

    GitHub sends no user where the account is gone, and where it hides who it is.
    """
    comment = data["comment"]
    if data["action"] != "created":
        return IgnoredEvent("only a new comment is a command")
    sender = _find_sender(data)
    if not sender or not comment.get("user", True):
        return IgnoredEvent("a comment without a user")
    if comment["body"] is None:
        return IgnoredEvent("a comment without text")
    return CommentEvent(
        repository=_parse_repository(forge, data),
        sha=sha,
        actor=_require_text(sender["login"]),
        body=_require_text(comment["body"]),
        comment_id=int(comment["id"]),
        created_at=datetime.fromisoformat(_require_text(comment["created_at"])).timestamp(),
        pull_number=pull_number,
        is_bot=sender.get("type") == "Bot",
    )


def _parse_pull_request(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a pull request that is new, or has other commits or another text."""
    if data["action"] not in _PULL_ACTIONS:
        return IgnoredEvent("neither commits nor text of a pull request changed")
    has_new_head = data["action"] in ("opened", "synchronize")
    return parse_pull(
        _parse_repository(forge, data), data["pull_request"], has_new_head=has_new_head
    )


def parse_pull(
    repository: Repository,
    pull: Any,  # noqa: ANN401 - what JSON holds
    *,
    has_new_head: bool = False,
) -> PullRequestEvent | IgnoredEvent:
    """Return the event of a pull request, as a webhook or a listing describes it.

    Raises what ``parse_event`` turns into ``PayloadError``.
    """
    head, base = pull["head"], pull["base"]
    if pull["state"] != "open":
        return IgnoredEvent("the pull request is closed")
    if any(f"{BRANCH_PREFIX}{end['ref']}".startswith(MERGE_QUEUE_PREFIX) for end in (head, base)):
        return IgnoredEvent("a merge queue's own branch")
    return PullRequestEvent(
        repository=repository,
        number=int(pull["number"]),
        head_sha=_require_sha(head["sha"]),
        base=_require_text(base["ref"]),
        title=_require_text(pull["title"]),
        body=_require_text(pull.get("body") or ""),
        is_fork=(head.get("repo") or {}).get("id") != repository.id,
        takes_squash=(base.get("repo") or {}).get("allow_squash_merge") is not False,
        updated_at=datetime.fromisoformat(_require_text(pull["updated_at"])).timestamp(),
        has_new_head=has_new_head,
    )


def _parse_check_run(forge: str, data: Any) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a click on the Re-run button of one check run."""
    context, number = _require_text(data["check_run"]["name"]), int(data["check_run"]["id"])
    if not context.startswith("fyre/"):
        return IgnoredEvent("not a check run of Fyre's")
    return _rerequest_event(
        forge, data, data["check_run"]["head_sha"], context.removeprefix("fyre/"), number
    )


def _parse_check_suite(forge: str, data: Any, delivery: str) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a click on the Re-run button of all check runs.

    A commit has one suite for good: its clicks are told apart by the delivery, which keeps its
    GUID.
    """
    return _rerequest_event(
        forge, data, data["check_suite"]["head_sha"], "", uuid.UUID(delivery).int
    )


def _rerequest_event(forge: str, data: Any, sha: object, run_name: str, click_id: int) -> Event:  # noqa: ANN401 - what JSON holds
    """Return the event of a click.

    GitHub sends ``rerequested`` to the App whose check runs these are, and to no other.
    """
    sender = _find_sender(data)
    if data["action"] != "rerequested":
        return IgnoredEvent("only a re-run request of a check run starts something")
    if not sender:
        return IgnoredEvent("a click without a user")
    if sender.get("type") == "Bot":
        return IgnoredEvent("no person clicked")
    return RerequestEvent(
        _parse_repository(forge, data),
        _require_sha(sha),
        _require_text(sender["login"]),
        run_name,
        click_id,
    )


def _find_sender(data: Any) -> dict[str, Any]:  # noqa: ANN401 - what JSON holds
    """Return the account that a payload names as the actor; {} if it names none."""
    sender = data.get("sender")
    return sender if isinstance(sender, dict) and sender.get("login") else {}


def _parse_repository(forge: str, data: Any) -> Repository:  # noqa: ANN401 - what JSON holds
    """Return the repository of a payload."""
    repository = data["repository"]
    return Repository(
        forge,
        int(repository["id"]),
        _require_text(repository["full_name"]),
        _require_text(repository.get("default_branch") or "main"),
    )


def _require_text(value: object) -> str:
    """Return the text. Raises ``TypeError`` for other values."""
    if not isinstance(value, str):
        raise TypeError("a text is missing")
    return value


def _require_sha(value: object) -> str:
    """Return the SHA. Raises ``TypeError`` or ``ValueError`` for other values."""
    text = _require_text(value)
    if len(text) not in (40, 64) or not set(text) <= set("0123456789abcdef"):
        raise ValueError("not a SHA")
    return text


_EVENT_PARSERS: Mapping[str, Callable[[str, Any], Event]] = {
    "push": _parse_push,
    "commit_comment": _parse_commit_comment,
    "issue_comment": _parse_issue_comment,
    "check_run": _parse_check_run,
    _PULL_REQUEST: _parse_pull_request,
}
