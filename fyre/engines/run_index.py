"""An index of runs by commit and by Fyre-Id, so that nobody walks all records for one commit."""

from __future__ import annotations

import threading
from collections import defaultdict

from fyre.engines.protocol import Engine
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import ALL_RUNS


class RunIndex:
    """An index over an engine's records. Thread-safe.

    What the engine forgets drops out of the index by itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._keys_by_sha: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._keys_by_fyre_id: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for record in reversed(engine.query_runs(ALL_RUNS)):
            self.add_run(record.run)
        engine.subscribe(self._add_changed_run)

    def add_run(self, run: Run) -> None:
        """Index a run now, without waiting until the engine reports it."""
        with self._lock:
            self._keys_by_sha[run.sha][run.key] = None
            if run.fyre_id:
                self._keys_by_fyre_id[run.fyre_id][run.key] = None

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
        records = [self._engine.get_record(key) for key in keys]
        forgotten = {key for key, record in zip(keys, records, strict=True) if record is None}
        if forgotten:
            with self._lock:
                keys_by_name[name] = {
                    key: None for key in keys_by_name[name] if key not in forgotten
                }
        return tuple(
            record
            for record in records
            if record is not None and record.run.repository.id == repository_id
        )

    def _add_changed_run(self, key: str) -> None:
        record = self._engine.get_record(key)
        if record is not None:
            self.add_run(record.run)
