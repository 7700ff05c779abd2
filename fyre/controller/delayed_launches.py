"""Know the runs that clicks on "Re-run" and comments wait for, so that a cancel ends them.

This is kept in memory. A click is tried again from memory alone; of a comment, its thread says it
too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fyre.controller.launch_delays import CommitKey
from fyre.controller.ttl_cache import TTLCache
from fyre.runs.run import Run

CANCELLED_TTL = 48 * 3600.0
"""Seconds for which a cancelled run is known: longer than any launch is tried again."""

_DROPPED_MAX = 1000


@dataclass(frozen=True, slots=True)
class _DelayedTrigger:
    since: float  # seconds since the epoch
    names: dict[str, str]  # of its runs that the engine refused for now, by key


class DelayedLaunches:
    """The clicks, or the comments, whose runs were refused for now, by the id of their trigger.

    What is about a commit is asked in its repository's turn, by one thread at a time.
    """

    def __init__(self) -> None:
        self._waiting: dict[CommitKey, dict[str, _DelayedTrigger]] = {}
        self._commits: dict[tuple[int, str], CommitKey] = {}  # by the repository's id and a trigger
        self._cancelled = TTLCache(CANCELLED_TTL, 10_000)  # by the run's key
        # Names of runs that a launch has dropped, since it read a cancel before that had its turn.
        self._dropped: dict[tuple[CommitKey, str], str] = {}

    def __len__(self) -> int:
        """Return how many triggers wait."""
        return len(self._commits)

    def add(self, commit: CommitKey, trigger_id: str, refused: Iterable[Run], now: float) -> None:
        """Have a trigger wait for these runs; ``now`` counts at its first time."""
        if self._commits.get((commit[0], trigger_id), commit) != commit:
            self.forget(commit[0], trigger_id)  # its branch was moved
        self._commits[commit[0], trigger_id] = commit
        triggers = self._waiting.setdefault(commit, {})
        since = triggers[trigger_id].since if trigger_id in triggers else now
        triggers[trigger_id] = _DelayedTrigger(since, {run.key: run.name for run in refused})

    def forget(self, repository_id: int, trigger_id: str) -> None:
        """Forget a trigger that is not tried again."""
        commit = self._commits.pop((repository_id, trigger_id), None)
        if commit is not None:
            triggers = self._waiting[commit]
            del triggers[trigger_id]
            if not triggers:
                del self._waiting[commit]

    def cancel(self, commit: CommitKey, name: str, before: float) -> list[str]:
        """Cancel the runs of that name ("" for all) of triggers before then; return their names."""
        cancelled = {
            key: waiting
            for trigger in self._waiting.get(commit, {}).values()
            if trigger.since <= before
            for key, waiting in trigger.names.items()
            if key not in self._cancelled and name.lower() in ("", waiting.lower())
        }
        for key in cancelled:
            self._cancelled.get(key, lambda: True)
        dropped = [
            self._dropped.pop(known)
            for known in list(self._dropped)
            if known[0] == commit and name.lower() in ("", known[1])
        ]
        return [*cancelled.values(), *dropped]

    def note_dropped(self, commit: CommitKey, run: Run) -> None:
        """Note a run that was not launched, since a comment that is still to be handled cancels it.

        That comment finds nothing to cancel any more, and is to say all the same that it did.
        """
        while len(self._dropped) >= _DROPPED_MAX:
            del self._dropped[next(iter(self._dropped))]
        self._dropped[commit, run.name.lower()] = run.name

    def is_cancelled(self, run: Run) -> bool:
        """Return True if a run that was refused for now is not wanted any more."""
        return run.key in self._cancelled
