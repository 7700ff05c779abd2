"""A push, a comment: the webhook payloads, in the shape that GitHub publishes and with its recorded oddities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import Json, Urls
from fyre.local_forge.auth import User
from fyre.local_forge.storage import git_log
from fyre.local_forge.storage.git_log import Entry
from fyre.local_forge.storage.repository_store import Bare
from fyre.runs.run import ZERO_SHA

COMMITS_MAX = 2048
"""Commits listed in a push, the newest ones; GitHub cuts there and does not say so."""

BUDGET = 16 * 1024 * 1024
"""Bytes of messages in one payload; after that each is cut to ``SHORT``, so that it stays below GitHub's 25 MB."""
SHORT = 512

HEADS, TAGS = "refs/heads/", "refs/tags/"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A ref's update, to be told. ``tips`` are the other branches, as whoever is told knows them: name → SHA."""

    ref: str
    before: str
    after: str
    actor: User
    tips: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Range:
    """What an update brought: the commits newest first, those among them new to the repository, and the head."""

    entries: Sequence[Entry]
    distinct: frozenset[str]
    head: Entry | None
    forced: bool = False


def push(bare: Bare, one: Pushed, urls: Urls) -> Json:
    """The payload of a ``push`` event. Raises ``OSError`` when git can't read the commits."""
    brought = _range(bare.git_dir, one)
    created, deleted = one.before == ZERO_SHA, one.after == ZERO_SHA
    cut = _message_limits(brought.entries)
    commits = [
        _commit(bare, entry, urls, distinct=entry.sha in brought.distinct, limit=limit)
        for entry, limit in reversed(list(zip(brought.entries, cut, strict=True)))
    ]
    head = brought.head and _commit(
        bare, brought.head, urls, distinct=brought.forced or brought.head.sha in brought.distinct
    )
    base = (
        next((name for name, sha in one.tips.items() if sha == one.after), None)
        if created
        else None
    )
    return {
        "ref": one.ref,
        "before": one.before,
        "after": one.after,
        "repository": common_json.repository(bare, urls) | {"custom_properties": {}},
        "pusher": {"name": one.actor.login, "email": _email(one.actor)},
        "sender": common_json.user(one.actor, urls),
        "created": created,
        "deleted": deleted,
        "forced": brought.forced,
        "base_ref": base,
        "compare": _compare(bare, one, urls),
        "commits": commits,
        "head_commit": head or None,
    }


def commit_comment(bare: Bare, comment: Json, sender: User, urls: Urls) -> Json:
    """The payload of a ``commit_comment`` event; ``comment`` is the API's answer for it.

    That of an ``issue_comment`` has the ``issue`` besides.
    """
    return {
        "action": "created",
        "comment": comment,
        "repository": common_json.repository(bare, urls) | {"custom_properties": {}},
        "sender": common_json.user(sender, urls),
    }


def check_run(bare: Bare, check: Json, sender: User, urls: Urls) -> Json:
    """The payload of a click on a check run's Re-run button; ``check`` is the API's answer for it."""
    return {
        "action": "rerequested",
        "check_run": check,
        "repository": common_json.repository(bare, urls) | {"custom_properties": {}},
        "sender": common_json.user(sender, urls),
    }


def encode(payload: Json) -> bytes:
    """The bytes that are signed and sent."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _range(git_dir: Path, one: Pushed) -> _Range:
    if one.after == ZERO_SHA:
        return _Range((), frozenset(), None)
    if not one.ref.startswith(HEADS):
        return _Range((), frozenset(), _head(git_dir, one.after))
    others = [f"^{sha}" for sha in dict.fromkeys(one.tips.values())]
    if one.before == ZERO_SHA:
        entries = git_log.read(git_dir, [one.after, *others], _LIMIT)
        return _Range(entries[:COMMITS_MAX], _shas(entries), _head(git_dir, one.after, entries))
    revisions = [one.after, f"^{one.before}"]
    others = [other for other in others if other != revisions[1]]
    with ThreadPoolExecutor(
        1
    ) as pool:  # the second process beside the first one, and only where it is needed
        new = pool.submit(git_log.shas, git_dir, [*revisions, *others], _LIMIT) if others else None
        entries = git_log.read(git_dir, revisions, _LIMIT)
    distinct = new.result() if new is not None else _shas(entries)
    forced = _forced(git_dir, one, entries)
    # Commits dropped and none added: GitHub shows the commit that the branch was moved back to, as if it were new.
    return _Range(entries[:COMMITS_MAX], distinct, _head(git_dir, one.after, entries), forced)


def _forced(git_dir: Path, one: Pushed, entries: Sequence[Entry]) -> bool:
    """Whether the old tip was dropped: else it is a parent of something new, or lies below where the list was cut."""
    if any(one.before in entry.parents for entry in entries):
        return False
    return len(entries) <= COMMITS_MAX or not git_log.is_ancestor(git_dir, one.before, one.after)


def _head(git_dir: Path, sha: str, entries: Sequence[Entry] = ()) -> Entry | None:
    """The commit itself; of an annotated tag the one that it points to; None for a tagged tree or blob."""
    listed = next((entry for entry in entries if entry.sha == sha), None)
    return listed or next(iter(git_log.read(git_dir, [sha], "--max-count=1")), None)


def _shas(entries: Sequence[Entry]) -> frozenset[str]:
    return frozenset(entry.sha for entry in entries)


def _message_limits(entries: Sequence[Entry]) -> list[int]:
    """How many characters of each message fit."""
    used, limits = 0, []
    for entry in entries:
        used += len(entry.message) * 4
        limits.append(git_log.MESSAGE_MAX if used <= BUDGET else SHORT)
    return limits


def _commit(
    bare: Bare, entry: Entry, urls: Urls, *, distinct: bool, limit: int = git_log.MESSAGE_MAX
) -> Json:
    """One commit of a push. Which files it touched is left out, as GitHub leaves it out for Actions."""
    return {
        "id": entry.sha,
        "tree_id": entry.tree,
        "distinct": distinct,
        "message": entry.message[:limit],
        "timestamp": entry.committer.date,
        "url": f"{urls.web(bare.name)}/commit/{entry.sha}",
        "author": {"name": entry.author.name, "email": entry.author.email},
        "committer": {"name": entry.committer.name, "email": entry.committer.email},
        "added": [],
        "removed": [],
        "modified": [],
    }


def _compare(bare: Bare, one: Pushed, urls: Urls) -> str:
    ends = one.after[:12] if one.before == ZERO_SHA else f"{one.before[:12]}...{one.after[:12]}"
    return f"{urls.web(bare.name)}/compare/{ends}"


def _email(who: User) -> str:
    return f"{who.id}+{who.login}@users.noreply.localhost"


_LIMIT = f"--max-count={COMMITS_MAX + 1}"
