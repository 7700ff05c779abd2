"""An engine over mirrors that may be evicted: a run's commit is fetched and pinned before it is launched, and its pin
goes when the run has ended. Whoever launches, a push, a comment or a rerun, comes through here.
"""

from __future__ import annotations

import logging
import queue
import threading

from fyre.backoff import Backoff
from fyre.engines.protocol import Engine
from fyre.engines.wrappers import EngineWrapper
from fyre.errors import TransientError, UserError
from fyre.git.mirror_store import MirrorStore
from fyre.runs.run import Repository, Run

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.5, 30.0)  # before a fetch that failed is tried again


class PinningEngine(EngineWrapper):
    """The engine, with its runs' commits held in the mirrors. What it knows is the engine's own."""

    def __init__(self, engine: Engine, mirrors: MirrorStore) -> None:
        super().__init__(engine)
        self._mirrors = mirrors
        self._release_queue: queue.Queue[tuple[Repository, str] | None] = queue.Queue()
        self._closed = threading.Event()
        self._release_thread = threading.Thread(target=self._release_loop, name="pins", daemon=True)
        self._repin_thread = threading.Thread(
            target=self._repin_unfinished, name="pins of before", daemon=True
        )
        engine.subscribe(self._check_changed_run)
        for (
            repository_id,
            key,
        ) in mirrors.list_pins():  # of runs that ended, or never began, while nobody was here
            if self._is_final(key):
                mirrors.unpin_run(Repository("", repository_id, ""), key)
        self._release_thread.start()
        self._repin_thread.start()

    def launch(self, run: Run) -> bool:
        """As the engine does, once the commit is here. Raises also what fetching it raises."""
        self._mirrors.mirror_for_run(run)
        try:
            return super().launch(run)
        finally:  # refused, or launched before and over: nobody else would let its pin go
            self._release_if_final(run.repository, run.key)

    def close(self) -> None:
        """Stop watching, then see to what has ended until now."""
        self._closed.set()
        super().close()
        self._repin_thread.join()
        self._release_queue.put(None)
        self._release_thread.join()

    def _check_changed_run(self, key: str) -> None:
        record = self._engine.get_record(key)
        if record is not None:
            self._release_if_final(record.run.repository, key)

    def _release_if_final(self, repository: Repository, key: str) -> None:
        """Let the pin of a run that is over go; not here: a mirror that is being fetched would hold the engine up."""
        if self._is_final(key):
            self._release_queue.put((repository, key))

    def _is_final(self, key: str) -> bool:
        record = self._engine.get_record(key)
        return record is None or record.state.is_final

    def _repin_unfinished(self) -> None:
        """Fetch what pods may still ask for: this disk may be another one than that of who launched them."""
        waiting, pause = (
            [record.run for record in self._engine.list_records() if not record.state.is_final],
            _BACKOFF.first,
        )
        while waiting:
            waiting = [
                run for run in waiting if not self._closed.is_set() and not self._pin_commit(run)
            ]
            self._closed.wait(pause if waiting else 0)
            pause = _BACKOFF.after(pause)

    def _pin_commit(self, run: Run) -> bool:
        """Pin it; False where that has to be tried again."""
        if self._is_final(run.key):
            return True
        try:
            self._mirrors.mirror_for_run(run)
        except TransientError as error:
            log.warning("fetched later", extra={"run": run.key, "why": str(error)})
            return False
        except UserError as error:  # the checkout will say so
            log.warning("it can't be fetched", extra={"run": run.key, "why": str(error)})
        self._release_if_final(run.repository, run.key)
        return True

    def _release_loop(self) -> None:
        while (over := self._release_queue.get()) is not None:
            try:
                if self._is_final(over[1]):  # else it was launched after all, at the second try
                    self._mirrors.unpin_run(*over)
            except Exception:
                # A pin that stays costs disk until the next start; the runs after this one have pins too.
                log.exception("a pin stays", extra={"run": over[1]})
