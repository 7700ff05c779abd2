"""Runs by the commit and by the Fyre-Id they were launched for, so that nobody walks all records for one commit."""

from __future__ import annotations

import threading
from collections import defaultdict

from fyre.engines.protocol import Engine
from fyre.runs.run import Run, RunRecord


class RunIndex:
    """An index over an engine's records; what the engine forgets drops out by itself. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._keys_by_sha: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._keys_by_fyre_id: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for record in engine.list_records():
            self.add_run(record.run)
        engine.subscribe(self._add_changed_run)

    def add_run(self, run: Run) -> None:
        """Know a run from now on, without waiting for the engine to say so."""
        with self._lock:
            self._keys_by_sha[run.sha][run.key] = None
            if run.fyre_id:
                self._keys_by_fyre_id[run.fyre_id][run.key] = None

    def find_by_sha(self, repository_id: int, sha: str) -> tuple[RunRecord, ...]:
        """The runs launched for this very SHA."""
        return self._find_records(self._keys_by_sha, sha, repository_id)

    def find_by_fyre_id(self, repository_id: int, fyre_id: str) -> tuple[RunRecord, ...]:
        """The runs launched under this Fyre-Id, whatever their SHA."""
        return self._find_records(self._keys_by_fyre_id, fyre_id, repository_id) if fyre_id else ()

    def _find_records(
        self, keys_by_name: dict[str, dict[str, None]], name: str, repository_id: int
    ) -> tuple[RunRecord, ...]:
        with self._lock:
            keys = tuple(keys_by_name.get(name, ()))
        records = [self._engine.get_record(key) for key in keys]
        gone = {key for key, record in zip(keys, records, strict=True) if record is None}
        if gone:
            with self._lock:
                keys_by_name[name] = {key: None for key in keys_by_name[name] if key not in gone}
        return tuple(r for r in records if r is not None and r.run.repository.id == repository_id)

    def _add_changed_run(self, key: str) -> None:
        record = self._engine.get_record(key)
        if record is not None:
            self.add_run(record.run)
