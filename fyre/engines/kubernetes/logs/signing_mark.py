"""A mark on the disk of a receiver that signs its Jobs: a version that does not removes it.

The mark is a directory that looks like the log of a run which was archived long ago. Every version
cleans up such logs within the second after its start; only versions that sign know the mark.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fyre.engines.log_store import LogStore

log = logging.getLogger(__name__)

MARK_NAME = "jobs-are-signed"


class SigningMark:
    """The mark among the live logs of one receiver."""

    def __init__(self, live_dir: Path, store: LogStore) -> None:
        self._directory, self._store = live_dir / MARK_NAME, store

    def is_present(self) -> bool:
        """Return True if only versions that sign their Jobs were here since the mark was left."""
        return self._directory.is_dir()

    def leave(self) -> None:
        """Leave the mark; to do that again keeps its log from being pruned."""
        try:
            self._store.put_log(MARK_NAME, ())
        except Exception:  # each file system has errors of its own; it is tried again in an hour
            log.warning("the archive of logs takes no %s now", MARK_NAME, exc_info=True)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.utime(self._directory, (0, 0))
