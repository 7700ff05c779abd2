"""Who wants to hear of an engine's changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Subscribers:
    """Called in the order they came, in the thread that tells."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[str], None]] = []

    def add_callback(self, on_change: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called from now on."""
        self._callbacks.append(on_change)

    def notify_all(self, key: str) -> None:
        """A record may have changed."""
        for changed in list(self._callbacks):
            try:
                changed(key)
            except Exception:  # theirs to mend; the others are told, and the runs watched
                log.exception("a subscriber failed on %s", key)
