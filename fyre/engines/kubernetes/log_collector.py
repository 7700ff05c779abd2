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
from fyre.engines.kubernetes.api_client import Api, DeniedError, Gone
from fyre.engines.kubernetes.log_redaction import Redactor
from fyre.engines.kubernetes.log_resume import HEAD, LOST, TAIL, missed, unseen
from fyre.engines.log_store import Store
from fyre.errors import TryAgainError, UserError

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.2, 5.0)  # between two tries to read a log
_PATIENCE = (
    600.0  # seconds after a container's end, or its run's, for which its log is asked for in vain
)
_ROTATES = 1024 * 1024  # bytes below which no kubelet rotates a log (10 MiB by default)
_SETTLES = 1.0  # seconds between two looks at the end of a log


class Source:
    """One container's output: where it comes from, and whether more will come.

    ``over`` is whether its run has ended, as it may have where a node that is gone never tells of the container's end.
    ``whole`` is whether it was read to an end, or there need not be any: else what is gone by then was lost.
    """

    def __init__(
        self,
        namespace: str,
        pod: str,
        container: str,
        folder: str,
        ended: Callable[[], bool],
        *,
        over: Callable[[], bool] = lambda: False,
        whole: bool = False,
    ) -> None:
        self.namespace, self.pod, self.container, self.whole = namespace, pod, container, whole
        self.folder = f"{folder}.{container}"  # its name under the run's: sorts by the try
        self.ended, self.over = ended, over  # whether the container has ended, as the watch says


class Logs:
    """All that is being written and all that is kept. Thread-safe."""

    def __init__(self, cluster: Api, live: Path, store: Store, cap: int) -> None:
        """``cap`` is in bytes a try."""
        self._cluster, self._live, self._store, self._cap = cluster, live, store, cap
        live.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._threads: dict[tuple[str, str], threading.Thread] = {}
        self._mutex = threading.Lock()
        self._stopped = threading.Event()

    def follow(self, key: str, source: Source, secrets: Callable[[], list[bytes]]) -> None:
        """Read a container's output from now on, unless that is done already or under way."""
        folder = self._live / key / source.folder
        with self._mutex:
            if (key, source.folder) in self._threads or (folder / "done").exists():
                return
            thread = threading.Thread(
                target=self._read,
                args=(key, folder, source, secrets),
                name=f"log of {source.pod}",
                daemon=True,
            )
            self._threads[key, source.folder] = thread
            thread.start()

    def wait(self, key: str, seconds: float) -> bool:
        """Wait until all that is being read of a run has been read; False when it takes longer."""
        for thread in self._reading(key):
            thread.join(seconds)
        return not self._reading(key)

    def keep(self, key: str, pieces: Iterator[bytes]) -> None:
        """Put a run's log into the store. Raises ``TryAgainError``."""
        try:
            self._store.put(key, pieces)
        except Exception as error:
            # Every file system has its own kinds, and what is full or away now need not be for ever.
            why = " ".join(str(error).split())[:200]
            raise TryAgainError(
                f"the log of {key} can't be kept: {type(error).__name__}: {why}"
            ) from error
        with suppress(FileNotFoundError):  # nothing was read here
            os.utime(self._live / key)

    def clean(self, age: float, pending: Collection[str] = ()) -> None:
        """Drop what was made into a kept log so many seconds ago: whoever was reading it has come to its end."""
        for folder in list(self._live.iterdir()):
            if (
                self._stopped.is_set()
                or folder.name in pending
                or time.time() - folder.stat().st_mtime <= age
            ):
                continue
            if self._is_kept(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                with self._mutex:
                    self._threads = {
                        name: t for name, t in self._threads.items() if name[0] != folder.name
                    }

    def read(self, key: str, total: int, growing: Callable[[], bool] | None) -> Iterator[bytes]:
        """A run's log so far; while it is ``growing`` also what comes. ``total`` is how many tries there may be."""
        kept = self._store.get(key)
        if kept is not None:
            yield from kept
            return
        read = tries = 0
        while True:
            more = growing is not None and growing()
            for folder in self._tries(key)[read:]:
                read += 1
                tries += folder.name.endswith(
                    f".{job_labels.COMMAND}"
                )  # a checkout that was disrupted is none
                if tries > 1:
                    yield f"[fyre: try {tries} of {total}]\n".encode()
                yield from segmented_log.read(
                    str(folder / "log"), partial(self._grows, key, folder, growing)
                )
            if not more:
                if growing is not None and self._is_cut(key):
                    yield LOST
                return
            if len(self._tries(key)) == read:
                self._stopped.wait(0.1)
                yield b""

    def reading(self, key: str) -> bool:
        """Whether something of a run is being read."""
        return bool(self._reading(key))

    def prune(self, before: float) -> None:
        """Drop logs that were kept before a time."""
        self._store.prune(before)

    def close(self) -> None:
        """Stop reading; the next start goes on where this one stopped."""
        self._stopped.set()

    def _is_kept(self, key: str) -> bool:
        try:
            return self._store.has(key)
        except Exception:
            # Every file system has its own kinds; what can't be asked is taken for empty, and asked again.
            log.exception("whether the log of %s is kept can't be known now", key)
            return False

    def _grows(self, key: str, folder: Path, growing: Callable[[], bool] | None) -> bool:
        if self._stopped.is_set() or not folder.exists():
            return False
        with self._mutex:
            thread = self._threads.get((key, folder.name))
        under_way = thread is not None and thread.is_alive()
        return under_way and growing is not None

    def _is_cut(self, key: str) -> bool:
        """Whether the rest of an ended run's log is elsewhere, or nowhere: another receiver read it to its end."""
        return not self._stopped.is_set() and not all(
            (folder / "done").exists() for folder in self._tries(key)
        )

    def _tries(self, key: str) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(path for path in (self._live / key).iterdir() if path.is_dir())
        return []

    def _reading(self, key: str) -> list[threading.Thread]:
        with self._mutex:
            return [
                thread
                for name, thread in self._threads.items()
                if name[0] == key and thread.is_alive()
            ]

    def _read(
        self, key: str, folder: Path, source: Source, secrets: Callable[[], list[bytes]]
    ) -> None:
        """The thread of one container: read to the end, however often the connection breaks."""
        try:
            if not self._is_kept(key) and self._read_on(folder, source, secrets):
                (folder / "done").touch()
        except Exception:
            # A disk that is full, a folder that is gone: this log is lost, the others are not.
            log.exception("the log of %s could not be kept", source.pod)

    def _read_on(self, folder: Path, source: Source, secrets: Callable[[], list[bytes]]) -> bool:
        """Whether it came to the end; not where the reading was stopped, or nobody gives the rest of it."""
        hidden = cache(lambda: tuple(secrets()))  # nothing is read before it is known what to hide
        pause, ended_at = _BACKOFF.first, 0.0
        while not self._stopped.is_set():
            if self._is_read(folder, source, hidden):
                return not self._stopped.is_set()
            if source.ended() or source.over():
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > _PATIENCE:
                    log.warning(
                        "the log of %s can't be read: what is missing of it stays away", source.pod
                    )
                    return False
            self._stopped.wait(pause)
            pause = _BACKOFF.after(pause)
        return False

    def _is_read(
        self, folder: Path, source: Source, hidden: Callable[[], tuple[bytes, ...]]
    ) -> bool:
        """Read what is not there yet; whether there will be no more."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self._copy(folder, source, hidden())
        except (
            OSError
        ) as error:  # the disk, which somebody may mend: the cluster has the log until then
            log.warning("the log of %s can't be written: %s", source.pod, error.strerror)
        except (
            DeniedError
        ) as error:  # a secret: it is never shown, not even where that takes the log along
            if source.ended():
                self._say(folder, f"[fyre: this log can't be shown: {error}]\n".encode())
                return True
        except (Gone, UserError) as error:  # nothing to be had, or not begun yet
            log.info("the log of %s: %s", source.pod, error)
            over = source.ended()
            if over and isinstance(error, Gone) and not source.whole:
                self._say(folder, LOST)
            return over
        except TryAgainError as error:
            log.info("the log of %s: %s", source.pod, error)
        return False

    def _say(self, folder: Path, words: bytes) -> None:
        writer = segmented_log.Writer(str(folder / "log"), self._cap)
        writer.write(words)
        writer.close()

    def _copy(self, folder: Path, source: Source, hidden: tuple[bytes, ...]) -> bool:
        """Append what is not there yet; whether that was the rest of it."""
        over = cache(source.ended)  # asked once what came has come to an end
        head, known = b"", 0
        writer = segmented_log.Writer(str(folder / "log"), self._cap)
        try:
            if writer.written:  # a connection broke, or this server is another one
                head, known = self._catch_up(folder, writer, source, hidden)
            for piece in unseen(self._pieces(source, Redactor(hidden), over), head, known):
                _write(writer, piece)
            source.whole = True
            if over() and writer.written > _ROTATES:
                self._settle(folder, writer, source, hidden)
        finally:
            writer.close()
        return over()

    def _settle(
        self, folder: Path, writer: segmented_log.Writer, source: Source, hidden: tuple[bytes, ...]
    ) -> None:
        """Read until two looks see the same: a follower may be left behind in a rotated file, and what fills a
        pipe when the container ends comes into the file a moment after the end is told."""
        before, now = None, self._now(source, hidden)
        while now != before and not self._stopped.wait(_SETTLES):
            before, now = now, self._now(source, hidden)
        self._append(folder, writer, now)

    def _catch_up(
        self, folder: Path, writer: segmented_log.Writer, source: Source, hidden: tuple[bytes, ...]
    ) -> tuple[bytes, int]:
        """Append what a log now holds after what is kept of it; how it begins now, and its length."""
        now = self._now(source, hidden)
        self._append(folder, writer, now)
        return now[:HEAD], len(now)

    def _now(self, source: Source, hidden: tuple[bytes, ...]) -> bytes:
        """What the kubelet gives at this moment: its newest file, some 10 MB at most."""
        redactor = Redactor(hidden)
        raw = self._cluster.log(source.namespace, source.pod, source.container, follow=False)
        return b"".join(map(redactor.feed, raw)) + (redactor.rest() if source.ended() else b"")

    def _append(self, folder: Path, writer: segmented_log.Writer, now: bytes) -> None:
        _write(
            writer,
            missed(
                now, _head(folder), writer.written, segmented_log.tail(str(folder / "log"), TAIL)
            ),
        )

    def _pieces(
        self, source: Source, redactor: Redactor, over: Callable[[], bool]
    ) -> Iterator[bytes]:
        raw = self._cluster.log(
            source.namespace, source.pod, source.container, follow=not source.ended()
        )
        for piece in raw:
            if self._stopped.is_set():
                return
            yield redactor.feed(piece)
        if over():  # else it may be the beginning of a secret, whose end is still to come
            yield redactor.rest()


def _write(writer: segmented_log.Writer, data: bytes) -> None:
    """Raises ``OSError`` where the disk is full: what follows must not be taken for what is missing."""
    writer.write(data)
    if writer.lost:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _head(folder: Path) -> bytes:
    try:
        with (folder / "log.0").open("rb") as first:
            return first.read(HEAD)
    except FileNotFoundError:
        return b""
