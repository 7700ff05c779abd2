"""Commands whose output is known byte by byte, and a machine that is busy while they run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

LEAST, MOST = 1_000, 200_000
"""Bytes of the smallest output, and about those of the largest."""


def sizes(count: int) -> list[int]:
    """Return so many sizes between the smallest and the largest, by equal factors."""
    return [round(LEAST * (MOST / LEAST) ** (at / max(1, count - 1))) for at in range(count)]


def writing_command(name: str, size: int) -> str:
    """Return a command that writes about so many bytes, and ends at once.

    Its last line has no end.
    """
    return f"seq -f '%08.0f {name}' 1 {_lines(name, size)}; printf 'end of {name}'"


def expected_log(name: str, size: int) -> bytes:
    """Return exactly what the command of that name and size writes."""
    lines = (f"{number:08} {name}\n" for number in range(1, _lines(name, size) + 1))
    return ("".join(lines) + f"end of {name}").encode()


def _lines(name: str, size: int) -> int:
    return size // len(f"{0:08} {name}\n")


@contextmanager
def busy_machine() -> Iterator[None]:
    """Have twice as many processes as there are cores compute until the block ends."""
    command = ["nice", "-n", "5", "sh", "-c", "while :; do :; done"]
    loops = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
