"""Engine decorators: they forward every call, and a subclass overrides what it changes.

Two are for a process that answers for some of its runs only: those of other workflow jobs are on
the same cluster, under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from fyre.engines import protocol
from fyre.engines.protocol import Engine
from fyre.engines.run_log import RunLog
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import RunQuery, select_records


class EngineWrapper:
    """Forwards every call to the engine; a subclass overrides what it changes."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine

    def launch(self, run: Run, *, hold: bool = False, reason: str = "") -> bool:
        """Launch a run on the engine, or have it held there."""
        if not hold:  # an engine of another package may be older than holding
            return self._engine.launch(run)
        return self._engine.launch(run, hold=True, reason=reason)

    def release(self, key: str) -> bool:
        """Release a held run on the engine."""
        return self._engine.release(key)

    def cancel(self, key: str, requested_by: str) -> bool:
        """Cancel a run on the engine."""
        return self._engine.cancel(key, requested_by)

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the engine's records that a query selects."""
        return self._engine.query_runs(query)

    def get_record(self, key: str) -> RunRecord | None:
        """Return the engine's record of one run."""
        return self._engine.get_record(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Store notes on the engine's record."""
        self._engine.annotate(key, reported=reported, carried=carried, end_posted=end_posted)

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the log that the engine has."""
        return self._engine.read_log(key, follow=follow)

    def open_log(self, key: str) -> RunLog:
        """Return the engine's log of a run."""
        return self._engine.open_log(key)

    def cut_short_keys(self) -> frozenset[str]:
        """Return the keys of the runs that the engine lost before they started."""
        return protocol.cut_short_keys(self._engine)

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Subscribe to the engine's changes."""
        self._engine.subscribe(on_change)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class LaunchTrackingEngine(EngineWrapper):
    """Remembers the runs that were launched, released, or given a further commit, through it.

    A run that turns out to be launched already is somebody else's.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.launched_keys: dict[str, None] = {}  # in the order of the launches
        self._attempted_keys: set[str] = set()
        self._attempted_releases: set[str] = set()

    def launch(self, run: Run, *, hold: bool = False, reason: str = "") -> bool:
        """Launch a run, and remember its key if this launched it."""
        # An earlier attempt had no answer, and may have been the one that launched it.
        attempted_before = run.key in self._attempted_keys
        self._attempted_keys.add(run.key)
        new = super().launch(run, hold=hold, reason=reason)
        if new or attempted_before:
            self.launched_keys[run.key] = None
        return new

    def release(self, key: str) -> bool:
        """Release a run, and remember its key: whoever released it sees that it gets its code."""
        attempted_before = key in self._attempted_releases
        self._attempted_releases.add(key)
        released = super().release(key)
        if released or attempted_before:
            self.launched_keys[key] = None
        return released

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Store notes, and remember the key if the run now stands for further commits."""
        super().annotate(key, reported=reported, carried=carried, end_posted=end_posted)
        if carried is not None:
            self.launched_keys[key] = None


class EngineView(EngineWrapper):
    """Shows only the runs whose keys are among ``keys``, which may grow."""

    def __init__(self, engine: Engine, keys: Collection[str]) -> None:
        super().__init__(engine)
        self._keys = keys

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the records of those runs that a query selects."""
        records = [self._engine.get_record(key) for key in tuple(self._keys)]
        return select_records([record for record in records if record is not None], query)

    def get_record(self, key: str) -> RunRecord | None:
        """Return the record of one of those runs, or None."""
        return self._engine.get_record(key) if key in self._keys else None
