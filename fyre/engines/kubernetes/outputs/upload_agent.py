"""The program that uploads what a command left, in a container beside it. Standard library only.

It waits until the command has ended, finds the files, and sends what the receiver lacks. Its last
words go where the kubelet makes them a part of the pod's status: whether there was nothing to
keep, all is kept, or why not. It holds nothing but the token of its own run.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from threading import local
from typing import Any

from fyre.artifacts import output_files
from fyre.artifacts.link_lines import LINKS_SIZE
from fyre.artifacts.output_files import OutputFiles
from fyre.regular_files import open_regular, read_beginning, regular_size

NOTHING_TO_KEEP, ALL_KEPT = "nothing to keep", "all is kept"
"""The last words of an agent; others say why outputs are lost."""

DECLARED = "FYRE_DECLARED_"
"""The beginning of the variables that hold the declared outputs, one a line."""

FILES_MAX = 200_000
"""Files of one upload; the others are named as left out."""

PIECE_SIZE = 8 * 1024 * 1024
"""Bytes of a request."""

_SMALL_SIZE = 1024 * 1024
"""Bytes of a content up to which it is sent together with others."""

_PACKED_MAX = 2000  # contents in one request
_CHECK_INTERVAL = 0.5  # seconds
_GONE_SECONDS = 5.0
_THREADS = 4
_ROUNDS = 5  # of looking at the files, where something changes them
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the next attempt; the last one again and again."""

_ANSWERS = {
    HTTPStatus.OK,
    HTTPStatus.NO_CONTENT,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_TRIED_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_REQUEST_TIMEOUT = 120.0
_ASKED_AT_ONCE = 50_000
_LAST_WORDS_MAX = 1000  # characters: the kubelet takes 4,096 bytes


class UploadError(Exception):
    """Outputs are lost; ``args[0]`` says why."""


class ChangedFileError(Exception):
    """A file is not any more what it was when its hash was taken."""


class Receiver:
    """The receiver, as the pod's token lets one talk to it. Thread-safe: a connection a thread."""

    def __init__(self, url: str, token: str, deadline: float) -> None:
        """``url`` is the address of this pod's upload; ``deadline`` is on the monotonic clock."""
        self._url, self._token = urllib.parse.urlsplit(url), token
        self._deadline, self._thread = deadline, local()
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    def request(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer, which may be a refusal of the contents.

        While the receiver is away it is asked again. Raises ``UploadError``.
        """
        for pause in _pauses():
            try:
                status, answer = self._request_once(method, path, body)
                reason = f"{status} {answer[:200].decode(errors='replace').strip()}"
            except (OSError, http.client.HTTPException, ValueError) as error:
                status, answer, reason = 0, b"", str(error) or type(error).__name__
                self._disconnect()
            if status in _ANSWERS:
                return status, answer
            if 400 <= status < 500 and status not in _TRIED_AGAIN:
                raise UploadError(f"the receiver refuses them: {reason}")
            if time.monotonic() + pause > self._deadline:
                raise UploadError(f"the receiver did not take them in time: {reason}")
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _request_once(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        connection = getattr(self._thread, "connection", None) or self._connect()
        headers = {"Authorization": f"Bearer {self._token}"}
        connection.request(method, f"{self._url.path}/{path}", body, headers)
        response = connection.getresponse()
        return response.status, response.read()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        left = max(1.0, min(_REQUEST_TIMEOUT, self._deadline - time.monotonic()))
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=left, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=left)
        self._thread.connection = connection
        self._connections.append(connection)
        return connection

    def _disconnect(self) -> None:
        connection = getattr(self._thread, "connection", None)
        if connection is not None:
            connection.close()
            self._thread.connection = None


class Upload:
    """One upload: the files, their hashes, and what was sent of them."""

    def __init__(self, receiver: Receiver, found: OutputFiles) -> None:
        self._receiver, self._found = receiver, found
        self._sources: dict[str, tuple[Path, int]] = {}  # by hash: a file with it, its size
        self._artifacts: dict[str, dict[str, Any]] = {}

    def add_files(self) -> None:
        """Take the hash of each file."""
        for file in self._found.files.values():
            if (content := self._add_source(file.path, file.source)) is not None:
                sha256, size = content
                self._artifacts[file.path] = {
                    "path": file.path,
                    "size": size,
                    "sha256": sha256,
                    "mode": file.mode,
                }

    def listing(self, metrics: Path, links: Path) -> dict[str, Any]:
        """Return what the receiver is to keep, after all files were added."""
        listing: dict[str, Any] = {"links": read_text(links, LINKS_SIZE)}
        if is_written(metrics) and (content := self._add_source("$FYRE_METRICS", metrics)):
            sha256, size = content
            listing["metrics"] = {"path": "metrics", "size": size, "sha256": sha256, "mode": 0}
        return listing | {
            "artifacts": list(self._artifacts.values()),
            "missing": self._found.missing(self._artifacts),
            "problems": list(self._found.shown_problems()),
        }

    def send_missing(self) -> None:
        """Send what the receiver lacks. Raises ``UploadError``, ``ChangedFileError``."""
        sources = list(self._sources.items())
        for start in range(0, len(sources), _ASKED_AT_ONCE):
            asked = dict(sources[start : start + _ASKED_AT_ONCE])
            lines = "".join(f"{sha256} {size}\n" for sha256, (_, size) in asked.items())
            _, answer = self._receiver.request("POST", "missing", lines.encode())
            self._send({sha256: (*asked[sha256], at) for sha256, at in json.loads(answer).items()})

    def _add_source(self, path: str, source: Path) -> tuple[str, int] | None:
        """Return hash and size of a file, None with a problem where it can't be read."""
        try:
            with _open_source(source) as file:
                size = os.fstat(file.fileno()).st_size
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                is_whole = file.tell() == size
        except OSError as error:
            self._found.add_problem(path, str(error.strerror))
            return None
        if not is_whole:
            self._found.add_problem(path, "it was written to while it was read")
            return None
        self._sources[sha256] = source, size
        return sha256, size

    def _send(self, wanted: Mapping[str, tuple[Path, int, int]]) -> None:
        small = [one for one in wanted.values() if one[1] <= _SMALL_SIZE]
        large = {sha256: one for sha256, one in wanted.items() if one[1] > _SMALL_SIZE}
        with ThreadPoolExecutor(_THREADS) as threads:
            tasks = [threads.submit(self._send_pack, pack) for pack in _packs(small)]
            tasks += [
                threads.submit(self._send_large, sha256, path, size, offset)
                for sha256, (path, size, offset) in large.items()
            ]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _send_pack(self, pack: list[tuple[Path, int, int]]) -> None:
        contents = [_read(path, 0, size) for path, size, _ in pack]
        body = b"".join(part for one in contents for part in (len(one).to_bytes(8, "big"), one))
        self._check_taken(*self._receiver.request("POST", "pack", body))

    def _send_large(self, sha256: str, path: Path, size: int, offset: int) -> None:
        while offset < size:
            piece = _read(path, offset, min(PIECE_SIZE, size - offset))
            query = f"pieces/{sha256}?size={size}&offset={offset}"
            status, answer = self._receiver.request("PUT", query, piece)
            if (
                status == HTTPStatus.CONFLICT
            ):  # the last answer was lost, or the receiver began anew
                offset = int(json.loads(answer)["offset"])
                continue
            self._check_taken(status, answer)
            offset += len(piece)

    @staticmethod
    def _check_taken(status: int, answer: bytes) -> None:
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise ChangedFileError(answer.decode(errors="replace").strip())


def upload_outputs(environment: Mapping[str, str], deadline: float) -> str:
    """Send what a command left; return the last words. Raises ``UploadError``."""
    url = f"{environment['FYRE_UPLOAD_URL']}/{environment['FYRE_POD']}"
    with contextlib.closing(Receiver(url, environment["FYRE_UPLOAD_TOKEN"], deadline)) as receiver:
        return _upload(receiver, environment)


def _upload(receiver: Receiver, environment: Mapping[str, str]) -> str:
    outputs, checkout = Path(environment["FYRE_OUTPUTS"]), Path(environment["FYRE_TOP"])
    metrics, links = Path(environment["FYRE_METRICS"]), Path(environment["FYRE_LINK"])
    declared = [
        text
        for name, value in environment.items()
        if name.startswith(DECLARED)
        for text in value.split("\n")
    ]
    reason = ""
    for _ in range(_ROUNDS):
        output_files.FILES_MAX = FILES_MAX
        found = output_files.find_output_files(outputs, checkout, declared)
        upload = Upload(receiver, found)
        upload.add_files()
        listing = upload.listing(metrics, links)
        if not any(listing.values()):
            return NOTHING_TO_KEEP
        try:
            upload.send_missing()
        except ChangedFileError as error:  # by something outside of the pod
            reason = str(error)
            continue
        status, answer = receiver.request("PUT", "listing", _to_lines(listing))
        if status == HTTPStatus.NO_CONTENT:
            return ALL_KEPT
        reason = answer[:300].decode(errors="replace").strip()
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            break
    raise UploadError(f"the receiver does not take them: {reason}")


def is_written(path: Path) -> bool:
    """Return True for a regular file with something in it."""
    with contextlib.suppress(OSError):
        return regular_size(path) > 0
    return False


def read_text(path: Path, size_max: int) -> str:
    """Return the beginning of a regular file; "" where there is none."""
    text = read_beginning(path, size_max) if is_written(path) else b""
    return text.decode(errors="replace")


def _open_source(path: Path) -> io.BufferedReader:
    return os.fdopen(open_regular(path), "rb")


def wait_for_end(pid_file: Path) -> None:
    """Wait until the kubelet says that the command's container has ended.

    Something else may send TERM, as a command that signals all processes that it sees: as long as
    the command's own process is there, it has not ended. And TERM may have come before this
    program was there: so a process that is gone for a while has ended, too.
    """
    waited, gone_since = {signal.SIGTERM}, 0.0
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    while signal.sigtimedwait(waited, _CHECK_INTERVAL) is None:
        pid = _read_pid(pid_file)
        if not pid or _is_alive(pid):
            gone_since = 0.0
        elif not gone_since:
            gone_since = time.monotonic()
        elif time.monotonic() - gone_since > _GONE_SECONDS:
            return
    while _is_alive(_read_pid(pid_file)):
        time.sleep(_CHECK_INTERVAL)


def _read_pid(pid_file: Path) -> str:
    text = read_text(pid_file, 20).strip()
    return text if text.isascii() and text.isdecimal() else ""


def _is_alive(pid: str) -> bool:
    return bool(pid) and Path("/proc", pid).exists()


def main(environment: Mapping[str, str]) -> None:
    """Run as the container's program."""
    wait_for_end(Path(environment["FYRE_PID_FILE"]))
    deadline = time.monotonic() + float(environment["FYRE_UPLOAD_SECONDS"])
    try:
        words = upload_outputs(environment, deadline)
    except UploadError as error:
        words = str(error)
    except Exception as error:  # the last words must say it
        words = f"the upload broke: {type(error).__name__}: {error}"
    Path(environment.get("FYRE_LAST_WORDS", "/dev/termination-log")).write_text(
        words[:_LAST_WORDS_MAX], encoding="utf-8"
    )
    print(words)  # noqa: T201 - the log of the container


def _read(path: Path, offset: int, size: int) -> bytes:
    """Return a stretch of a file. Raises ``ChangedFileError`` if there is no such stretch."""
    try:
        with _open_source(path) as file:
            file.seek(offset)
            piece = file.read(size)
    except OSError as error:
        raise ChangedFileError(f"{path.name}: {error.strerror}") from error
    if len(piece) < size:
        raise ChangedFileError(f"{path.name} became shorter")
    return piece


def _to_lines(listing: Mapping[str, Any]) -> bytes:
    """Return a listing as ``upload_listing.from_lines`` reads it."""
    head = {name: value for name, value in listing.items() if name != "artifacts"}
    return b"".join(json.dumps(one).encode() + b"\n" for one in (head, *listing["artifacts"]))


def _packs(small: list[tuple[Path, int, int]]) -> Iterator[list[tuple[Path, int, int]]]:
    """Yield contents that go into one request together."""
    pack: list[tuple[Path, int, int]] = []
    size = 0
    for one in small:
        if pack and (size + one[1] > PIECE_SIZE or len(pack) >= _PACKED_MAX):
            yield pack
            pack, size = [], 0
        pack.append(one)
        size += one[1]
    if pack:
        yield pack


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]
