"""Commands that no delivery told of: what was said in a repository lately, asked of the forge itself.

GitHub lists comments of pull requests since a moment, and comments of commits by number alone, the oldest first: of
those the last page is asked for, and the ones below it until one is known. Every request is conditional, so that a
repository where nobody says anything costs nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cachetools import FIFOCache

from fyre.controller.comments import command_parser, replies
from fyre.errors import UserError
from fyre.github import discussions
from fyre.github.client import GitHubClient
from fyre.github.errors import translate_errors
from fyre.github.webhook import CommentEvent
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

COMMENTS_PER_PAGE = 100
"""Comments of a full page: the most that GitHub gives."""

EDIT_TOLERANCE = 2.0
"""Seconds between a comment's two times from which on it was edited: what it said at first, nobody knows."""

LISTING_DELAY = 60.0
"""Seconds that a comment may come to the forge's list after a newer one."""

HANDLED_MAX = 10_000
"""Commands that are known to be dealt with; whether older ones are, the forge is asked."""

_PULL_URL = re.compile(r"/pull/(\d+)#")
_LAST_PAGE_LINK = re.compile(r'[?&]page=(\d+)[^>]*>; rel="last"')

CommentJson = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far a repository was listened to."""

    pulls_since: str = ""  # of pull requests: the moment that was asked for
    pulls_etag: str = ""  # of the answer to that
    last_page: int = 0  # of commits: the number of the last page; 0 before the first look
    page_states: Mapping[int, tuple[str, int]] = field(
        default_factory=dict
    )  # number → the answer's tag, how many are on it


@dataclass
class CommentPoller:
    """What was said in each repository. Belongs to one thread."""

    forge: GitHubClient
    _cursors: dict[int, _Cursor] = field(default_factory=dict)  # by the repository's id
    _handled: FIFOCache[tuple[int, str], None] = field(
        default_factory=lambda: FIFOCache(HANDLED_MAX)
    )

    def mark_handled(self, comment: CommentEvent) -> None:
        """Not to be told of again."""
        self._handled[comment.repository.id, replies.comment_key(comment)] = None

    def poll_commands(self, repository: Repository, since: float) -> list[CommentEvent]:
        """Commands that nobody has answered, given since a time in seconds since the epoch; the oldest first.

        Raises ``TryAgainError``; what the forge does not show, such as pull requests to a token without that right,
        holds no commands.
        """
        known = self._cursors.get(repository.id, _Cursor())
        found: list[CommentJson] = []
        with translate_errors(f"the comments of {repository.name}"):
            for listing in (self._poll_commit_comments, self._poll_pull_comments):
                try:
                    entries, known = listing(repository, known, since)
                    found += entries
                except UserError as error:
                    log.info("comments of %s are not swept: %s", repository.name, error)
            said = [
                _to_comment_event(repository, entry) for entry in found if not _was_edited(entry)
            ]
        answered = replies.answered_comments(
            one.body for one in said if self.forge.is_own_login(one.actor)
        )
        self._cursors[repository.id] = (
            known  # not before all was asked: what is known is never told again
        )
        new = (
            one
            for one in said
            if one.created_at >= since
            and not one.is_bot
            and replies.comment_key(one) not in answered
        )
        return sorted(
            (one for one in new if self._is_new_command(one)),
            key=lambda one: (one.created_at, one.comment_id),
        )

    def _is_new_command(self, comment: CommentEvent) -> bool:
        return (
            comment.repository.id,
            replies.comment_key(comment),
        ) not in self._handled and command_parser.is_command(comment.body)

    def _poll_pull_comments(
        self, repository: Repository, cursor: _Cursor, since: float
    ) -> tuple[list[CommentJson], _Cursor]:
        """Comments of pull requests that came or changed since the newest that is known."""
        asked = cursor.pulls_since or discussions.format_api_time(since)
        path = (
            f"/repos/{repository.name}/issues/comments?since={asked}&per_page={COMMENTS_PER_PAGE}"
        )
        what = f"the comments of {repository.name}"
        answer = self.forge.get_json_if_changed(what, repository, path, cursor.pulls_etag)
        if answer is None:
            return [], cursor
        tag, headers, found = answer
        full = (
            len(found) >= COMMENTS_PER_PAGE
        )  # the oldest come first: it stays the same while more are said after it
        if 'rel="next"' in headers.get("link", ""):
            found = self.forge.get_all_entries(what, repository, path)
        newest = max((_to_epoch_seconds(entry["updated_at"]) for entry in found), default=0.0)
        since_now = max(
            asked, discussions.format_api_time(newest - LISTING_DELAY)
        )  # such texts sort as the moments do
        keeps = since_now == asked and not full  # a tag is of one moment, and of one page
        listened = replace(cursor, pulls_since=since_now, pulls_etag=tag if keeps else "")
        return [entry for entry in found if _PULL_URL.search(entry["html_url"])], listened

    def _poll_commit_comments(
        self, repository: Repository, cursor: _Cursor, since: float
    ) -> tuple[list[CommentJson], _Cursor]:
        """Comments of commits on the last page and after it, and below it until something known is met."""
        look = _PageScan(self.forge, repository, dict(cursor.page_states))
        first = last = cursor.last_page or look.fetch_page(1)
        look.fetch_page(first)
        while look.page_states[last][1] >= COMMENTS_PER_PAGE:
            last += 1
            look.fetch_page(last)
        below = first
        while below > 1 and _has_older_pages(
            look.page_states[below][1], look.changed_pages[below], since
        ):
            below -= 1
            look.fetch_page(below)
        pages = {number: look.page_states[number] for number in look.changed_pages}
        return [entry for page in look.changed_pages.values() for entry in page], replace(
            cursor, last_page=last, page_states=pages
        )


@dataclass
class _PageScan:
    """One look at the pages of commit comments. ``found`` is what is on those that have changed."""

    forge: GitHubClient
    repository: Repository
    page_states: dict[int, tuple[str, int]]
    changed_pages: dict[int, list[CommentJson]] = field(default_factory=dict)

    def fetch_page(self, page_number: int) -> int:
        """Look at a page, once; the number of the last one, as far as that one says."""
        if page_number in self.changed_pages:
            return page_number
        name = self.repository.name
        path = f"/repos/{name}/comments?per_page={COMMENTS_PER_PAGE}&page={page_number}"
        answer = self.forge.get_json_if_changed(
            f"the comments of {name}",
            self.repository,
            path,
            self.page_states.get(page_number, ("", 0))[0],
        )
        self.changed_pages[page_number] = answer[2] if answer is not None else []
        if answer is None:
            return page_number
        self.page_states[page_number] = answer[0], len(answer[2])
        last = _LAST_PAGE_LINK.search(answer[1].get("link", ""))
        return int(last[1]) if last else page_number


def _has_older_pages(page_size: int, new_comments: list[CommentJson], since: float) -> bool:
    """Whether there may be something new below a page: comments that were deleted above move the others up."""
    return not page_size or (
        bool(new_comments)
        and all(_to_epoch_seconds(entry["created_at"]) >= since for entry in new_comments)
    )


def _to_comment_event(repository: Repository, entry: CommentJson) -> CommentEvent:
    """A comment of a listing, as a delivery would have told it; who wrote it is who sent it."""
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
    return (
        _to_epoch_seconds(entry["updated_at"]) - _to_epoch_seconds(entry["created_at"])
        > EDIT_TOLERANCE
    )


def _to_epoch_seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
