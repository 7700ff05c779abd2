"""The runs that are held: written down where no supervisor is started for them.

A held run is a directory in ``held/`` like those in ``runs/``, with ``hold.json`` in it. One rename
into ``runs/`` releases it, or puts it there once it was cancelled: each run is in one of the two,
whenever a crash comes. Version 0.1 starts what it finds in ``runs/`` and does not know ``held/``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fyre.engines.local import state_dir
from fyre.engines.local.cut_short_runs import CutShortRuns
from fyre.engines.local.run_dir import RunDirectory
from fyre.runs.run import Run, RunRecord
from fyre.runs.state import RunState

log = logging.getLogger(__name__)


class HeldRuns:
    """The held runs of one engine, whose lock guards all calls."""

    def __init__(self, held_dir: Path, runs_dir: Path, cut_short_runs: CutShortRuns) -> None:
        self._held_dir, self._runs_dir = held_dir, runs_dir
        self._cut_short_runs = cut_short_runs
        held_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keys: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Return True if a run is held."""
        return key in self._keys

    def has_directory(self, key: str) -> bool:
        """Return True if there is a directory of that key, also one that can't be read."""
        return self._path(key).exists()

    def find_directory(self, key: str) -> RunDirectory:
        """Return the directory of a held run."""
        return RunDirectory(self._path(key))

    def create_directory(self, run: Run, job: dict[str, Any], reason: str) -> RunDirectory | None:
        """Write a held run down, all of it or nothing. Return None when its key is known."""
        if (self._runs_dir / run.key).exists():
            return None
        directory = RunDirectory.create_for_run(self._held_dir, run, job, hold_reason=reason)
        if directory is not None:
            self._keys.add(run.key)
        return directory

    def move_to_runs(self, key: str) -> None:
        """Release a held run, or put one with the others that has ended."""
        self._path(key).rename(self._runs_dir / key)
        self._keys.discard(key)

    def recover_runs(self, now: float) -> Iterator[tuple[RunDirectory, Run]]:
        """Take over the held runs on disk, and yield each where it belongs now.

        What was to be ended when the process died is ended. A run that is in ``runs/`` as well was
        launched by a version that does not know that it is held; that one counts.
        """
        for directory, run in state_dir.load_runs(self._held_dir, self._cut_short_runs):
            if (self._runs_dir / run.key).exists():
                log.warning("%s was launched as well: it is not held any more", run.key)
                state_dir.delete_run(directory.path)
                continue
            with state_dir.leave_unreadable(directory.path):
                ended = directory.conclude_without_supervisor(now)
                self._keys.add(run.key)
            if run.key not in self._keys:
                continue
            if ended:
                self.move_to_runs(run.key)
                yield RunDirectory(self._runs_dir / run.key), run
            else:
                yield directory, run

    def updated_record(self, record: RunRecord) -> RunRecord:
        """Return the record of a held run, brought up to date with its files."""
        directory = self.find_directory(record.run.key)
        updated = directory.updated_record(record)
        return replace(updated, state=RunState.WAITING, reason=directory.hold_reason())

    def _path(self, key: str) -> Path:
        return self._held_dir / key
