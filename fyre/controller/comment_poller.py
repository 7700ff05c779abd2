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
from fyre.github.client import Forge
from fyre.github.errors import translated
from fyre.github.webhook import Said
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

PER_PAGE = 100
"""Comments of a full page: the most that GitHub gives."""

EDITED = 2.0
"""Seconds between a comment's two times from which on it was edited: what it said at first, nobody knows."""

LATE = 60.0
"""Seconds that a comment may come to the forge's list after a newer one."""

REMEMBERED = 10_000
"""Commands that are known to be dealt with; whether older ones are, the forge is asked."""

_PULL = re.compile(r"/pull/(\d+)#")
_LAST = re.compile(r'[?&]page=(\d+)[^>]*>; rel="last"')

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Known:
    """How far a repository was listened to."""

    since: str = ""  # of pull requests: the moment that was asked for
    tag: str = ""  # of the answer to that
    last: int = 0  # of commits: the number of the last page; 0 before the first look
    pages: Mapping[int, tuple[str, int]] = field(
        default_factory=dict
    )  # number → the answer's tag, how many are on it


@dataclass
class Unheard:
    """What was said in each repository. Belongs to one thread."""

    forge: Forge
    _known: dict[int, _Known] = field(default_factory=dict)  # by the repository's id
    _dealt: FIFOCache[tuple[int, str], None] = field(default_factory=lambda: FIFOCache(REMEMBERED))

    def dealt_with(self, said: Said) -> None:
        """Not to be told of again."""
        self._dealt[said.repository.id, replies.name(said)] = None

    def commands(self, repository: Repository, since: float) -> list[Said]:
        """Commands that nobody has answered, given since a time in seconds since the epoch; the oldest first.

        Raises ``TryAgainError``; what the forge does not show, such as pull requests to a token without that right,
        holds no commands.
        """
        known = self._known.get(repository.id, _Known())
        found: list[Entry] = []
        with translated(f"the comments of {repository.name}"):
            for listing in (self._of_commits, self._of_pulls):
                try:
                    entries, known = listing(repository, known, since)
                    found += entries
                except UserError as error:
                    log.info("comments of %s are not swept: %s", repository.name, error)
            said = [_said(repository, entry) for entry in found if not _edited(entry)]
        answered = replies.answered(one.body for one in said if self.forge.is_me(one.actor))
        self._known[repository.id] = (
            known  # not before all was asked: what is known is never told again
        )
        new = (
            one
            for one in said
            if one.at >= since and not one.bot and replies.name(one) not in answered
        )
        return sorted(
            (one for one in new if self._is_new(one)), key=lambda one: (one.at, one.comment_id)
        )

    def _is_new(self, one: Said) -> bool:
        return (
            one.repository.id,
            replies.name(one),
        ) not in self._dealt and command_parser.is_command(one.body)

    def _of_pulls(
        self, repository: Repository, known: _Known, since: float
    ) -> tuple[list[Entry], _Known]:
        """Comments of pull requests that came or changed since the newest that is known."""
        asked = known.since or discussions.moment(since)
        path = f"/repos/{repository.name}/issues/comments?since={asked}&per_page={PER_PAGE}"
        what = f"the comments of {repository.name}"
        answer = self.forge.ask(what, repository, path, known.tag)
        if answer is None:
            return [], known
        tag, headers, found = answer
        full = (
            len(found) >= PER_PAGE
        )  # the oldest come first: it stays the same while more are said after it
        if 'rel="next"' in headers.get("link", ""):
            found = self.forge.entries(what, repository, path)
        newest = max((_seconds(entry["updated_at"]) for entry in found), default=0.0)
        since_now = max(
            asked, discussions.moment(newest - LATE)
        )  # such texts sort as the moments do
        keeps = since_now == asked and not full  # a tag is of one moment, and of one page
        listened = replace(known, since=since_now, tag=tag if keeps else "")
        return [entry for entry in found if _PULL.search(entry["html_url"])], listened

    def _of_commits(
        self, repository: Repository, known: _Known, since: float
    ) -> tuple[list[Entry], _Known]:
        """Comments of commits on the last page and after it, and below it until something known is met."""
        look = _Look(self.forge, repository, dict(known.pages))
        first = last = known.last or look.at(1)
        look.at(first)
        while look.pages[last][1] >= PER_PAGE:
            last += 1
            look.at(last)
        below = first
        while below > 1 and _goes_on(look.pages[below][1], look.found[below], since):
            below -= 1
            look.at(below)
        pages = {number: look.pages[number] for number in look.found}
        return [entry for page in look.found.values() for entry in page], replace(
            known, last=last, pages=pages
        )


@dataclass
class _Look:
    """One look at the pages of commit comments. ``found`` is what is on those that have changed."""

    forge: Forge
    repository: Repository
    pages: dict[int, tuple[str, int]]
    found: dict[int, list[Entry]] = field(default_factory=dict)

    def at(self, number: int) -> int:
        """Look at a page, once; the number of the last one, as far as that one says."""
        if number in self.found:
            return number
        name = self.repository.name
        path = f"/repos/{name}/comments?per_page={PER_PAGE}&page={number}"
        answer = self.forge.ask(
            f"the comments of {name}", self.repository, path, self.pages.get(number, ("", 0))[0]
        )
        self.found[number] = answer[2] if answer is not None else []
        if answer is None:
            return number
        self.pages[number] = answer[0], len(answer[2])
        last = _LAST.search(answer[1].get("link", ""))
        return int(last[1]) if last else number


def _goes_on(size: int, new: list[Entry], since: float) -> bool:
    """Whether there may be something new below a page: comments that were deleted above move the others up."""
    return not size or (bool(new) and all(_seconds(entry["created_at"]) >= since for entry in new))


def _said(repository: Repository, entry: Entry) -> Said:
    """A comment of a listing, as a delivery would have told it; who wrote it is who sent it."""
    user, pull = entry.get("user") or {}, _PULL.search(entry["html_url"])
    return Said(
        repository=repository,
        sha=str(entry.get("commit_id") or ""),
        actor=str(user.get("login") or ""),
        body=str(entry.get("body") or ""),
        comment_id=int(entry["id"]),
        at=_seconds(entry["created_at"]),
        pull=int(pull[1]) if pull else 0,
        bot=user.get("type") == "Bot",
    )


def _edited(entry: Entry) -> bool:
    return _seconds(entry["updated_at"]) - _seconds(entry["created_at"]) > EDITED


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
