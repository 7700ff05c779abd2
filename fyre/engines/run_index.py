"""An index of runs by commit and by Fyre-Id, so that nobody walks all records for one commit."""

from __future__ import annotations

import threading
from collections import defaultdict

from fyre.engines.protocol import Engine
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import ALL_RUNS

_SWEEP_SIZE_MIN = 1000
"""Runs in the index below which none is looked for that the engine has forgotten."""


class RunIndex:
    """An index over an engine's records. Thread-safe.

    What the engine forgets is never returned, and dropped before the index has twice the size that
    it had after the last sweep: no engine tells what it forgets.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._names: dict[str, tuple[str, str]] = {}  # SHA and Fyre-Id, by the run's key
        self._keys_by_sha: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._keys_by_fyre_id: defaultdict[str, dict[str, None]] = defaultdict(dict)
        records = engine.query_runs(ALL_RUNS)
        self._sweep_size = max(_SWEEP_SIZE_MIN, 2 * len(records))
        for record in reversed(records):
            self.add_run(record.run)
        engine.subscribe(self._add_changed_run)

    def __len__(self) -> int:
        """Return how many runs are in the index."""
        return len(self._names)

    def add_run(self, run: Run) -> None:
        """Index a run now, without waiting until the engine reports it."""
        with self._lock:
            self._names[run.key] = (run.sha, run.fyre_id)
            self._keys_by_sha[run.sha][run.key] = None
            if run.fyre_id:
                self._keys_by_fyre_id[run.fyre_id][run.key] = None
            is_sweep_due = len(self._names) > self._sweep_size
        if is_sweep_due:
            self._drop_forgotten_runs()

    def find_by_sha(self, repository_id: int, sha: str) -> tuple[RunRecord, ...]:
        """Return the runs that were launched for exactly this SHA."""
        return self._find_records(self._keys_by_sha, sha, repository_id)

    def find_by_fyre_id(self, repository_id: int, fyre_id: str) -> tuple[RunRecord, ...]:
        """Return the runs that were launched under this Fyre-Id, whatever their SHA."""
        return self._find_records(self._keys_by_fyre_id, fyre_id, repository_id) if fyre_id else ()

    def find_on_commit(self, repository_id: int, sha: str, fyre_id: str) -> tuple[RunRecord, ...]:
        """Return the runs of a SHA: those under this Fyre-Id that it shares, then its own."""
        same_id = self.find_by_fyre_id(repository_id, fyre_id)
        shared = (record for record in same_id if sha in record.carried)
        return (*shared, *self.find_by_sha(repository_id, sha))

    def _find_records(
        self, keys_by_name: dict[str, dict[str, None]], name: str, repository_id: int
    ) -> tuple[RunRecord, ...]:
        with self._lock:
            keys = tuple(keys_by_name.get(name, ()))
        records = (self._engine.get_record(key) for key in keys)
        return tuple(
            record
            for record in records
            if record is not None and record.run.repository.id == repository_id
        )

    def _drop_forgotten_runs(self) -> None:
        """Drop the runs that the engine has forgotten; the next sweep is at twice what is left."""
        with self._lock:
            indexed = tuple(self._names)  # a run that is added from now on is not judged
        known = {record.run.key for record in self._engine.query_runs(ALL_RUNS)}
        forgotten = [
            key for key in indexed if key not in known and self._engine.get_record(key) is None
        ]
        with self._lock:
            for key in forgotten:
                self._drop_key(key)
            self._sweep_size = max(_SWEEP_SIZE_MIN, 2 * len(self._names))

    def _drop_key(self, key: str) -> None:
        names = self._names.pop(key, None)
        if names is None:  # another thread has swept as well
            return
        for keys_by_name, name in zip(
            (self._keys_by_sha, self._keys_by_fyre_id), names, strict=True
        ):
            keys_by_name[name].pop(key, None)
            if not keys_by_name[name]:
                del keys_by_name[name]

    def _add_changed_run(self, key: str) -> None:
        record = self._engine.get_record(key)
        if record is not None:
            self.add_run(record.run)
