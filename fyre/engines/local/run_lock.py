"""The lock of a run, which its supervisor holds as long as it lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fyre.regular_files import open_regular


@contextmanager
def try_lock(path: Path) -> Iterator[int | None]:
    """Hold the lock and yield None; or yield the pid of the supervisor that holds it.

    The pid is 0 until the supervisor has written it. Raises ``NotRegularFileError``.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    with os.fdopen(descriptor, "r+", encoding="ascii", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = None
            file.truncate(0)  # a dead supervisor's pid may be another process's by now
        except BlockingIOError:
            file.seek(0)
            pid = file.read(32)
            holder = int(pid) if pid.isdecimal() else 0
        yield holder


def lock_holder(path: Path) -> int | None:
    """Return the pid that holds a lock, as the kernel says; None if it says none (macOS).

    A command can write any pid into the file.
    """
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    for fields in map(str.split, lines):  # "1: FLOCK ADVISORY WRITE 4711 08:02:1234 0 EOF"
        if fields[1] == "FLOCK" and fields[5] == f"{device}:{status.st_ino}":
            return int(fields[4]) if int(fields[4]) not in (0, os.getpid()) else None
    return None
