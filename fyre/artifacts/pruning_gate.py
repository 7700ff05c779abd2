"""The facts that a sealing and a pruning of one store know of each other: see ``pruning``."""

from __future__ import annotations

import errno
import time
from typing import Any

STATE, LOCK = "pruning/state.json", "pruning/lock.json"

DELETION_PERIOD = 300.0
"""Seconds for which a pruning says that it deletes; it says so again in time."""

_CLOCK_SKEW_MAX = 600.0
"""Seconds that the clocks of two machines may differ."""


def require_no_deletion(state: Any) -> str:  # noqa: ANN401 - JSON
    """Return which pruning was the last, "" for none. Raises ``OSError`` while one deletes."""
    if not isinstance(state, dict):
        return ""
    until = state.get("until")
    if isinstance(until, int | float) and until and until + _CLOCK_SKEW_MAX > time.time():
        raise OSError(errno.EAGAIN, "fyre prune is at work on the store")
    return str(state.get("id", ""))
