"""The logs of runs: each pod's followed from its start into files of ours, since the kubelet keeps but the last 10 MB.

``live/KEY/TRY-UID/log.N`` while it comes in, one compressed file in the store when the run has ended. Readers read
the files: one connection to the API server a pod, however many look on.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from fyre.backoff import Backoff
from fyre.engines import segmented_log
from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.api_client import (
    KubernetesClient,
    MissingPermissionError,
    ObjectNotFound,
)
from fyre.engines.kubernetes.log_redaction import Redactor
from fyre.engines.kubernetes.log_resume import (
    HEAD_BYTES,
    LOST_MARKER,
    TAIL_BYTES,
    find_missing,
    skip_known,
)
from fyre.engines.log_store import LogStore
from fyre.errors import TransientError, UserError

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.2, 5.0)  # between two tries to read a log
_GIVE_UP_AFTER = (
    600.0  # seconds after a container's end, or its run's, for which its log is asked for in vain
)
_MIN_ROTATION_SIZE = 1024 * 1024  # bytes below which no kubelet rotates a log (10 MiB by default)
_STABLE_CHECK_INTERVAL = 1.0  # seconds between two looks at the end of a log


class ContainerLog:
    """One container's output: where it comes from, and whether more will come.

    ``over`` is whether its run has ended, as it may have where a node that is gone never tells of the container's end.
    ``whole`` is whether it was read to an end, or there need not be any: else what is gone by then was lost.
    """

    def __init__(
        self,
        namespace: str,
        pod: str,
        container: str,
        directory: str,
        has_container_ended: Callable[[], bool],
        *,
        has_run_ended: Callable[[], bool] = lambda: False,
        complete: bool = False,
    ) -> None:
        self.namespace, self.pod, self.container, self.complete = (
            namespace,
            pod,
            container,
            complete,
        )
        self.directory = f"{directory}.{container}"  # its name under the run's: sorts by the try
        self.has_container_ended, self.has_run_ended = (
            has_container_ended,
            has_run_ended,
        )  # whether the container has ended, as the watch says


class LogCollector:
    """All that is being written and all that is kept. Thread-safe."""

    def __init__(
        self, cluster: KubernetesClient, live_dir: Path, store: LogStore, max_bytes: int
    ) -> None:
        """``cap`` is in bytes a try."""
        self._cluster, self._live_dir, self._store, self._max_bytes = (
            cluster,
            live_dir,
            store,
            max_bytes,
        )
        live_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._threads: dict[tuple[str, str], threading.Thread] = {}
        self._mutex = threading.Lock()
        self._stopped = threading.Event()

    def start_following(
        self, key: str, source: ContainerLog, get_secrets: Callable[[], list[bytes]]
    ) -> None:
        """Read a container's output from now on, unless that is done already or under way."""
        folder = self._live_dir / key / source.directory
        with self._mutex:
            if (key, source.directory) in self._threads or (folder / "done").exists():
                return
            thread = threading.Thread(
                target=self._read_container,
                args=(key, folder, source, get_secrets),
                name=f"log of {source.pod}",
                daemon=True,
            )
            self._threads[key, source.directory] = thread
            thread.start()

    def wait_until_read(self, key: str, seconds: float) -> bool:
        """Wait until all that is being read of a run has been read; False when it takes longer."""
        for thread in self._live_threads(key):
            thread.join(seconds)
        return not self._live_threads(key)

    def archive_log(self, key: str, chunks: Iterator[bytes]) -> None:
        """Put a run's log into the store. Raises ``TryAgainError``."""
        try:
            self._store.put_log(key, chunks)
        except Exception as error:
            # Every file system has its own kinds, and what is full or away now need not be for ever.
            why = " ".join(str(error).split())[:200]
            raise TransientError(
                f"the log of {key} can't be kept: {type(error).__name__}: {why}"
            ) from error
        with suppress(FileNotFoundError):  # nothing was read here
            os.utime(self._live_dir / key)

    def remove_archived_files(self, min_age: float, unfinished_keys: Collection[str] = ()) -> None:
        """Drop what was made into a kept log so many seconds ago: whoever was reading it has come to its end."""
        for folder in list(self._live_dir.iterdir()):
            if (
                self._stopped.is_set()
                or folder.name in unfinished_keys
                or time.time() - folder.stat().st_mtime <= min_age
            ):
                continue
            if self._is_archived(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                with self._mutex:
                    self._threads = {
                        name: t for name, t in self._threads.items() if name[0] != folder.name
                    }

    def read_log(
        self, key: str, max_tries: int, is_growing: Callable[[], bool] | None
    ) -> Iterator[bytes]:
        """A run's log so far; while it is ``growing`` also what comes. ``total`` is how many tries there may be."""
        kept = self._store.get_log(key)
        if kept is not None:
            yield from kept
            return
        read = tries = 0
        while True:
            more = is_growing is not None and is_growing()
            for folder in self._try_directories(key)[read:]:
                read += 1
                tries += folder.name.endswith(
                    f".{job_labels.COMMAND_CONTAINER}"
                )  # a checkout that was disrupted is none
                if tries > 1:
                    yield f"[fyre: try {tries} of {max_tries}]\n".encode()
                yield from segmented_log.read_segments(
                    str(folder / "log"), partial(self._is_growing, key, folder, is_growing)
                )
            if not more:
                if is_growing is not None and self._is_truncated(key):
                    yield LOST_MARKER
                return
            if len(self._try_directories(key)) == read:
                self._stopped.wait(0.1)
                yield b""

    def is_reading(self, key: str) -> bool:
        """Whether something of a run is being read."""
        return bool(self._live_threads(key))

    def prune_archive(self, before: float) -> None:
        """Drop logs that were kept before a time."""
        self._store.prune_logs(before)

    def close(self) -> None:
        """Stop reading; the next start goes on where this one stopped."""
        self._stopped.set()

    def _is_archived(self, key: str) -> bool:
        try:
            return self._store.has_log(key)
        except Exception:
            # Every file system has its own kinds; what can't be asked is taken for empty, and asked again.
            log.exception("whether the log of %s is kept can't be known now", key)
            return False

    def _is_growing(self, key: str, directory: Path, is_growing: Callable[[], bool] | None) -> bool:
        if self._stopped.is_set() or not directory.exists():
            return False
        with self._mutex:
            thread = self._threads.get((key, directory.name))
        under_way = thread is not None and thread.is_alive()
        return under_way and is_growing is not None

    def _is_truncated(self, key: str) -> bool:
        """Whether the rest of an ended run's log is elsewhere, or nowhere: another receiver read it to its end."""
        return not self._stopped.is_set() and not all(
            (folder / "done").exists() for folder in self._try_directories(key)
        )

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
        """The thread of one container: read to the end, however often the connection breaks."""
        try:
            if not self._is_archived(key) and self._read_to_end(directory, source, get_secrets):
                (directory / "done").touch()
        except Exception:
            # A disk that is full, a folder that is gone: this log is lost, the others are not.
            log.exception("the log of %s could not be kept", source.pod)

    def _read_to_end(
        self, directory: Path, source: ContainerLog, get_secrets: Callable[[], list[bytes]]
    ) -> bool:
        """Whether it came to the end; not where the reading was stopped, or nobody gives the rest of it."""
        hidden = cache(
            lambda: tuple(get_secrets())
        )  # nothing is read before it is known what to hide
        pause, ended_at = _BACKOFF.first, 0.0
        while not self._stopped.is_set():
            if self._read_once(directory, source, hidden):
                return not self._stopped.is_set()
            if source.has_container_ended() or source.has_run_ended():
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > _GIVE_UP_AFTER:
                    log.warning(
                        "the log of %s can't be read: what is missing of it stays away", source.pod
                    )
                    return False
            self._stopped.wait(pause)
            pause = _BACKOFF.after(pause)
        return False

    def _read_once(
        self,
        directory: Path,
        source: ContainerLog,
        get_secret_values: Callable[[], tuple[bytes, ...]],
    ) -> bool:
        """Read what is not there yet; whether there will be no more."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self._copy_new_output(directory, source, get_secret_values())
        except (
            OSError
        ) as error:  # the disk, which somebody may mend: the cluster has the log until then
            log.warning("the log of %s can't be written: %s", source.pod, error.strerror)
        except (
            MissingPermissionError
        ) as error:  # a secret: it is never shown, not even where that takes the log along
            if source.has_container_ended():
                self._append_note(directory, f"[fyre: this log can't be shown: {error}]\n".encode())
                return True
        except (ObjectNotFound, UserError) as error:  # nothing to be had, or not begun yet
            log.info("the log of %s: %s", source.pod, error)
            over = source.has_container_ended()
            if over and isinstance(error, ObjectNotFound) and not source.complete:
                self._append_note(directory, LOST_MARKER)
            return over
        except TransientError as error:
            log.info("the log of %s: %s", source.pod, error)
        return False

    def _append_note(self, directory: Path, note: bytes) -> None:
        writer = segmented_log.SegmentedLogWriter(str(directory / "log"), self._max_bytes)
        writer.write(note)
        writer.close()

    def _copy_new_output(
        self, directory: Path, source: ContainerLog, secret_values: tuple[bytes, ...]
    ) -> bool:
        """Append what is not there yet; whether that was the rest of it."""
        over = cache(source.has_container_ended)  # asked once what came has come to an end
        head, known = b"", 0
        writer = segmented_log.SegmentedLogWriter(str(directory / "log"), self._max_bytes)
        try:
            if writer.bytes_written:  # a connection broke, or this server is another one
                head, known = self._resume_log(directory, writer, source, secret_values)
            for piece in skip_known(
                self._redacted_chunks(source, Redactor(secret_values), over), head, known
            ):
                _write_or_raise(writer, piece)
            source.complete = True
            if over() and writer.bytes_written > _MIN_ROTATION_SIZE:
                self._append_until_stable(directory, writer, source, secret_values)
        finally:
            writer.close()
        return over()

    def _append_until_stable(
        self,
        directory: Path,
        writer: segmented_log.SegmentedLogWriter,
        source: ContainerLog,
        secret_values: tuple[bytes, ...],
    ) -> None:
        """Read until two looks see the same: a follower may be left behind in a rotated file, and what fills a
        pipe when the container ends comes into the file a moment after the end is told."""
        before, now = None, self._current_log(source, secret_values)
        while now != before and not self._stopped.wait(_STABLE_CHECK_INTERVAL):
            before, now = now, self._current_log(source, secret_values)
        self._append_missing(directory, writer, now)

    def _resume_log(
        self,
        directory: Path,
        writer: segmented_log.SegmentedLogWriter,
        source: ContainerLog,
        secret_values: tuple[bytes, ...],
    ) -> tuple[bytes, int]:
        """Append what a log now holds after what is kept of it; how it begins now, and its length."""
        now = self._current_log(source, secret_values)
        self._append_missing(directory, writer, now)
        return now[:HEAD_BYTES], len(now)

    def _current_log(self, source: ContainerLog, secret_values: tuple[bytes, ...]) -> bytes:
        """What the kubelet gives at this moment: its newest file, some 10 MB at most."""
        redactor = Redactor(secret_values)
        raw = self._cluster.stream_container_log(
            source.namespace, source.pod, source.container, follow=False
        )
        return b"".join(map(redactor.feed, raw)) + (
            redactor.flush() if source.has_container_ended() else b""
        )

    def _append_missing(
        self, directory: Path, writer: segmented_log.SegmentedLogWriter, current: bytes
    ) -> None:
        _write_or_raise(
            writer,
            find_missing(
                current,
                _first_bytes(directory),
                writer.bytes_written,
                segmented_log.read_tail(str(directory / "log"), TAIL_BYTES),
            ),
        )

    def _redacted_chunks(
        self, source: ContainerLog, redactor: Redactor, has_ended: Callable[[], bool]
    ) -> Iterator[bytes]:
        raw = self._cluster.stream_container_log(
            source.namespace, source.pod, source.container, follow=not source.has_container_ended()
        )
        for piece in raw:
            if self._stopped.is_set():
                return
            yield redactor.feed(piece)
        if has_ended():  # else it may be the beginning of a secret, whose end is still to come
            yield redactor.flush()


def _write_or_raise(writer: segmented_log.SegmentedLogWriter, data: bytes) -> None:
    """Raises ``OSError`` where the disk is full: what follows must not be taken for what is missing."""
    writer.write(data)
    if writer.bytes_lost:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _first_bytes(directory: Path) -> bytes:
    try:
        with (directory / "log.0").open("rb") as first:
            return first.read(HEAD_BYTES)
    except FileNotFoundError:
        return b""
