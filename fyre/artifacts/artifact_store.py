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
import logging
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

log = logging.getLogger(__name__)

_CHUNK_SIZE = 1024 * 1024  # bytes
_CHANGED = "it was written to while it was read"


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

    def add_file(
        self, path: Path, *, may_link: bool = False, keep_going: Callable[[], None] = lambda: None
    ) -> StoredBlob:
        """Store the content of a regular file, which stays where it is.

        With ``may_link`` the file itself becomes the blob where that is possible: nobody may write
        to it afterwards. ``keep_going`` is called for each piece, and may raise to stop. Raises
        ``UnreadableFileError`` for what is wrong with the file, ``OSError`` for the store.
        """
        with _open_source(path) as file:
            before = os.fstat(file.fileno())
            # What has a second name could be written to by it later.
            is_ours = may_link and before.st_nlink == 1 and self._is_on_same_disk(before.st_dev)
            sha256 = _hash_file(file, keep_going)
            if not self.has_blob(sha256):
                if is_ours:
                    self._link_blob(path, sha256)
                else:
                    file.seek(0)
                    self._copy_blob(file, sha256, keep_going)
            now = os.fstat(file.fileno())
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise UnreadableFileError(_CHANGED)
        return StoredBlob(sha256, before.st_size)

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
        text = json.dumps(manifests.to_json(manifest))
        self._manifests.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._draft_file() as (file, draft):
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, self._manifest_path(manifest.run_key))
        _fsync_directory(self._manifests)

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

    def _is_on_same_disk(self, device: int) -> bool:
        self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._blobs.stat().st_dev == device

    def _link_blob(self, path: Path, sha256: str) -> None:
        blob = self.blob_path(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.link(path, blob, follow_symlinks=False)

    def _copy_blob(self, file: BinaryIO, sha256: str, keep_going: Callable[[], None]) -> None:
        """Store what is read from a file, if it still has this hash.

        Raises ``UnreadableFileError``.
        """
        digest = hashlib.sha256()
        with self._draft_file() as (draft_file, draft):
            while chunk := file.read(_CHUNK_SIZE):
                keep_going()
                digest.update(chunk)
                draft_file.write(chunk)
            draft_file.flush()
            if digest.hexdigest() != sha256:
                raise UnreadableFileError(_CHANGED)
            self._link_blob(draft, sha256)

    @contextlib.contextmanager
    def _draft_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Yield a new file and its path; what is not linked elsewhere by then is gone."""
        self._drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=self._drafts)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file, Path(name)
        finally:
            Path(name).unlink()

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


def _hash_file(file: BinaryIO, keep_going: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_SIZE):
        keep_going()
        digest.update(chunk)
    return digest.hexdigest()


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
