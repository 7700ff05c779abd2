"""Engines around an engine: as it is, but for what each changes.

Two are for a process that answers for some of its runs only: those of other workflow jobs are on the same cluster,
under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from fyre.engines.protocol import Engine
from fyre.runs.run import Record, Run


class Around:
    """The engine as it is; a subclass changes what it has to."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine

    def launch(self, run: Run) -> bool:
        """As the engine does."""
        return self._engine.launch(run)

    def cancel(self, key: str, by: str) -> bool:
        """As the engine does."""
        return self._engine.cancel(key, by)

    def records(self) -> Collection[Record]:
        """As the engine has them."""
        return self._engine.records()

    def record(self, key: str) -> Record | None:
        """As the engine has it."""
        return self._engine.record(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        settled: bool = False,
    ) -> None:
        """As the engine does."""
        self._engine.annotate(key, reported=reported, carried=carried, settled=settled)

    def log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """As the engine has it."""
        return self._engine.log(key, follow=follow)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """As the engine does."""
        self._engine.subscribe(changed)

    def close(self) -> None:
        """As the engine does."""
        self._engine.close()


class Launching(Around):
    """Remembers what was launched through it, or made to stand for a further commit; what it finds launched is somebody
    else's."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.launched: dict[str, None] = {}  # in their order
        self._tried: set[str] = set()

    def launch(self, run: Run) -> bool:
        """As the engine does."""
        again = (
            run.key in self._tried
        )  # the try before had no answer, and may have been what launched it
        self._tried.add(run.key)
        new = super().launch(run)
        if new or again:
            self.launched[run.key] = None
        return new

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        settled: bool = False,
    ) -> None:
        """As the engine does."""
        super().annotate(key, reported=reported, carried=carried, settled=settled)
        if carried is not None:
            self.launched[key] = None


class Part(Around):
    """Nothing but the runs whose keys are among ``mine``, which may grow."""

    def __init__(self, engine: Engine, mine: Collection[str]) -> None:
        super().__init__(engine)
        self._mine = mine

    def records(self) -> Collection[Record]:
        """Those."""
        found = (self._engine.record(key) for key in tuple(self._mine))
        return [record for record in found if record is not None]

    def record(self, key: str) -> Record | None:
        """One of those."""
        return self._engine.record(key) if key in self._mine else None
