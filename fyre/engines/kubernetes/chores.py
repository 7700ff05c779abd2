"""Work that takes requests, done away from the threads that watch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fyre.errors import TryAgainError

log = logging.getLogger(__name__)

_WORKERS = 16
_AGAIN = (0.5, 30.0)  # seconds until what may pass is tried again, at first and at most


class _Later(NamedTuple):
    """A chore that is to be tried again, when, and the pause that came before."""

    due: float
    name: str
    chore: Callable[[], object]
    pause: float


class Chores:
    """One chore of a name at a time, tried again until it is done. Thread-safe.

    What waits for its next try holds no worker: sixteen runs in trouble must not keep all others waiting.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._names: set[str] = set()
        self._later: list[_Later] = []
        self._hands = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kubernetes chores")
        self._closed = False

    def do(self, name: str, chore: Callable[[], object]) -> None:
        """Have it done soon; nothing when one of that name is under way or waits."""
        with self._mutex:
            if name not in self._names and not self._closed:
                self._names.add(name)
                self._hands.submit(self._do, name, chore, _AGAIN[0])

    def again(self) -> None:
        """Have done what is due to be tried again; to be called every now and then."""
        now = time.monotonic()
        with self._mutex:
            due = [] if self._closed else [later for later in self._later if later.due <= now]
            self._later = [later for later in self._later if later.due > now]
            for later in due:
                self._hands.submit(self._do, later.name, later.chore, min(later.pause * 2, _AGAIN[1]))

    def idle(self) -> bool:
        """Whether none is under way or waits."""
        with self._mutex:
            return not self._names

    def close(self) -> None:
        """Finish what is under way, leave what waits: it is found again at the next start."""
        with self._mutex:
            self._closed = True
        self._hands.shutdown(wait=True, cancel_futures=True)

    def _do(self, name: str, chore: Callable[[], object], pause: float) -> None:
        try:
            chore()
        except TryAgainError as error:
            log.warning("tried again later: %s", error)
            with self._mutex:
                self._later.append(_Later(time.monotonic() + pause, name, chore, pause))
            return
        except Exception:
            # Trouble with one run is that run's; the others have their turns.
            log.exception("%s met a bug", name)
        with self._mutex:
            self._names.discard(name)
