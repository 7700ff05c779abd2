"""Wait for something that will happen, by asking again and again: the machine may be busy.

Each question may be a request to a server in this very process, which needs the time to answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST_PAUSE = 0.05


def until(ask: Callable[[], T], seconds: float = 60) -> T:
    """Return the first true result; fail the test after so many seconds."""
    deadline, pause = time.monotonic() + seconds, 0.01
    while not (found := ask()):
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)
    return found
