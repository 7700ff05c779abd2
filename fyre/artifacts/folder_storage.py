"""Object storage in a folder: each object a file, which appears by one rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fyre.artifacts import object_storage
from fyre.artifacts.object_storage import (
    CHUNK_SIZE,
    SignedUpload,
    SourceFile,
    StoredBlob,
    StoredObject,
)
from fyre.errors import UserError

_FLUSHED_ONE_BY_ONE = 500
"""Contents that are flushed one by one; more are flushed together with all else on the machine."""


class FolderStorage:
    """A folder, which is made when the first object is stored."""

    uploads_at_once = 1  # a second thread would wait for the same disk

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / "drafts"

    def check_access(self) -> None:
        """Raise ``UserError`` if the folder can't be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise UserError(
                f"outputs can't be kept in {self._folder}: {error.strerror}",
                hint="artifactStore names a folder that Fyre may write, or s3://BUCKET/PREFIX",
            ) from error

    def add_blob(self, source: SourceFile) -> StoredBlob:
        """Store a copy of a file's content: somebody may still have the file open.

        It takes the place of what is stored under its hash already, which may be damaged.
        """
        digest = hashlib.sha256()
        with self._draft_file() as (file, draft):
            for chunk in source.read_all():
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            path = self._path(object_storage.blob_key(digest.hexdigest()))
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.replace(path)
        return StoredBlob(digest.hexdigest(), source.size)

    def add_content(self, content: bytes) -> StoredBlob:
        """Store a small content under its hash."""
        blob = StoredBlob(hashlib.sha256(content).hexdigest(), len(content))
        with self._draft_file() as (file, draft):
            file.write(content)
            file.flush()
            path = self._path(object_storage.blob_key(blob.sha256))
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.replace(path)
        return blob

    def keep_durable(self, hashes: set[str]) -> None:
        """Have contents on the disk: what names them is written after them."""
        if len(hashes) > _FLUSHED_ONE_BY_ONE:
            os.sync()
            return
        paths = [self._path(object_storage.blob_key(one)) for one in hashes]
        for path in (*paths, *{path.parent for path in paths}):
            fsync_path(path)

    def object_size(self, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""
        try:
            return self._path(key).stat().st_size if self._path(key).is_file() else None
        except FileNotFoundError:
            return None

    def read_object(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object. Raises ``FileNotFoundError`` before the first."""
        if not self._path(key).is_file():  # a pipe would be waited for
            raise FileNotFoundError(errno.ENOENT, "no such object", key)
        with self._path(key).open("rb") as file:
            file.seek(start)
            left = None if end is None else end - start
            while chunk := file.read(CHUNK_SIZE if left is None else min(CHUNK_SIZE, left)):
                left = None if left is None else left - len(chunk)
                yield chunk

    def create_object(self, key: str, content: bytes) -> bool:
        """Store an object, durably; return False, and change nothing, if there is one already."""
        with self._written_draft(key, content) as draft:
            try:
                os.link(draft, self._path(key))
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                if self._path(key).exists():
                    return False
                draft.rename(self._path(key))
        fsync_path(self._path(key).parent)
        return True

    def replace_object(self, key: str, content: bytes) -> None:
        """Store an object, durably, in the place of one that may be there."""
        with self._written_draft(key, content) as draft:
            draft.replace(self._path(key))
        fsync_path(self._path(key).parent)

    def delete_object(self, key: str) -> None:
        """Delete an object, if it is there."""
        self._path(key).unlink(missing_ok=True)

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a prefix that ends with ``/``."""
        for folder, _, names in os.walk(self._folder / prefix):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    info = path.stat()
                    key = str(path.relative_to(self._folder))
                    yield StoredObject(key, info.st_size, info.st_mtime)

    def remove_drafts(self) -> None:
        """Remove what a crash left half written; only while nothing is being stored."""
        shutil.rmtree(self._drafts, ignore_errors=True)

    def sign_download(self, key: str, seconds: int) -> str | None:  # noqa: ARG002
        """Return None: a folder has no URLs."""
        return None

    def sign_upload(self, blob: StoredBlob, seconds: int) -> SignedUpload | None:  # noqa: ARG002
        """Return None: a folder has no URLs."""
        return None

    def _path(self, key: str) -> Path:
        return self._folder / key

    @contextlib.contextmanager
    def _written_draft(self, key: str, content: bytes) -> Iterator[Path]:
        """Yield the path of a draft that is on the disk, for an object whose folder is there."""
        self._path(key).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._draft_file() as (file, draft):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            yield draft

    @contextlib.contextmanager
    def _draft_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Yield a new file and its path; it is gone afterwards, unless it was renamed."""
        self._drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=self._drafts)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file, Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Have a file, or the names in a directory, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
