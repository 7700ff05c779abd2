"""Remove what supervisors of ended runs could not: processes and checkouts."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from fyre.engines.local import checkout, processes
from fyre.engines.local.run_dir import RunDirectory
from fyre.engines.local.supervisor import LOST_REASON
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState


class RunCleanup:
    """The cleaning up after the runs of one engine. With ``keep_checkouts`` these stay."""

    def __init__(self, runs_dir: Path, work_dir: Path, *, keep_checkouts: bool) -> None:
        self._runs_dir, self._work_dir = runs_dir, work_dir
        self._keep_checkouts = keep_checkouts

    def clean_up_run(self, key: str) -> None:
        """End and remove what is left of an ended run, where its supervisor could not."""
        has_checkout = not self._keep_checkouts and (self._work_dir / key).exists()
        if has_checkout or RunDirectory(self._runs_dir / key).is_lost():
            processes.kill_processes_of_runs([key])
        if has_checkout:
            checkout.remove_tree(str(self._work_dir / key))

    def give_up_run(self, record: RunRecord) -> RunRecord:
        """End what is left of a run whose command took its directory away; return it as lost."""
        processes.kill_processes_of_runs([record.run.key])
        return replace(
            record, state=RunState.ERROR, reason=LOST_REASON, ended_at=time.time(), exit_code=None
        )

    def clean_up_all(self, records: Collection[RunRecord]) -> None:
        """Clean up after the runs of an earlier engine; ``records`` are those that are known."""
        for checkout_dir in self._work_dir.iterdir():
            directory = RunDirectory(self._runs_dir / checkout_dir.name)
            # A run that can't be read may be a later version's, and still running.
            if directory.has_outcome() or not directory.path.exists():
                self.clean_up_run(checkout_dir.name)
        processes.kill_processes_of_runs(
            [record.run.key for record in records if self._is_lost(record)]
        )

    def _is_lost(self, record: RunRecord) -> bool:
        """Return True if a run is lost; files are read only where the record can't tell."""
        if record.is_outcome_unreadable:
            return RunDirectory(self._runs_dir / record.run.key).is_lost()
        return record.reason == LOST_REASON
