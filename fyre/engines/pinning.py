"""An engine over mirrors that may be evicted: a run's commit is fetched and pinned before it is launched, and its pin
goes when the run has ended. Whoever launches, a push, a comment or a rerun, comes through here.
"""

from __future__ import annotations

import logging
import queue
import threading

from fyre.backoff import Backoff
from fyre.engines.protocol import Engine
from fyre.engines.wrappers import Around
from fyre.errors import TryAgainError, UserError
from fyre.git.mirror_store import Clones
from fyre.runs.run import Repository, Run

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.5, 30.0)  # before a fetch that failed is tried again


class Pinned(Around):
    """The engine, with its runs' commits held in the mirrors. What it knows is the engine's own."""

    def __init__(self, engine: Engine, clones: Clones) -> None:
        super().__init__(engine)
        self._clones = clones
        self._over: queue.Queue[tuple[Repository, str] | None] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._unpin_for_ever, name="pins", daemon=True)
        self._finder = threading.Thread(target=self._pin_again, name="pins of before", daemon=True)
        engine.subscribe(self._changed)
        for (
            repository_id,
            key,
        ) in clones.pins():  # of runs that ended, or never began, while nobody was here
            if self._is_over(key):
                clones.unpin(Repository("", repository_id, ""), key)
        self._thread.start()
        self._finder.start()

    def launch(self, run: Run) -> bool:
        """As the engine does, once the commit is here. Raises also what fetching it raises."""
        self._clones.of(run)
        try:
            return super().launch(run)
        finally:  # refused, or launched before and over: nobody else would let its pin go
            self._see(run.repository, run.key)

    def close(self) -> None:
        """Stop watching, then see to what has ended until now."""
        self._closed.set()
        super().close()
        self._finder.join()
        self._over.put(None)
        self._thread.join()

    def _changed(self, key: str) -> None:
        record = self._engine.record(key)
        if record is not None:
            self._see(record.run.repository, key)

    def _see(self, repository: Repository, key: str) -> None:
        """Let the pin of a run that is over go; not here: a mirror that is being fetched would hold the engine up."""
        if self._is_over(key):
            self._over.put((repository, key))

    def _is_over(self, key: str) -> bool:
        record = self._engine.record(key)
        return record is None or record.state.final

    def _pin_again(self) -> None:
        """Fetch what pods may still ask for: this disk may be another one than that of who launched them."""
        waiting, pause = (
            [record.run for record in self._engine.records() if not record.state.final],
            _BACKOFF.first,
        )
        while waiting:
            waiting = [
                run for run in waiting if not self._closed.is_set() and not self._pinned(run)
            ]
            self._closed.wait(pause if waiting else 0)
            pause = _BACKOFF.after(pause)

    def _pinned(self, run: Run) -> bool:
        """Pin it; False where that has to be tried again."""
        if self._is_over(run.key):
            return True
        try:
            self._clones.of(run)
        except TryAgainError as error:
            log.warning("fetched later", extra={"run": run.key, "why": str(error)})
            return False
        except UserError as error:  # the checkout will say so
            log.warning("it can't be fetched", extra={"run": run.key, "why": str(error)})
        self._see(run.repository, run.key)
        return True

    def _unpin_for_ever(self) -> None:
        while (over := self._over.get()) is not None:
            try:
                if self._is_over(over[1]):  # else it was launched after all, at the second try
                    self._clones.unpin(*over)
            except Exception:
                # A pin that stays costs disk until the next start; the runs after this one have pins too.
                log.exception("a pin stays", extra={"run": over[1]})
