"""Object storage: contents under keys, in a folder or a bucket. The artifact store is made of it.

Each method raises ``OSError`` for trouble that may pass: a storage that is down, full, slow, or
refuses. Its text is one line, for the status of the run that waits for it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from fyre.regular_files import open_regular

CHUNK_SIZE = 1024 * 1024  # bytes


class UnreadableFileError(Exception):
    """A file can't be stored as it is; ``args[0]`` says why."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A content that is in the store."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The entry of one object in a list."""

    key: str
    size: int  # bytes
    stored_at: float  # seconds since the epoch, by the storage's clock


class ObjectStorage(Protocol):
    """Contents under keys such as ``manifests/abc.json``. Thread-safe."""

    uploads_at_once: int
    """Files that are worth storing at the same time."""

    def check_access(self) -> None:
        """Raise ``UserError`` if somebody has to set something up: no bucket, no right.

        Trouble that may pass is ``OSError``.
        """

    def add_blob(self, source: SourceFile) -> StoredBlob:
        """Store a file's content under its hash: see ``blob_key``."""

    def add_content(self, content: bytes) -> StoredBlob:
        """Store a small content under its hash."""

    def keep_durable(self, hashes: set[str]) -> None:
        """Have contents on the disk: what names them is written after them."""

    def object_size(self, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""

    def read_object(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object. Raises ``FileNotFoundError`` before the first."""

    def create_object(self, key: str, content: bytes) -> bool:
        """Store an object, durably; return False, and change nothing, if there is one already."""

    def replace_object(self, key: str, content: bytes) -> None:
        """Store an object, durably, in the place of one that may be there."""

    def delete_object(self, key: str) -> None:
        """Delete an object, if it is there."""

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a prefix that ends with ``/``."""

    def remove_drafts(self) -> None:
        """Remove what a process that was killed left half written."""

    def sign_download(self, key: str, seconds: int) -> str | None:
        """Return a URL from which anybody gets an object for a while; None if it can't sign."""

    def sign_upload(self, blob: StoredBlob, seconds: int) -> SignedUpload | None:
        """Return a request by which anybody stores this content and no other; None if it can't."""


@dataclass(frozen=True, slots=True)
class SignedUpload:
    """A PUT request: its URL, and the headers that it must have."""

    url: str
    headers: dict[str, str]


class SourceFile:
    """A file that a command wrote, and may still be writing. Close it."""

    def __init__(self, path: Path, keep_going: Callable[[], None] = lambda: None) -> None:
        """Open it, waiting for no pipe.

        ``keep_going`` is called for each piece, and may raise. Raises ``UnreadableFileError``.
        """
        self._file = _open_source(path)
        self._before = os.fstat(self._file.fileno())
        self._keep_going = keep_going
        self.size = self._before.st_size

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_all(self) -> Iterator[bytes]:
        """Yield the content from its beginning. Raises ``UnreadableFileError``."""
        self._file.seek(0)
        position = 0
        while chunk := self._read_chunk():
            position += len(chunk)
            self._keep_going()
            yield chunk
        now = os.fstat(self._file.fileno())
        same_time = now.st_mtime_ns == self._before.st_mtime_ns
        if not same_time or position != self.size or now.st_size != self.size:
            raise UnreadableFileError("it was written to while it was read")

    def _read_chunk(self) -> bytes:
        try:
            return self._file.read(CHUNK_SIZE)
        except OSError as error:  # it is the file's trouble
            raise UnreadableFileError(error.strerror) from error


def blob_key(sha256: str) -> str:
    """Return the key of a content."""
    return f"blobs/sha256/{sha256[:2]}/{sha256[2:]}"


def hash_of_key(key: str) -> str:
    """Return the hash of a content from its key."""
    return "".join(key.split("/")[-2:])


def _open_source(path: Path) -> BinaryIO:
    try:
        return os.fdopen(open_regular(path), "rb")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise UnreadableFileError(error.strerror) from error
