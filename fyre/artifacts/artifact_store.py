"""The artifact store: a folder with the content of outputs under its hash, and a manifest a run.

``blobs/sha256/ab/cdef…`` holds one content, once, whichever runs wrote it; ``manifests/KEY.json``
is put there when all that it names is stored. A blob may be there without a manifest, never the
other way round.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fyre.artifacts import manifest as manifests
from fyre.artifacts.manifest import RunManifest
from fyre.stored_form import UnreadableError, read_json, warn_once

_CHUNK_SIZE = 1024 * 1024  # bytes
_FLUSHED_ONE_BY_ONE = 500
"""Contents that are flushed one by one; more are flushed together with all else on the machine."""


class UnreadableFileError(Exception):
    """A file can't be stored as it is; ``args[0]`` says why."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A content that is in the store."""

    sha256: str
    size: int  # bytes


class ArtifactStore:
    """The artifact store in a folder. Thread-safe: each file appears by one rename."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made when the first file is stored."""
        self._blobs = folder / "blobs" / "sha256"
        self._manifests = folder / "manifests"
        self._drafts = folder / "drafts"

    def add_file(self, path: Path, keep_going: Callable[[], None] = lambda: None) -> StoredBlob:
        """Store a copy of a regular file's content.

        A copy, since somebody may still have the file open. It takes the place of what is stored
        under its hash already, which may be damaged. ``keep_going`` is called for each piece, and
        may raise to stop. Raises ``UnreadableFileError`` for what is wrong with the file,
        ``OSError`` for the store.
        """
        digest = hashlib.sha256()
        with _open_source(path) as file, self._draft_file() as (draft_file, draft):
            before = os.fstat(file.fileno())
            while chunk := _read_chunk(file):
                keep_going()
                digest.update(chunk)
                draft_file.write(chunk)
            draft_file.flush()
            if draft_file.tell() != before.st_size or _has_changed(file, before):
                raise UnreadableFileError("it was written to while it was read")
            blob = self.blob_path(digest.hexdigest())
            blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.replace(blob)
        return StoredBlob(digest.hexdigest(), before.st_size)

    def add_bytes(self, content: bytes) -> StoredBlob:
        """Store a content that is in memory. Raises ``OSError``."""
        sha256 = hashlib.sha256(content).hexdigest()
        blob = self.blob_path(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._draft_file() as (draft_file, draft):
            draft_file.write(content)
            draft_file.flush()
            draft.replace(blob)
        return StoredBlob(sha256, len(content))

    def has_blob(self, sha256: str) -> bool:
        """Return True if a content is stored."""
        return self.blob_path(sha256).is_file()

    def open_blob(self, sha256: str) -> BinaryIO:
        """Open a stored content. Raises ``FileNotFoundError``."""
        return self.blob_path(sha256).open("rb")

    def put_manifest(self, manifest: RunManifest) -> None:
        """Store a manifest, durably; one that is there already stays as it is.

        Raises ``FileNotFoundError`` where it names a content that is not stored.
        """
        wanted = {one.sha256 for one in manifest.artifacts} | ({manifest.metrics_sha256} - {None})
        for sha256 in wanted:
            if not self.has_blob(str(sha256)):
                raise FileNotFoundError(f"{sha256} is not stored")
        self.flush_blobs({str(sha256) for sha256 in wanted})
        text = json.dumps(manifests.to_json(manifest))
        self._manifests.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._draft_file() as (file, draft):
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            if not self._manifest_path(manifest.run_key).exists():
                draft.rename(self._manifest_path(manifest.run_key))
        fsync_path(self._manifests)

    def get_manifest(self, run_key: str) -> RunManifest | None:
        """Return the manifest of a run; None if it has none that can be read."""
        path = self._manifest_path(run_key)
        try:
            return manifests.from_json(read_json(path))
        except FileNotFoundError:
            return None
        except (UnreadableError, OSError) as error:
            warn_once(str(path), str(error))
            return None

    def copy_out(self, manifest: RunManifest, folder: Path) -> None:
        """Write the files of a run below a folder, which is empty."""
        for artifact in manifest.artifacts:
            path = folder / artifact.path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.blob_path(artifact.sha256), path)
            path.chmod(artifact.mode)

    def flush_blobs(self, hashes: set[str]) -> None:
        """Have contents on the disk: what names them is written after them."""
        if len(hashes) > _FLUSHED_ONE_BY_ONE:
            os.sync()
            return
        for path in (*map(self.blob_path, hashes), *{self.blob_path(one).parent for one in hashes}):
            fsync_path(path)

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

    def remove_drafts(self) -> None:
        """Remove what a crash left half written; only while nothing is being stored."""
        shutil.rmtree(self._drafts, ignore_errors=True)

    def blob_path(self, sha256: str) -> Path:
        """Return where a content is, if it is stored."""
        return self._blobs / sha256[:2] / sha256[2:]

    def _manifest_path(self, run_key: str) -> Path:
        return self._manifests / f"{run_key}.json"


def _open_source(path: Path) -> BinaryIO:
    """Open a file that a command wrote; wait for no pipe. Raises ``UnreadableFileError``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise UnreadableFileError(error.strerror) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError("no regular file")
    return os.fdopen(descriptor, "rb")


def _read_chunk(file: BinaryIO) -> bytes:
    """Return the next bytes of a file. Raises ``UnreadableFileError``: it is the file's trouble."""
    try:
        return file.read(_CHUNK_SIZE)
    except OSError as error:
        raise UnreadableFileError(error.strerror) from error


def _has_changed(file: BinaryIO, before: os.stat_result) -> bool:
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def fsync_path(path: Path) -> None:
    """Have a file, or the names in a directory, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
