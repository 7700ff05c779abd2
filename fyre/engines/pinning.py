"""An engine whose runs' commits are pinned in mirrors that may be evicted.

A run's commit is fetched and pinned before the launch, and its pin is released when the run has
ended. All launches go through this engine: those of a push, of a comment and of a rerun.
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
from fyre.runs.run_query import RunQuery
from fyre.runs.state import PENDING_STATES

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.5, 30.0)  # before a fetch that failed is tried again


class PinningEngine(EngineWrapper):
    """The engine, with the commits of its runs pinned in the mirrors; all records are the engine's
    own.
    """

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
        # Release the pins of runs that ended, or never began, while no server was running.
        for repository_id, key in mirrors.list_pins():
            if self._is_final(key):
                mirrors.unpin_run(Repository("", repository_id, ""), key)
        self._release_thread.start()
        self._repin_thread.start()

    def launch(self, run: Run, *, hold: bool = False, reason: str = "") -> bool:
        """Fetch and pin the commit, then launch the run. Raises also what fetching raises.

        A held run is pinned as well: it has not ended.
        """
        self._mirrors.mirror_for_run(run)
        try:
            return super().launch(run, hold=hold, reason=reason)
        finally:  # where it was refused, or has run before, nothing else would release its pin
            self._release_if_final(run.repository, run.key)

    def close(self) -> None:
        """Stop watching, then release the pins of the runs that have ended until now."""
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
        """Queue the release of a run's pin if the run has ended.

        A background thread releases it: doing it now could block the engine behind a fetch.
        """
        if self._is_final(key):
            self._release_queue.put((repository, key))

    def _is_final(self, key: str) -> bool:
        record = self._engine.get_record(key)
        return record is None or record.state.is_final

    def _repin_unfinished(self) -> None:
        """Fetch what pods may still ask for: this disk may be another than that of the launch."""
        unfinished = self._engine.query_runs(RunQuery(states=PENDING_STATES))
        waiting = [record.run for record in reversed(unfinished)]  # the oldest first
        pause = _BACKOFF.first
        while waiting:
            waiting = [
                run for run in waiting if not self._closed.is_set() and not self._pin_commit(run)
            ]
            self._closed.wait(pause if waiting else 0)
            pause = _BACKOFF.after(pause)

    def _pin_commit(self, run: Run) -> bool:
        """Fetch and pin the commit of a run; return False if that has to be tried again."""
        if self._is_final(run.key):
            return True
        try:
            self._mirrors.mirror_for_run(run)
        except TransientError as error:
            log.warning(
                "the commit is fetched again later", extra={"run": run.key, "why": str(error)}
            )
            return False
        except UserError as error:  # the checkout will report it
            log.warning("the commit can't be fetched", extra={"run": run.key, "why": str(error)})
        self._release_if_final(run.repository, run.key)
        return True

    def _release_loop(self) -> None:
        while (pin := self._release_queue.get()) is not None:
            repository, key = pin
            try:
                if self._is_final(key):  # else it was launched after all, at the second try
                    self._mirrors.unpin_run(repository, key)
            except Exception:
                # A pin that stays costs disk until the next start, and the next runs have pins too.
                log.exception("a pin could not be released", extra={"run": key})
