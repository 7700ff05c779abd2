"""A line at the terminal that says what a verb is doing, once that has taken a while."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SLOW_SECONDS = 2.0
"""Seconds after which a person begins to ask whether anything happens at all."""


@contextmanager
def name_slow_step(step: str) -> Iterator[None]:
    """Print what is going on if the block takes long, where a person looks at stderr."""
    timer = threading.Timer(SLOW_SECONDS, name_step, [step])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def name_step(step: str) -> None:
    """Print what is going on, where a person looks at stderr."""
    if sys.stderr.isatty():
        print(f"fyre: {step} …".encode(errors="replace").decode(), file=sys.stderr, flush=True)
