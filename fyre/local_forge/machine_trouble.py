"""Tell what the forge's own machine lacks, in one line: it passes."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from fyre.local_forge import database

log = logging.getLogger(__name__)

DISK_FULL = "the disk of this Git server is full"
FREE_BYTES_MIN = 1 << 20
"""Room below which nothing new is taken: what was taken already has to be written down."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_LACKS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Errors for want of descriptors, memory and processes; any other is a file's or repository's."""

REPEATED_AFTER = 600.0
"""Seconds after which trouble that lasts is logged again."""


def count_free_bytes(path: Path) -> int:
    """Return how much may be written on the disk under a path; below 0 on one that is full."""
    disk = os.statvfs(path)
    is_root = os.geteuid() == 0  # some blocks are for root alone
    free_bytes = (disk.f_bfree if is_root else disk.f_bavail) * disk.f_frsize
    free_inodes = disk.f_ffree if is_root else disk.f_favail
    return -1 if disk.f_files > 0 and free_inodes < 1 else free_bytes - FREE_BYTES_MIN


def is_disk_full(path: Path) -> bool:
    """Return True if the disk under a path has no room for what a push needs, or no inodes."""
    return count_free_bytes(path) < 0


def is_for_want_of_room(error: Exception, path: Path) -> bool:
    """Return True for an error of a full disk, which may have room again by now."""
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return True
    return getattr(error, "errno", None) in _NO_ROOM or is_disk_full(path)


def reject_full_disk(path: Path) -> None:
    """Raise ``OSError`` if there is no room: nothing is begun then whose end can't be noted."""
    if is_disk_full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class TroubleLog:
    """Logs what the machine lacks: once, again while it lasts, and when it is over. Thread-safe."""

    root: Path
    _logged_at: dict[str, float] = field(default_factory=dict)
    _troubled: set[str] = field(default_factory=set)  # names of what the machine failed last
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, error: Exception, name: str = "") -> bool:
        """Log an error if it is the machine's; return False for any other.

        ``name`` is the repository that it was met in.
        """
        reason = self._find_reason(error)
        now = time.monotonic()
        with self._lock:
            if not reason:
                self._troubled.discard(name)
                return False
            self._troubled.add(name)
            last = self._logged_at.get(reason)
            if last is None or now - last >= REPEATED_AFTER:
                self._logged_at[reason] = now
                log.warning("%s; what is left is done when that has passed", reason)
        return True

    def report_success(self, name: str) -> None:
        """Log that the trouble is over, if any was logged and no other repository still has it."""
        with self._lock:
            self._troubled -= {name, ""}
            if self._logged_at and not self._troubled and not is_disk_full(self.root):
                log.warning("this is over: %s", "; ".join(self._logged_at))
                self._logged_at.clear()

    def _find_reason(self, error: Exception) -> str:
        """Return what the machine lacks; "" if the error says something else."""
        # Whatever a program says that found no room for a file, as git does.
        if is_for_want_of_room(error, self.root):
            return f"{DISK_FULL} ({self.root})"
        if isinstance(error, sqlite3.Error):
            return str(error) if database.is_machine_trouble(error) else ""
        if isinstance(error, MemoryError):
            return os.strerror(errno.ENOMEM)
        if isinstance(error, OSError) and error.errno in _LACKS:
            return os.strerror(error.errno)
        return ""
