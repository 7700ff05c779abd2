"""The Kubernetes engine's work queue: requests that are made away from the threads that watch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fyre.backoff import Backoff
from fyre.delay_queue import DelayQueue
from fyre.errors import TransientError

log = logging.getLogger(__name__)

WORKERS = 16
_BACKOFF = Backoff(0.5, 30.0)


class _Work(NamedTuple):
    """A function to call, and the seconds that were waited before this try."""

    name: str
    call: Callable[[], object]
    pause: float = 0.0


class WorkQueue:
    """Runs one piece of work of a name at a time, and again until it is done. Thread-safe.

    Work that waits for its next try holds no worker: sixteen runs in trouble must not keep all
    others waiting.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._names: set[str] = set()  # under way, or waiting for their next try
        self._waiting: DelayQueue[_Work] = DelayQueue()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="kubernetes work")
        self._closed = False

    def submit(self, name: str, call: Callable[[], object]) -> None:
        """Run it soon; do nothing if work of that name is being done or waits."""
        with self._mutex:
            if name not in self._names and not self._closed:
                self._names.add(name)
                self._workers.submit(self._do, _Work(name, call))

    def run_due(self) -> None:
        """Run the work whose next try is due; to be called every now and then."""
        with self._mutex:
            if not self._closed:
                for work in self._waiting.pop_due(time.monotonic()):
                    self._workers.submit(self._do, work)

    def is_idle(self) -> bool:
        """Return True if no work is being done or waits."""
        with self._mutex:
            return not self._names

    def close(self) -> None:
        """Finish the work that is being done, and drop what waits: the next start finds it
        again.
        """
        with self._mutex:
            self._closed = True
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _do(self, work: _Work) -> None:
        try:
            work.call()
        except TransientError as error:
            log.warning("tried again later: %s", error)
            pause = _BACKOFF.after(work.pause)
            with self._mutex:
                due = time.monotonic() + pause
                self._waiting.push(work.name, work._replace(pause=pause), due)
            return
        except Exception:
            # An error with one run must not stop the others.
            log.exception("unexpected error in %s", work.name)
        with self._mutex:
            self._names.discard(work.name)
