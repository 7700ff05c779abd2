"""Supervisors that die before they start their command: how often, and the pause after each."""

from __future__ import annotations

import logging
import time
from collections import Counter

from fyre.engines.local.run_dir import RunDirectory
from fyre.runs.state import RunState

log = logging.getLogger(__name__)

EARLY_DEATHS_MAX = 5
"""Deaths of a run's supervisors before they start the command, after which it is an error."""

_FULL_DISK_PAUSE = 1.0  # seconds


class EarlyDeaths:
    """The early deaths of an engine's supervisors. No run starts in the pause after one, since what
    killed the supervisor may last.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()  # by the run's key
        self._pause_until = 0.0  # on the monotonic clock

    def is_pausing(self) -> bool:
        """Return True while no run may start."""
        return time.monotonic() < self._pause_until

    def add_death(self, key: str, *, has_disk_space: bool) -> bool:
        """Note a death, and pause; return False if the run had too many of them.

        A full disk is waited for, however long.
        """
        self._counts[key] += has_disk_space
        if self._counts[key] >= EARLY_DEATHS_MAX:
            return False
        pause = 0.01 * 4.0 ** self._counts[key] if has_disk_space else _FULL_DISK_PAUSE
        self._pause_until = time.monotonic() + pause
        return True

    def may_restart(self, directory: RunDirectory) -> bool:
        """Note the death of a run's supervisor; return False, and write an outcome, at last."""
        key = directory.path.name
        if self.add_death(key, has_disk_space=directory.has_disk_space()):
            log.warning(
                "the supervisor of %s died before it started the command: it is started again", key
            )
            return True
        reason = f"its supervisor died {EARLY_DEATHS_MAX} times before it could start the command"
        directory.write_outcome(time.time(), RunState.ERROR, reason)
        return False

    def forget_run(self, key: str) -> None:
        """Forget the deaths of a run that has ended."""
        del self._counts[key]
