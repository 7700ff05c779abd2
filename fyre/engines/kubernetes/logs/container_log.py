"""The output of one container: read from its start, however often the connection breaks.

It is copied into files of ours, since the kubelet keeps only the last 10 MB.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from fyre.backoff import Backoff
from fyre.engines import segmented_log
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import MissingPermissionError, ObjectNotFound
from fyre.engines.kubernetes.logs.collected_chunks import collect_chunks
from fyre.engines.kubernetes.logs.end_mark import EndMarkFilter
from fyre.engines.kubernetes.logs.log_redaction import Redactor
from fyre.engines.kubernetes.logs.log_resume import (
    HEAD_BYTES,
    LOST_MARKER,
    TAIL_BYTES,
    find_missing,
    skip_known,
)
from fyre.engines.kubernetes.pod_secrets import SecretLostError
from fyre.engines.segmented_log import SegmentedLogWriter
from fyre.errors import TransientError, UserError

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.2, 5.0)  # between two tries to read a log
_GIVE_UP_AFTER = 600.0
"""Seconds after the end of a container, or of its run, for which its log is requested in vain."""

_REFUSAL_BACKOFF = Backoff(0.2, 15.0)
_REFUSED_FOR = 86400.0
"""The same where the right to read it is missing: an admin may grant it tomorrow."""

_STABLE_CHECK_INTERVAL = 1.0
"""Seconds between two reads of the end of a log that has no end mark."""

_MARK_BACKOFF = Backoff(0.1, 2.0)
_MARK_TIMEOUT = 20.0
"""Seconds after the end of a container for which its log is read anew until it has its end mark.

A runtime may also drop the end: containerd gives what fills a pipe two seconds, then nobody has it.
"""


class ContainerLog:
    """The output of one container: its source, and whether more will come.

    ``has_run_ended`` may be true before ``has_container_ended``: a node that is gone never reports
    the end of its containers. ``complete``: it was read to an end, or there is nothing to read; if
    it is not complete, what can't be read any more was lost. ``is_gone``: the pod was deleted.
    ``end_mark``: the last line of an output that came to an end, which is not shown; of a container
    that has ended, ``has_end_mark`` says whether it has written that line.
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
        is_gone: Callable[[], bool] = lambda: False,
        complete: bool = False,
        end_mark: bytes = b"",
        has_end_mark: Callable[[], bool] = lambda: False,
    ) -> None:
        self.end_mark, self.has_end_mark = end_mark, has_end_mark
        self.namespace, self.pod, self.container = namespace, pod, container
        self.complete = complete
        self.directory = f"{directory}.{container}"  # its name under the run's: sorts by the try
        self.has_container_ended = has_container_ended  # as the watch says
        self.has_run_ended, self.is_gone = has_run_ended, is_gone


class ContainerLogReader:
    """Copies the output of one container into a directory, with secrets struck out."""

    def __init__(
        self,
        cluster: KubernetesClient,
        source: ContainerLog,
        directory: Path,
        *,
        max_bytes: int,
        stopped: threading.Event,
        on_refused: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Have ``on_refused(reason)`` called while a right is missing, with "" when it is not."""
        self._on_refused, self._refusal = on_refused, ""
        self._cluster, self._source, self._directory = cluster, source, directory
        self._max_bytes, self._stopped = max_bytes, stopped
        self._path = str(directory / "log")
        self._is_marked = not source.end_mark  # the end mark was read, so all before it was too

    def read_to_end(self, get_secrets: Callable[[], list[bytes]]) -> bool:
        """Read until there is no more; return False if the end was not reached.

        That is where the reading was stopped, or the cluster does not give the rest.
        """
        # Nothing is read before it is known what to hide.
        get_secret_values = cache(lambda: tuple(get_secrets()))
        pause, ended_at = _BACKOFF.first, 0.0
        while not self._stopped.is_set():
            if self._read_once(get_secret_values):
                self._set_refusal("")
                return not self._stopped.is_set()
            if self._source.has_container_ended() or self._source.has_run_ended():
                ended_at = ended_at or time.monotonic()
                limit = _REFUSED_FOR if self._refusal else _GIVE_UP_AFTER
                if time.monotonic() - ended_at > limit:
                    log.warning(
                        "the log of %s can't be read: the rest of it is lost", self._source.pod
                    )
                    return False
            self._stopped.wait(pause)
            pause = (_REFUSAL_BACKOFF if self._refusal else _BACKOFF).after(pause)
        return False

    def _set_refusal(self, reason: str) -> None:
        if reason != self._refusal:
            self._refusal = reason
            self._on_refused(reason)

    def _read_once(self, get_secret_values: Callable[[], tuple[bytes, ...]]) -> bool:
        """Read what was not read yet; return True if there will be no more."""
        pod = self._source.pod
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self._copy_new_output(get_secret_values())
        except OSError as error:
            # The disk, which somebody may repair: the cluster has the log until then.
            log.warning("the log of %s can't be written: %s", pod, error.strerror)
        except MissingPermissionError as error:
            # An admin may grant it yet, and the pod has the log until then.
            self._set_refusal(str(error))
            return self._source.is_gone() and self._append_refusal(error)
        except SecretLostError as error:
            # It is never shown, even where the log is lost with it.
            return self._source.has_container_ended() and self._append_refusal(error)
        except (ObjectNotFound, UserError) as error:  # there is no log, or it has not begun yet
            log.info("the log of %s: %s", pod, error)
            has_ended = self._source.has_container_ended()
            if has_ended and isinstance(error, ObjectNotFound) and self._is_cut():
                self._append_note(LOST_MARKER)
            return has_ended
        except TransientError as error:
            log.info("the log of %s: %s", pod, error)
        return False

    def _is_cut(self) -> bool:
        """Return True if there was more to read than what was read."""
        lacks_mark = self._source.has_end_mark() and not self._is_marked
        return lacks_mark or not self._source.complete

    def _open_writer(self) -> SegmentedLogWriter:
        return segmented_log.SegmentedLogWriter(self._path, self._max_bytes)

    def _append_refusal(self, error: Exception) -> bool:
        self._append_note(refusal_note(str(error)))
        return True

    def _append_note(self, note: bytes) -> None:
        writer = self._open_writer()
        writer.write(note)
        writer.close()

    def _copy_new_output(self, secret_values: tuple[bytes, ...]) -> bool:
        """Append what was not read yet; return True if that was the rest of it."""
        # Asked once what came has come to an end.
        has_ended = cache(self._source.has_container_ended)
        head, known_length = b"", 0
        writer = self._open_writer()
        try:
            if writer.bytes_written:  # a connection broke, or this server is another one
                head, known_length = self._resume_log(writer, secret_values)
            with closing(self._redacted_chunks(Redactor(secret_values), has_ended)) as chunks:
                for chunk in skip_known(self._allowed_chunks(chunks), head, known_length):
                    _write_or_raise(writer, chunk)
            self._source.complete = True
            if has_ended() and not self._is_marked:
                self._read_end(writer, secret_values)
        finally:
            writer.close()
        return has_ended()

    def _read_end(self, writer: SegmentedLogWriter, secret_values: tuple[bytes, ...]) -> None:
        """Read the newest file again until nothing more can come, and append what is missing.

        What fills a pipe when the container ends comes into the file after the end is reported, and
        a follower may be left behind in a rotated file. The end mark proves that all has come. A
        container that was killed writes none: then it is read until two reads give the same.
        """
        is_expected = self._source.has_end_mark()
        deadline, pause = time.monotonic() + _MARK_TIMEOUT, _MARK_BACKOFF.first
        previous, current = None, self._current_log(secret_values)
        while not self._is_marked and (is_expected or current != previous):
            if time.monotonic() > deadline or self._stopped.is_set():
                break
            self._stopped.wait(pause if is_expected else _STABLE_CHECK_INTERVAL)
            pause = _MARK_BACKOFF.after(pause)
            previous, current = current, self._current_log(secret_values)
        self._append_missing(writer, current)
        if is_expected and not self._is_marked and not self._stopped.is_set():
            log.warning("the end of the log of %s does not come", self._source.pod)
            _write_or_raise(writer, LOST_MARKER)

    def _resume_log(
        self, writer: SegmentedLogWriter, secret_values: tuple[bytes, ...]
    ) -> tuple[bytes, int]:
        """Append what the log now holds beyond what was kept; return its head and its length."""
        current = self._current_log(secret_values)
        self._append_missing(writer, current)
        return current[:HEAD_BYTES], len(current)

    def _current_log(self, secret_values: tuple[bytes, ...]) -> bytes:
        """Return what the kubelet gives at this moment: its newest file, some 10 MB at most."""
        redactor = Redactor(secret_values)
        rest_is_known = self._source.has_container_ended
        with closing(self._stream_output(follow=False)) as chunks:
            shown = b"".join(map(redactor.feed, chunks))
        return shown + (redactor.flush() if rest_is_known() else b"")

    def _append_missing(self, writer: SegmentedLogWriter, current: bytes) -> None:
        tail = segmented_log.read_tail(self._path, TAIL_BYTES)
        if self._source.end_mark and tail.endswith(self._source.end_mark):
            return  # version 0.1 has read all of it, and kept the mark
        head = _first_bytes(self._directory)
        _write_or_raise(writer, find_missing(current, head, writer.bytes_written, tail))

    def _allowed_chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks; the first one means that nothing is refused."""
        for chunk in chunks:
            self._set_refusal("")
            yield chunk

    def _redacted_chunks(
        self, redactor: Redactor, has_ended: Callable[[], bool]
    ) -> Generator[bytes]:
        output = self._stream_output(follow=not self._source.has_container_ended())
        with closing(output) as chunks:
            for chunk in chunks:
                if self._stopped.is_set():
                    return
                yield redactor.feed(chunk)
        if has_ended():  # else it may be the beginning of a secret, whose end is still to come
            yield redactor.flush()

    def _stream_output(self, *, follow: bool) -> Generator[bytes]:
        """Yield the output but for its end mark."""
        source = self._source
        output = self._cluster.stream_container_log(
            source.namespace, source.pod, source.container, follow=follow
        )
        with closing(collect_chunks(output)) as chunks:
            yield from self._without_end_mark(chunks)

    def _without_end_mark(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        source = self._source
        if not source.end_mark:
            yield from chunks
            return
        end_mark = EndMarkFilter(source.end_mark)
        for chunk in chunks:
            shown = end_mark.feed(chunk)
            if end_mark.is_found:
                self._is_marked = True
            yield shown
        if source.has_container_ended():  # else the rest of the mark may be still to come
            yield end_mark.flush()


def refusal_note(reason: str) -> bytes:
    """Return the line in place of a log that we may not read, or not show."""
    return f"[fyre: this log can't be shown: {reason}]\n".encode()


def _write_or_raise(writer: SegmentedLogWriter, data: bytes) -> None:
    """Write data; raise ``OSError`` if the disk is full.

    What follows must not be taken for what is missing.
    """
    writer.write(data)
    if writer.bytes_lost:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _first_bytes(directory: Path) -> bytes:
    try:
        with (directory / "log.0").open("rb") as first_segment:
            return first_segment.read(HEAD_BYTES)
    except FileNotFoundError:
        return b""
