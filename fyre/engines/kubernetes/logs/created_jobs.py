"""The Job that was created with a signature: marks beside the logs, for the next receiver.

A Job can be copied with its signature, and the uid that the API server gives it is not known when
it is signed. So the uid is written down right after the creation, where no run and nobody of the
cluster can write: on the disk of the receiver, or where several receivers keep their logs. It takes
no right and no request to the cluster.
"""

from __future__ import annotations

import logging
import re
import threading

from fyre.engines.log_store import LogStore

log = logging.getLogger(__name__)

_PREFIX = "created-job."
_NAME = re.compile(r"created-job\.([0-9]{1,10}\.[0-9a-f]{64})\.([0-9A-Za-z-]{1,64})")


class CreatedJobs:
    """The signatures of recent Jobs with their uids. Thread-safe.

    A storage that gives no answer holds up no launch: then the next receiver believes the first Job
    that it sees with a signature.
    """

    def __init__(self, store: LogStore) -> None:
        self._store, self._mutex = store, threading.Lock()
        self._unwritten: set[str] = set()
        self._written: dict[str, None] = {}  # about in the order of their times
        self._writer: threading.Thread | None = None

    def read_all(self, oldest: float) -> dict[str, set[str]]:
        """Return the uids of each signature that was made after ``oldest``, in that order."""
        try:
            names = self._store.list_marks(_PREFIX)
        except Exception:  # each file system has errors of its own
            log.warning("the archive of logs does not tell which Jobs are new", exc_info=True)
            return {}
        uids: dict[str, set[str]] = {}
        for match in filter(None, map(_NAME.fullmatch, sorted(names))):
            self._written[match[0]] = None
            if _signed_at(match[0]) >= oldest:
                uids.setdefault(match[1], set()).add(match[2])
        return uids

    def add(self, signature: str, uid: str, oldest: float) -> None:
        """Store the uid of the Job that was created with a signature.

        What was stored before ``oldest`` is removed.
        """
        with self._mutex:
            self._unwritten.add(f"{_PREFIX}{signature}.{uid}")
            is_busy = self._writer is not None and self._writer.is_alive()
            if not self._store.is_local and not is_busy:
                self._writer = threading.Thread(
                    target=self._write, args=(oldest,), name="created jobs", daemon=True
                )
                self._writer.start()
        if self._store.is_local:
            self._write(oldest)

    def _write(self, oldest: float) -> None:
        try:
            while (name := self._next_unwritten()) is not None:
                self._store.add_mark(name)
                with self._mutex:
                    self._unwritten.discard(name)
                    self._written[name] = None
            while (old_name := self._oldest_written()) and _signed_at(old_name) < oldest:
                self._store.remove_mark(old_name)
                self._written.pop(old_name, None)
        except Exception:  # as above; it is tried again with the next Job
            log.warning("the archive of logs takes no marks of new Jobs now", exc_info=True)

    def _next_unwritten(self) -> str | None:
        with self._mutex:
            return next(iter(self._unwritten), None)

    def _oldest_written(self) -> str | None:
        with self._mutex:
            return next(iter(self._written), None)


def _signed_at(name: str) -> int:
    return int(name.removeprefix(_PREFIX).partition(".")[0])
