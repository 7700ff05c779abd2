"""The callbacks that are called when a record of an engine changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Subscribers:
    """Callbacks, called in the order they were added, in the thread that notifies."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[str], None]] = []

    def add_callback(self, on_change: Callable[[str], None]) -> None:
        """Have ``on_change(key)`` called from now on."""
        self._callbacks.append(on_change)

    def notify_all(self, key: str) -> None:
        """Call all callbacks: a record may have changed."""
        for on_change in list(self._callbacks):
            try:
                on_change(key)
            except Exception:
                # A bug of that subscriber: the others are still notified, and the runs watched.
                log.exception("a subscriber failed on %s", key)
