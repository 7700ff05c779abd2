"""Know the runs that clicks on "Re-run" wait for, so that a cancel ends them.

Such a click is tried again from memory alone, so this is kept in memory as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fyre.controller.launch_delays import CommitKey
from fyre.controller.ttl_cache import TTLCache
from fyre.runs.run import Run

CANCELLED_TTL = 48 * 3600.0
"""Seconds for which a cancelled run is known: longer than any click is tried again."""


@dataclass(frozen=True, slots=True)
class _DelayedClick:
    since: float  # seconds since the epoch
    names: dict[str, str]  # of its runs that the engine refused for now, by key


class DelayedClicks:
    """The clicks whose runs were refused for now, by the id of their trigger.

    What is about a commit is asked in its repository's turn, by one thread at a time.
    """

    def __init__(self) -> None:
        self._waiting: dict[CommitKey, dict[str, _DelayedClick]] = {}
        self._cancelled = TTLCache(CANCELLED_TTL, 10_000)  # by the run's key

    def add(self, commit: CommitKey, click_id: str, refused: Iterable[Run], now: float) -> None:
        """Have a click wait for these runs; ``now`` counts at its first time."""
        clicks = self._waiting.setdefault(commit, {})
        since = clicks[click_id].since if click_id in clicks else now
        clicks[click_id] = _DelayedClick(since, {run.key: run.name for run in refused})

    def forget(self, commit: CommitKey, click_id: str) -> None:
        """Forget a click that is not tried again."""
        clicks = self._waiting.get(commit, {})
        clicks.pop(click_id, None)
        if not clicks:
            self._waiting.pop(commit, None)

    def cancel(self, commit: CommitKey, name: str, before: float) -> list[str]:
        """Cancel the runs of that name ("" for all) of clicks before then; return their names."""
        cancelled = {
            key: waiting
            for click in self._waiting.get(commit, {}).values()
            if click.since <= before
            for key, waiting in click.names.items()
            if key not in self._cancelled and name.lower() in ("", waiting.lower())
        }
        for key in cancelled:
            self._cancelled.get(key, lambda: True)
        return list(cancelled.values())

    def is_cancelled(self, run: Run) -> bool:
        """Return True if a run that a click asked for is not wanted any more."""
        return run.key in self._cancelled
