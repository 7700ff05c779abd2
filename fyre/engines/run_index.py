"""Runs by the commit and by the Fyre-Id they were launched for, so that nobody walks all records for one commit."""

from __future__ import annotations

import threading
from collections import defaultdict

from fyre.engines.protocol import Engine
from fyre.runs.run import Record, Run


class Index:
    """An index over an engine's records; what the engine forgets drops out by itself. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._by_sha: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._by_id: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for record in engine.records():
            self.add(record.run)
        engine.subscribe(self._changed)

    def add(self, run: Run) -> None:
        """Know a run from now on, without waiting for the engine to say so."""
        with self._lock:
            self._by_sha[run.sha][run.key] = None
            if run.fyre_id:
                self._by_id[run.fyre_id][run.key] = None

    def at(self, repository_id: int, sha: str) -> tuple[Record, ...]:
        """The runs launched for this very SHA."""
        return self._found(self._by_sha, sha, repository_id)

    def with_id(self, repository_id: int, fyre_id: str) -> tuple[Record, ...]:
        """The runs launched under this Fyre-Id, whatever their SHA."""
        return self._found(self._by_id, fyre_id, repository_id) if fyre_id else ()

    def _found(
        self, index: dict[str, dict[str, None]], name: str, repository_id: int
    ) -> tuple[Record, ...]:
        with self._lock:
            keys = tuple(index.get(name, ()))
        records = [self._engine.record(key) for key in keys]
        gone = {key for key, record in zip(keys, records, strict=True) if record is None}
        if gone:
            with self._lock:
                index[name] = {key: None for key in index[name] if key not in gone}
        return tuple(r for r in records if r is not None and r.run.repository.id == repository_id)

    def _changed(self, key: str) -> None:
        record = self._engine.record(key)
        if record is not None:
            self.add(record.run)
