"""The logs of runs: each container's output is followed from its start into files of ours.

``live/KEY/TRY-UID/log.N`` while it comes in, one compressed file in the archive when the run has
ended. Readers read the files: there is one connection to the API server for each pod, however many
people read along.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fyre.engines import run_log, segment_reader
from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.logs.container_log import (
    ContainerLog,
    ContainerLogReader,
    refusal_note,
)
from fyre.engines.kubernetes.logs.end_mark import without_end_mark
from fyre.engines.kubernetes.logs.log_resume import LOST_MARKER
from fyre.engines.kubernetes.logs.signing_mark import MARK_NAME, SigningMark
from fyre.engines.log_store import LogStore
from fyre.engines.run_log import LogPiece, LogState
from fyre.errors import TransientError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectedLog:
    """The log of one run, as ``RunLog`` has it."""

    collector: LogCollector
    key: str
    max_tries: int
    is_growing: Callable[[], bool] | None

    def read_state(self) -> LogState:
        """Return how far the log is; its end is a number that grows.

        Raises ``TransientError`` if the collector was closed before it had all of it.
        """
        if self.is_growing is None:
            return LogState(0, is_complete=True)
        is_growing = self.is_growing()
        if self.collector.is_interrupted(self.key, is_growing=is_growing):
            raise TransientError("this server stops; the run goes on")
        end = self.collector.read_end_offset(self.key, self.max_tries) if is_growing else 0
        return LogState(end, is_complete=not is_growing)

    def read_pieces(self, offset: int) -> Iterator[LogPiece]:
        """Yield what is there now, from an offset on."""
        return self.collector.read_pieces(self.key, self.max_tries, self.is_growing, offset)


class LogCollector:
    """All logs that are being written, and all that are archived. Thread-safe."""

    def __init__(
        self,
        cluster: KubernetesClient,
        live_dir: Path,
        store: LogStore,
        max_bytes: int,
        on_refusal: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Collect logs under ``live_dir``. ``max_bytes`` is for each try.

        ``on_refusal(key)`` is called when a run's log may no longer be read, or may again.
        """
        self._on_refusal = on_refusal
        self._refusals: dict[tuple[str, str], str] = {}
        self._cluster, self._live_dir, self._store = cluster, live_dir, store
        self._max_bytes = max_bytes
        live_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._threads: dict[tuple[str, str], threading.Thread] = {}
        self._mutex = threading.Lock()
        self._stopped = threading.Event()

    def start_following(
        self, key: str, source: ContainerLog, get_secrets: Callable[[], list[bytes]]
    ) -> None:
        """Read a container's output from now on, unless it has been read or is being read."""
        directory = self._live_dir / key / source.directory
        with self._mutex:
            if (key, source.directory) in self._threads or (directory / "done").exists():
                return
            thread = threading.Thread(
                target=self._read_container,
                args=(key, directory, source, get_secrets),
                name=f"log of {source.pod}",
                daemon=True,
            )
            self._threads[key, source.directory] = thread
            thread.start()

    def wait_until_read(self, key: str, seconds: float) -> bool:
        """Wait until all that is being read of a run has been read; return False after the time."""
        for thread in self._live_threads(key):
            thread.join(seconds)
        return not self._live_threads(key)

    def archive_log(self, key: str, chunks: Iterator[bytes]) -> None:
        """Put a run's log into the archive. Raises ``TransientError``."""
        try:
            self._store.put_log(key, chunks)
        except Exception as error:
            # Every file system has errors of its own, and what is full or away now may come back.
            reason = " ".join(str(error).split())[:200]
            raise TransientError(
                f"the log of {key} can't be kept: {type(error).__name__}: {reason}"
            ) from error
        with suppress(FileNotFoundError):  # this server has read none of it
            os.utime(self._live_dir / key)

    def remove_archived_files(self, min_age: float, unfinished_keys: Collection[str] = ()) -> None:
        """Delete the files of logs that were archived at least ``min_age`` seconds ago.

        Whoever was reading them has come to their end by then.
        """
        for directory in list(self._live_dir.iterdir()):
            if (
                self._stopped.is_set()
                or directory.name in unfinished_keys
                or directory.name == MARK_NAME
                or time.time() - directory.stat().st_mtime <= min_age
            ):
                continue
            if self._is_archived(directory.name):
                shutil.rmtree(directory, ignore_errors=True)
                with self._mutex:
                    self._threads = {
                        name: thread
                        for name, thread in self._threads.items()
                        if name[0] != directory.name
                    }

    def read_log(
        self, key: str, max_tries: int, is_growing: Callable[[], bool] | None
    ) -> Iterator[bytes]:
        """Yield a run's log so far; while it ``is_growing``, also what is appended."""
        return run_log.join_pieces(run_log.follow_pieces(self.open_log(key, max_tries, is_growing)))

    def open_log(
        self, key: str, max_tries: int, is_growing: Callable[[], bool] | None
    ) -> CollectedLog:
        """Return a run's log; None for ``is_growing`` takes it as complete as it is."""
        return CollectedLog(self, key, max_tries, is_growing)

    def read_pieces(
        self, key: str, max_tries: int, is_growing: Callable[[], bool] | None, offset: int
    ) -> Iterator[LogPiece]:
        """Yield a run's log so far, from an offset on.

        The offset counts all bytes of all tries. An archived log lacks those that were dropped from
        its middle: so the files that it was made of go first, for whoever is reading on.
        """
        archived = None
        if not offset or not self._try_directories(key):
            archived = self._store.get_log(key)
        if archived is not None:
            yield from _skip_bytes(without_end_mark(archived, job_labels.log_end_mark(key)), offset)
            return
        start = tries = 0  # where the next file begins
        for directory in self._try_directories(key):
            # A checkout that was disrupted is no try of the command.
            tries += directory.name.endswith(f".{job_labels.COMMAND_CONTAINER}")
            header = _try_header(tries, max_tries)
            yield from _part_after(start, header, offset)
            start += len(header)
            path = str(directory / "log")
            is_appended = self._is_growing(key, directory, is_growing)
            end = segment_reader.end_offset(path)
            for piece in segment_reader.read_pieces(path, max(0, offset - start)):
                yield LogPiece(start + piece.offset, piece.data)
                end = max(end, piece.end_offset)
            if is_appended:
                return
            start += end
        if is_growing is not None and not is_growing() and self._is_truncated(key):
            refusal = self.find_refusal(key)
            note = refusal_note(refusal) if refusal else LOST_MARKER
            yield from _part_after(start, note, offset)

    def read_end_offset(self, key: str, max_tries: int) -> int:
        """Return how long a run's log is now."""
        end = tries = 0
        for directory in self._try_directories(key):
            tries += directory.name.endswith(f".{job_labels.COMMAND_CONTAINER}")
            end += segment_reader.end_offset(str(directory / "log"))
            end += len(_try_header(tries, max_tries))
        return end

    def is_interrupted(self, key: str, *, is_growing: bool) -> bool:
        """Return True if the collector was closed before it had read all of a run's log."""
        if not self._stopped.is_set():
            return False
        return is_growing or not (self._is_all_read(key) or self._is_archived(key))

    def is_reading(self, key: str) -> bool:
        """Return True if output of a run is being read."""
        return bool(self._live_threads(key))

    def find_refusal(self, key: str) -> str:
        """Return why a log of a run may not be read now; "" if it may."""
        with self._mutex:
            return next((why for name, why in self._refusals.items() if name[0] == key), "")

    def prune_archive(self, oldest: float) -> None:
        """Delete the logs that were archived before a time."""
        self._store.prune_logs(oldest)
        mark = SigningMark(self._live_dir, self._store)
        if mark.is_present():
            mark.leave()

    def close(self) -> None:
        """Stop reading; the next start goes on where this one stopped."""
        self._stopped.set()

    def _is_archived(self, key: str) -> bool:
        try:
            return self._store.has_log(key)
        except Exception:
            # Every file system has errors of its own; an archive that does not answer counts as
            # empty, and is asked again.
            log.exception("the archive does not say now whether it has the log of %s", key)
            return False

    def _is_growing(self, key: str, directory: Path, is_growing: Callable[[], bool] | None) -> bool:
        if self._stopped.is_set() or not directory.exists():
            return False
        with self._mutex:
            thread = self._threads.get((key, directory.name))
        is_being_read = thread is not None and thread.is_alive()
        return is_being_read and is_growing is not None and is_growing()

    def _is_truncated(self, key: str) -> bool:
        """Return True if the rest of an ended run's log is not here.

        Another receiver has read it to its end, or nobody has.
        """
        return not self._stopped.is_set() and not self._is_all_read(key)

    def _is_all_read(self, key: str) -> bool:
        return all((directory / "done").exists() for directory in self._try_directories(key))

    def _try_directories(self, key: str) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(path for path in (self._live_dir / key).iterdir() if path.is_dir())
        return []

    def _live_threads(self, key: str) -> list[threading.Thread]:
        with self._mutex:
            return [
                thread
                for name, thread in self._threads.items()
                if name[0] == key and thread.is_alive()
            ]

    def _read_container(
        self,
        key: str,
        directory: Path,
        source: ContainerLog,
        get_secrets: Callable[[], list[bytes]],
    ) -> None:
        """Read a container's output to its end, in a thread of its own."""
        reader = ContainerLogReader(
            self._cluster,
            source,
            directory,
            max_bytes=self._max_bytes,
            stopped=self._stopped,
            on_refused=partial(self._set_refusal, key, directory.name),
        )
        try:
            if not self._is_archived(key) and reader.read_to_end(get_secrets):
                (directory / "done").touch()
        except Exception:
            # A disk that is full, a directory that is gone: this log is lost, the others are not.
            log.exception("the log of %s could not be kept", source.pod)

    def _set_refusal(self, key: str, name: str, reason: str) -> None:
        with self._mutex:
            if reason:
                self._refusals[key, name] = reason
            else:
                self._refusals.pop((key, name), None)
        self._on_refusal(key)


def _try_header(number: int, max_tries: int) -> bytes:
    """Return the line before the output of a try after the first one.

    There are more than were asked for where a queue took a run away and started it again.
    """
    of_all = f" of {max_tries}" if number <= max_tries else ""
    return f"[fyre: try {number}{of_all}]\n".encode() if number > 1 else b""


def _skip_bytes(chunks: Iterator[bytes], offset: int) -> Iterator[LogPiece]:
    """Yield chunks as pieces, without the first ``offset`` bytes."""
    position = 0
    for chunk in chunks:
        yield from _part_after(position, chunk, offset)
        position += len(chunk)


def _part_after(position: int, data: bytes, offset: int) -> Iterator[LogPiece]:
    """Yield what data at a position holds after an offset, if anything."""
    skipped = max(0, offset - position)
    if skipped < len(data):
        yield LogPiece(position + skipped, data[skipped:])
