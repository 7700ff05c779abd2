"""Engines around an engine: as it is, but for what each changes.

Two are for a process that answers for some of its runs only: those of other workflow jobs are on the same cluster,
under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from fyre.engines.protocol import Engine
from fyre.runs.run import Run, RunRecord


class EngineWrapper:
    """The engine as it is; a subclass changes what it has to."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine

    def launch(self, run: Run) -> bool:
        """As the engine does."""
        return self._engine.launch(run)

    def cancel(self, key: str, requested_by: str) -> bool:
        """As the engine does."""
        return self._engine.cancel(key, requested_by)

    def list_records(self) -> Collection[RunRecord]:
        """As the engine has them."""
        return self._engine.list_records()

    def get_record(self, key: str) -> RunRecord | None:
        """As the engine has it."""
        return self._engine.get_record(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """As the engine does."""
        self._engine.annotate(key, reported=reported, carried=carried, end_posted=end_posted)

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """As the engine has it."""
        return self._engine.read_log(key, follow=follow)

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """As the engine does."""
        self._engine.subscribe(on_change)

    def close(self) -> None:
        """As the engine does."""
        self._engine.close()


class LaunchTrackingEngine(EngineWrapper):
    """Remembers what was launched through it, or made to stand for a further commit; what it finds launched is somebody
    else's."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.launched_keys: dict[str, None] = {}  # in their order
        self._attempted_keys: set[str] = set()

    def launch(self, run: Run) -> bool:
        """As the engine does."""
        again = (
            run.key in self._attempted_keys
        )  # the try before had no answer, and may have been what launched it
        self._attempted_keys.add(run.key)
        new = super().launch(run)
        if new or again:
            self.launched_keys[run.key] = None
        return new

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """As the engine does."""
        super().annotate(key, reported=reported, carried=carried, end_posted=end_posted)
        if carried is not None:
            self.launched_keys[key] = None


class EngineView(EngineWrapper):
    """Nothing but the runs whose keys are among ``mine``, which may grow."""

    def __init__(self, engine: Engine, keys: Collection[str]) -> None:
        super().__init__(engine)
        self._keys = keys

    def list_records(self) -> Collection[RunRecord]:
        """Those."""
        found = (self._engine.get_record(key) for key in tuple(self._keys))
        return [record for record in found if record is not None]

    def get_record(self, key: str) -> RunRecord | None:
        """One of those."""
        return self._engine.get_record(key) if key in self._keys else None
