"""Work that takes requests, done away from the threads that watch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fyre.errors import TryAgainError

log = logging.getLogger(__name__)

_WORKERS = 16
_AGAIN = (0.5, 30.0)  # seconds until what may pass is tried again, at first and at most


class Chores:
    """One chore of a name at a time, tried again until it is done. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._names: set[str] = set()
        self._hands = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kubernetes chores")
        self._closed = threading.Event()

    def do(self, name: str, chore: Callable[[], None]) -> None:
        """Have it done soon; nothing when one of that name is under way or waits."""
        with self._mutex:
            if name in self._names or self._closed.is_set():
                return
            self._names.add(name)
        self._hands.submit(self._do, name, chore)

    def close(self) -> None:
        """Finish what is under way, leave what waits: it is found again at the next start."""
        self._closed.set()
        self._hands.shutdown(wait=True, cancel_futures=True)

    def _do(self, name: str, chore: Callable[[], None]) -> None:
        pause = _AGAIN[0]
        try:
            while not self._closed.is_set():
                try:
                    chore()
                except TryAgainError as error:
                    log.warning("tried again later: %s", error)
                    self._closed.wait(pause)
                    pause = min(pause * 2, _AGAIN[1])
                else:
                    return
        except Exception:
            # Trouble with one run is that run's; the others have their turns.
            log.exception("%s met a bug", name)
        finally:
            with self._mutex:
                self._names.discard(name)
