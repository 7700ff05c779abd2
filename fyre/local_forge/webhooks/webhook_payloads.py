"""Webhook payloads in the shape that GitHub documents, with the oddities of recorded ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.auth import User
from fyre.local_forge.storage import git_log
from fyre.local_forge.storage.git_log import LogEntry
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.runs.run import ZERO_SHA

PUSH_COMMITS_MAX = 2048
"""Commits listed in a push, the newest ones; GitHub cuts there without saying so."""

MESSAGES_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of messages in one payload.

Beyond it each message is cut to ``SHORT_MESSAGE_LENGTH``, so that the payload stays below GitHub's
25 MB.
"""
SHORT_MESSAGE_LENGTH = 512

BRANCH_PREFIX, TAG_PREFIX = "refs/heads/", "refs/tags/"


@dataclass(frozen=True, slots=True)
class PushDetails:
    """One update of a ref, as the input of a payload.

    ``other_tips`` are the other branches as the receiver knows them: name → SHA.
    """

    ref: str
    before: str
    after: str
    actor: User
    other_tips: dict[str, str]


@dataclass(frozen=True, slots=True)
class _PushRange:
    """The commits of an update, newest first.

    ``distinct_shas`` are those among them that are new to the repository.
    """

    entries: Sequence[LogEntry]
    distinct_shas: frozenset[str]
    head: LogEntry | None
    forced: bool = False


def build_push_payload(repo: BareRepository, push: PushDetails, urls: ForgeUrls) -> JsonObject:
    """Return the payload of a ``push`` event. Raises ``OSError`` if git can't read the commits."""
    pushed = _read_push_range(repo.git_dir, push)
    created, deleted = push.before == ZERO_SHA, push.after == ZERO_SHA
    limits = _message_limits(pushed.entries)
    commits = [
        _serialize_push_commit(
            repo, entry, urls, distinct=entry.sha in pushed.distinct_shas, limit=limit
        )
        for entry, limit in reversed(list(zip(pushed.entries, limits, strict=True)))
    ]
    head = pushed.head and _serialize_push_commit(
        repo,
        pushed.head,
        urls,
        distinct=pushed.forced or pushed.head.sha in pushed.distinct_shas,
    )
    same_tips = (name for name, sha in push.other_tips.items() if sha == push.after)
    base_ref = next(same_tips, None) if created else None
    return {
        "ref": push.ref,
        "before": push.before,
        "after": push.after,
        "repository": common_json.serialize_repo(repo, urls) | {"custom_properties": {}},
        "pusher": {"name": push.actor.login, "email": _noreply_email(push.actor)},
        "sender": common_json.serialize_user(push.actor, urls),
        "created": created,
        "deleted": deleted,
        "forced": pushed.forced,
        "base_ref": base_ref,
        "compare": _compare_url(repo, push, urls),
        "commits": commits,
        "head_commit": head or None,
    }


def build_comment_payload(
    repo: BareRepository, comment: JsonObject, sender: User, urls: ForgeUrls
) -> JsonObject:
    """Return the payload of a ``commit_comment`` event.

    ``comment`` is the comment as the API shows it. The payload of an ``issue_comment`` also has the
    ``issue``.
    """
    return {
        "action": "created",
        "comment": comment,
        "repository": common_json.serialize_repo(repo, urls) | {"custom_properties": {}},
        "sender": common_json.serialize_user(sender, urls),
    }


def build_check_run_payload(
    repo: BareRepository, check: JsonObject, sender: User, urls: ForgeUrls
) -> JsonObject:
    """Return the payload of a click on a check run's Re-run button.

    ``check`` is the check run as the API shows it.
    """
    return {
        "action": "rerequested",
        "check_run": check,
        "repository": common_json.serialize_repo(repo, urls) | {"custom_properties": {}},
        "sender": common_json.serialize_user(sender, urls),
    }


def encode_payload(payload: JsonObject) -> bytes:
    """Return the bytes to sign and send."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _read_push_range(git_dir: Path, push: PushDetails) -> _PushRange:
    if push.after == ZERO_SHA:
        return _PushRange((), frozenset(), None)
    if not push.ref.startswith(BRANCH_PREFIX):
        return _PushRange((), frozenset(), _read_head(git_dir, push.after))
    others = [f"^{sha}" for sha in dict.fromkeys(push.other_tips.values())]
    if push.before == ZERO_SHA:
        entries = git_log.read_git_log(git_dir, [push.after, *others], _MAX_COUNT)
        return _PushRange(
            entries[:PUSH_COMMITS_MAX],
            _entry_shas(entries),
            _read_head(git_dir, push.after, entries),
        )
    revisions = [push.after, f"^{push.before}"]
    others = [other for other in others if other != revisions[1]]
    # The second process runs beside the first one, and only if it is needed.
    with ThreadPoolExecutor(1) as pool:
        new_shas = None
        if others:
            new_shas = pool.submit(git_log.rev_list, git_dir, [*revisions, *others], _MAX_COUNT)
        entries = git_log.read_git_log(git_dir, revisions, _MAX_COUNT)
    distinct = new_shas.result() if new_shas is not None else _entry_shas(entries)
    forced = _is_forced(git_dir, push, entries)
    # If commits were dropped and none added, GitHub shows the commit that the branch was moved
    # back to, as if it were new.
    head = _read_head(git_dir, push.after, entries)
    return _PushRange(entries[:PUSH_COMMITS_MAX], distinct, head, forced)


def _is_forced(git_dir: Path, push: PushDetails, entries: Sequence[LogEntry]) -> bool:
    """Return True if the old tip was dropped.

    If it was not, it is a parent of a new commit, or lies below where the list was cut.
    """
    if any(push.before in entry.parents for entry in entries):
        return False
    if len(entries) <= PUSH_COMMITS_MAX:
        return True
    return not git_log.is_ancestor(git_dir, push.before, push.after)


def _read_head(git_dir: Path, sha: str, entries: Sequence[LogEntry] = ()) -> LogEntry | None:
    """Return the head commit: of an annotated tag the one that it points to.

    None for a tagged tree or blob.
    """
    listed = next((entry for entry in entries if entry.sha == sha), None)
    return listed or next(iter(git_log.read_git_log(git_dir, [sha], "--max-count=1")), None)


def _entry_shas(entries: Sequence[LogEntry]) -> frozenset[str]:
    return frozenset(entry.sha for entry in entries)


def _message_limits(entries: Sequence[LogEntry]) -> list[int]:
    """Return how many characters of each message fit."""
    used, limits = 0, []
    for entry in entries:
        used += len(entry.message) * 4
        fits = used <= MESSAGES_BYTES_MAX
        limits.append(git_log.MESSAGE_BYTES_MAX if fits else SHORT_MESSAGE_LENGTH)
    return limits


def _serialize_push_commit(
    repo: BareRepository,
    entry: LogEntry,
    urls: ForgeUrls,
    *,
    distinct: bool,
    limit: int = git_log.MESSAGE_BYTES_MAX,
) -> JsonObject:
    """Return one commit of a push.

    The changed files are left out, as GitHub leaves them out for Actions.
    """
    return {
        "id": entry.sha,
        "tree_id": entry.tree,
        "distinct": distinct,
        "message": entry.message[:limit],
        "timestamp": entry.committer.date,
        "url": f"{urls.repo_page_url(repo.name)}/commit/{entry.sha}",
        "author": {"name": entry.author.name, "email": entry.author.email},
        "committer": {"name": entry.committer.name, "email": entry.committer.email},
        "added": [],
        "removed": [],
        "modified": [],
    }


def _compare_url(repo: BareRepository, push: PushDetails, urls: ForgeUrls) -> str:
    before, after = push.before[:12], push.after[:12]
    commits = after if push.before == ZERO_SHA else f"{before}...{after}"
    return f"{urls.repo_page_url(repo.name)}/compare/{commits}"


def _noreply_email(user: User) -> str:
    return f"{user.id}+{user.login}@users.noreply.localhost"


_MAX_COUNT = f"--max-count={PUSH_COMMITS_MAX + 1}"
