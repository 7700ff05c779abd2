"""Say on a commit that the engine does not take a run of it for now, and why.

A run that the engine does not have has no record, so its status is one without a record. It begins
with ``waiting``, and the plan knows it by its end: the run is still to be launched.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

from fyre.controller.ttl_cache import TTLCache
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs import commit_status
from fyre.runs.run import Repository
from fyre.runs.status_text import SEPARATOR

REPOST_INTERVAL = 600.0
"""Seconds between two statuses of one run at least: GitHub takes a thousand for a context in all.

A launch is tried again each minute, and two reasons may take turns."""

_NUMBERS = re.compile(r"\d+")


class LaunchDelays:
    """The runs that the engine refused for now, and what was said about them. Thread-safe."""

    def __init__(self, reporter: StatusReporter) -> None:
        self._reporter = reporter
        self._reposted = TTLCache(REPOST_INTERVAL, 10_000)
        self._reasons: dict[str, dict[tuple[Repository, str], str]] = {}  # of a SHA, by context
        self._lock = threading.Lock()

    def tell(self, repository: Repository, sha: str, context: str, reason: str, told: str) -> None:
        """Queue the status of a refused run, unless what was ``told`` is as good.

        Another number in it is nothing new. One that is being posted at this moment may be posted
        twice.
        """
        with self._lock:
            self._reasons.setdefault(sha, {})[repository, context] = reason
        status = commit_status.delayed_status(context, reason)

        def post() -> bool:
            self._reporter.queue_status(repository, sha, status)
            return True

        if not told:
            post()
        elif not _says_the_same(told, status.description):
            self._reposted.get((repository.id, sha, context), post)

    def forget(self, repository: Repository, sha: str, context: str) -> None:
        """Forget a run that is not refused any more, or not wanted."""
        with self._lock:
            reasons = self._reasons.get(sha, {})
            reasons.pop((repository, context), None)
            if not reasons:
                self._reasons.pop(sha, None)

    def give_up(self, shas: Iterable[str]) -> None:
        """Say of the refused runs of these commits that they are not tried any more."""
        for sha in shas:
            with self._lock:
                reasons = self._reasons.pop(sha, {})
            for (repository, context), reason in reasons.items():
                status = commit_status.given_up_status(context, reason)
                self._reporter.queue_status(repository, sha, status)


def _says_the_same(told: str, description: str) -> bool:
    """Return True if two statuses differ in numbers alone, and so in where their text is cut."""
    shorter, longer = sorted(map(_without_numbers, (told, description)), key=len)
    return longer.startswith(shorter)


def _without_numbers(description: str) -> str:
    text = description.rpartition(SEPARATOR)[0]
    return _NUMBERS.sub("", text.removesuffix("…"))
