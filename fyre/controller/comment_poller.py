"""Poll GitHub for ``/fyre`` comments whose webhook never arrived.

GitHub lists comments of pull requests since a moment, and comments of commits by page number alone,
the oldest first: of those the last page is requested, and the ones below it until one is known.
Every request is conditional, so that a repository where nobody comments costs nothing.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cachetools import FIFOCache

from fyre.controller.comments import command_parser, replies
from fyre.errors import UserError
from fyre.github import comment_threads
from fyre.github.client import GitHubClient
from fyre.github.errors import translate_errors
from fyre.github.listings import PAGES_MAX, parse_readable
from fyre.github.webhook import CommentEvent
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

COMMENTS_PER_PAGE = 100
"""Comments of a full page: the most that GitHub gives."""

EDIT_TOLERANCE = 2.0
"""Seconds between a comment's two times above which it was edited: nobody can tell what it said at
first."""

LISTING_DELAY = 60.0
"""Seconds by which a comment may appear in GitHub's list after a newer one."""

HANDLED_MAX = 10_000
"""Commands that are remembered as handled; for older ones GitHub is asked."""

_PULL_URL = re.compile(r"/pull/(\d+)#")
_LAST_PAGE_LINK = re.compile(r'[?&]page=(\d+)[^>]*>; rel="last"')

CommentJson = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The point up to which the comments of a repository are known."""

    pulls_since: str = ""
    """For pull requests: the moment since which comments were requested."""

    pulls_etag: str = ""
    """The ETag of the response to that."""

    last_page: int = 0
    """For commits: the number of the last page; 0 before the first request."""

    page_states: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """For commits: the ETag of each page by its number, and the number of comments on it."""


@dataclass
class CommentPoller:
    """The search for unanswered commands in comments of repositories.

    One thread polls; any may say what is handled.
    """

    forge: GitHubClient
    _cursors: dict[int, _Cursor] = field(default_factory=dict)  # by the repository's id
    _handled: FIFOCache[tuple[int, str], None] = field(
        default_factory=lambda: FIFOCache(HANDLED_MAX)
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mark_handled(self, comment: CommentEvent) -> None:
        """Remember that a comment is handled, so that it is not returned again."""
        with self._lock:
            self._handled[comment.repository.id, replies.comment_key(comment)] = None

    def poll_commands(self, repository: Repository, since: float) -> list[CommentEvent]:
        """Return the unanswered commands since a time in seconds since the epoch, oldest first.

        What GitHub does not show, such as pull requests to a token without that right, holds no
        commands. Raises ``TransientError``.
        """
        cursor = self._cursors.get(repository.id, _Cursor())
        entries: list[CommentJson] = []
        with translate_errors(f"the comments of {repository.name}"):
            for poll in (self._poll_commit_comments, self._poll_pull_comments):
                try:
                    new_entries, cursor = poll(repository, cursor, since)
                    entries += new_entries
                except UserError as error:
                    log.info("comments of %s are not swept: %s", repository.name, error)
            comments = [
                _to_comment_event(repository, entry) for entry in entries if not _was_edited(entry)
            ]
        own_bodies = (
            comment.body for comment in comments if self.forge.is_own_login(comment.actor)
        )
        answered = replies.answered_comments(own_bodies)
        # Not before all was requested: what the cursor has passed is never returned again.
        self._cursors[repository.id] = cursor
        commands = [
            comment
            for comment in comments
            if comment.created_at >= since
            and not comment.is_bot
            and replies.comment_key(comment) not in answered
            and self._is_new_command(comment)
        ]
        return sorted(commands, key=lambda command: (command.created_at, command.comment_id))

    def _is_new_command(self, comment: CommentEvent) -> bool:
        key = comment.repository.id, replies.comment_key(comment)
        with self._lock:
            is_handled = key in self._handled
        return not is_handled and command_parser.is_command(comment.body)

    def _poll_pull_comments(
        self, repository: Repository, cursor: _Cursor, since: float
    ) -> tuple[list[CommentJson], _Cursor]:
        """Return the comments of pull requests that came or changed since the newest known one."""
        asked_since = cursor.pulls_since or comment_threads.format_api_time(since)
        query = f"since={asked_since}&per_page={COMMENTS_PER_PAGE}"
        path = f"/repos/{repository.name}/issues/comments?{query}"
        subject = f"the comments of {repository.name}"
        response = self.forge.get_json_if_changed(subject, repository, path, cursor.pulls_etag)
        if response is None:
            return [], cursor
        etag, headers, entries = response
        # The oldest come first: a full page stays the same while more comments come after it.
        is_full = len(entries) >= COMMENTS_PER_PAGE
        if 'rel="next"' in headers.get("link", ""):
            entries = self.forge.get_all_entries(subject, repository, path)
        entries = _readable(repository, entries)
        newest = max((_to_epoch_seconds(entry["updated_at"]) for entry in entries), default=0.0)
        # These texts sort as the moments do.
        next_since = max(asked_since, comment_threads.format_api_time(newest - LISTING_DELAY))
        keeps_etag = next_since == asked_since and not is_full  # it is of one moment and one page
        moved = replace(cursor, pulls_since=next_since, pulls_etag=etag if keeps_etag else "")
        return [entry for entry in entries if _PULL_URL.search(entry["html_url"])], moved

    def _poll_commit_comments(
        self, repository: Repository, cursor: _Cursor, since: float
    ) -> tuple[list[CommentJson], _Cursor]:
        """Return the comments of commits on changed pages.

        These are the last known page and those after it, and the ones below it until something
        known is met.
        """
        scan = _PageScan(self.forge, repository, dict(cursor.page_states))
        first = last = cursor.last_page or scan.fetch_page(1)
        scan.fetch_page(first)
        while scan.page_states[last][1] >= COMMENTS_PER_PAGE and last - first < PAGES_MAX:
            last += 1
            scan.fetch_page(last)
        below = first
        while below > 1 and first - below < PAGES_MAX and scan.may_continue_below(below, since):
            below -= 1
            scan.fetch_page(below)
        page_states = {number: scan.page_states[number] for number in scan.changed_pages}
        entries = [entry for page in scan.changed_pages.values() for entry in page]
        return entries, replace(cursor, last_page=last, page_states=page_states)


@dataclass
class _PageScan:
    """One scan of the pages of commit comments.

    ``changed_pages`` has the pages that were fetched: empty where one has not changed.
    """

    forge: GitHubClient
    repository: Repository
    page_states: dict[int, tuple[str, int]]
    changed_pages: dict[int, list[CommentJson]] = field(default_factory=dict)

    def fetch_page(self, page_number: int) -> int:
        """Fetch a page once; return the number of the last page, as far as this one says."""
        if page_number in self.changed_pages:
            return page_number
        name = self.repository.name
        path = f"/repos/{name}/comments?per_page={COMMENTS_PER_PAGE}&page={page_number}"
        known_etag, _ = self.page_states.get(page_number, ("", 0))
        response = self.forge.get_json_if_changed(
            f"the comments of {name}", self.repository, path, known_etag
        )
        if response is None:
            self.changed_pages[page_number] = []
            return page_number
        etag, headers, entries = response
        self.changed_pages[page_number] = _readable(self.repository, entries)
        self.page_states[page_number] = etag, len(entries)
        last = _LAST_PAGE_LINK.search(headers.get("link", ""))
        return int(last[1]) if last else page_number

    def may_continue_below(self, page_number: int, since: float) -> bool:
        """Return True if there may be something new on the page below.

        Comments that were deleted above move the others up.
        """
        size, comments = self.page_states[page_number][1], self.changed_pages[page_number]
        if not size:
            return True
        return bool(comments) and all(
            _to_epoch_seconds(comment["created_at"]) >= since for comment in comments
        )


def _readable(repository: Repository, entries: list[CommentJson]) -> list[CommentJson]:
    """Return the entries that can be read. Raises ``ValueError`` if none of them can."""

    def check(entry: CommentJson) -> CommentJson:
        _to_comment_event(repository, entry)
        _was_edited(entry)
        return entry

    return list(parse_readable(f"the comments of {repository.name}", entries, check))


def _to_comment_event(repository: Repository, entry: CommentJson) -> CommentEvent:
    """Return a comment of a listing as a webhook would have reported it.

    Its author is its sender.
    """
    user, pull = entry.get("user") or {}, _PULL_URL.search(entry["html_url"])
    return CommentEvent(
        repository=repository,
        sha=str(entry.get("commit_id") or ""),
        actor=str(user.get("login") or ""),
        body=str(entry.get("body") or ""),
        comment_id=int(entry["id"]),
        created_at=_to_epoch_seconds(entry["created_at"]),
        pull_number=int(pull[1]) if pull else 0,
        is_bot=user.get("type") == "Bot",
    )


def _was_edited(entry: CommentJson) -> bool:
    created_at, updated_at = entry["created_at"], entry["updated_at"]
    return _to_epoch_seconds(updated_at) - _to_epoch_seconds(created_at) > EDIT_TOLERANCE


def _to_epoch_seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
