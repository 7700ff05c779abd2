"""Take the uploads of pods: contents in pieces, and at the end the listing that names them.

What a pod sends is a claim. A content is in the store once its hash was computed here; a listing is
kept once all that it names was stored for this very upload. Until the run is sealed nothing of it
can be seen, and a pod can do no more than write the staging of its own run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fyre.artifacts import upload_listing
from fyre.artifacts.artifact_store import ArtifactStore, StoredBlob, fsync_path
from fyre.artifacts.upload_listing import ARTIFACTS_MAX, UploadListing
from fyre.stored_form import read_json

UPLOAD_BYTES_MAX = 1024**4
"""Bytes that one pod may send, whatever it sends twice."""

_CONTENT_MIN = 4096
"""Bytes that a content counts at least: it takes a block of the disk, however small it is."""

_RESERVED_SHARE, _RESERVED_MAX = 0.05, 1024**3
"""Of the disk, what no upload may fill: this share, and not more than these bytes."""

_NAME = re.compile(r"[0-9a-zA-Z-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RefusedUploadError(Exception):
    """An upload that is not taken; ``args[0]`` says why, and sending it again is in vain."""


class UploadNotOpenError(Exception):
    """A run that takes no upload. ``is_final``: not later either; ``args[0]`` says why."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.is_final = is_final


class WrongOffsetError(Exception):
    """A piece that does not go on where the last one ended, at ``offset``."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the next piece begins at {offset}")
        self.offset = offset


@dataclass(slots=True)
class _Upload:
    """The contents that one pod has sent, since this process began."""

    sizes: dict[str, int] = field(default_factory=dict)  # of its contents in the store, by hash
    bytes_received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    part_locks: dict[str, threading.Lock] = field(default_factory=dict)

    def count(self, size: int) -> None:
        """Count what a pod sends. Raises ``RefusedUploadError`` if it is too much."""
        with self.lock:
            self.bytes_received += max(size, _CONTENT_MIN)
            if self.bytes_received > UPLOAD_BYTES_MAX:
                raise RefusedUploadError(f"a run may send at most {UPLOAD_BYTES_MAX:,} bytes")
            if len(self.sizes) > 2 * ARTIFACTS_MAX:
                raise RefusedUploadError(f"a run may send at most {2 * ARTIFACTS_MAX:,} contents")

    def add(self, blob: StoredBlob) -> None:
        """Note a content that is stored."""
        with self.lock:
            self.sizes[blob.sha256] = blob.size
            self.part_locks.pop(blob.sha256, None)

    def part_lock(self, sha256: str) -> threading.Lock:
        """Return the lock of a content that comes in pieces."""
        with self.lock:
            return self.part_locks.setdefault(sha256, threading.Lock())


class UploadStaging:
    """The uploads that are under way, below a folder of their own. Thread-safe."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        """Use a folder, which is made when the first upload comes."""
        self._store, self._folder = store, folder
        self._mutex = threading.Lock()
        self._uploads: dict[tuple[str, str], _Upload] = {}

    def find_missing(self, run_key: str, pod: str, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the hashes of the contents that are still to be sent, and from which byte on.

        Only this very upload counts: whether somebody else has stored a content is not said. Raises
        ``RefusedUploadError`` for what is no hash, ``OSError`` for the disk.
        """
        if not all(map(_SHA256.fullmatch, sizes)):
            raise RefusedUploadError("a content is named by its SHA-256")
        upload = self._upload(run_key, pod)
        begun = {part.stem for part in self._pod_folder(run_key, pod).glob("*.part")}
        missing = {one: 0 for one, size in sizes.items() if upload.sizes.get(one) != size}
        for sha256 in begun & missing.keys():
            offset = self._resume_part(upload, self._part_path(run_key, pod, sha256), sizes[sha256])
            if offset is None:
                del missing[sha256]
            else:
                missing[sha256] = offset
        return missing

    def add_contents(self, run_key: str, pod: str, contents: Iterable[bytes]) -> None:
        """Store whole contents. Raises ``RefusedUploadError``, and ``OSError`` for the disk."""
        upload = self._upload(run_key, pod)
        for content in contents:
            upload.count(len(content))
            self._require_room()
            upload.add(self._store.add_bytes(content))

    def add_piece(
        self, run_key: str, pod: str, sha256: str, *, size: int, offset: int, piece: bytes
    ) -> None:
        """Store a piece of a content of ``size`` bytes, which begins at ``offset``.

        Raises ``WrongOffsetError``, ``RefusedUploadError`` for a content of another hash, and
        ``OSError`` for the disk.
        """
        if not _SHA256.fullmatch(sha256) or offset + len(piece) > size:
            raise RefusedUploadError("it is no piece of such a content")
        upload = self._upload(run_key, pod)
        with upload.part_lock(sha256):
            if upload.sizes.get(sha256) == size:
                return
            part = self._part_path(run_key, pod, sha256)
            if (known := _size_of(part)) != offset:
                raise WrongOffsetError(known)
            upload.count(len(piece))
            self._require_room()
            part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with part.open("ab") as file:
                file.write(piece)
            if offset + len(piece) == size:
                self._take_part(upload, part, sha256)

    def put_listing(self, run_key: str, pod: str, listing: UploadListing) -> list[str]:
        """Keep the listing of a pod, durably, in place of an earlier one.

        Return the hashes of contents that were not sent; then nothing is kept. Raises ``OSError``
        for the disk.
        """
        upload = self._upload(run_key, pod)
        with upload.lock:
            wanted = listing.contents()
            missing = [
                one
                for one, size in wanted.items()
                if upload.sizes.get(one) != size or not self._store.has_blob(one)
            ]
            for one in missing:
                upload.sizes.pop(one, None)
            if not missing:
                self._store.flush_blobs(set(wanted))
                self._write_listing(self._listing_path(run_key, pod), listing)
        return missing

    def listed_pods(self, run_key: str) -> list[str]:
        """Return the pods of a run whose listings are kept, the newest listing last."""
        paths = list(self._run_folder(run_key).glob("*/listing.json"))
        return [path.parent.name for path in sorted(paths, key=lambda path: path.stat().st_mtime)]

    def get_listing(self, run_key: str, pod: str) -> UploadListing:
        """Return the listing of a pod. Raises ``UnreadableError``, ``FileNotFoundError``."""
        return upload_listing.from_json(read_json(self._listing_path(run_key, pod)))

    def remove_parts(self, run_key: str) -> None:
        """Remove what has come of contents that did not come whole: the run is over."""
        for part in self._run_folder(run_key).glob("*/*.part"):
            part.unlink(missing_ok=True)

    def remove_run(self, run_key: str) -> None:
        """Forget a run: its outcome is written down."""
        with self._mutex:
            for known in [one for one in self._uploads if one[0] == run_key]:
                del self._uploads[known]
        shutil.rmtree(self._run_folder(run_key), ignore_errors=True)

    def remove_strangers(self, known_keys: Collection[str]) -> None:
        """Remove what runs left that nobody knows any more."""
        with contextlib.suppress(FileNotFoundError):
            for folder in list(self._folder.iterdir()):
                if folder.name not in known_keys:
                    shutil.rmtree(folder, ignore_errors=True)

    def _upload(self, run_key: str, pod: str) -> _Upload:
        if not _NAME.fullmatch(run_key) or not _NAME.fullmatch(pod):
            raise RefusedUploadError("there is no such run or pod")
        with self._mutex:
            return self._uploads.setdefault((run_key, pod), _Upload())

    def _require_room(self) -> None:
        """Raise ``OSError`` if the disk is nearly full: logs and outcomes need the rest."""
        with contextlib.suppress(FileNotFoundError):
            usage = shutil.disk_usage(self._folder.parent)
            if usage.free < min(usage.total * _RESERVED_SHARE, _RESERVED_MAX):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _resume_part(self, upload: _Upload, part: Path, size: int) -> int | None:
        """Return from where on a content is still to come; None if all of it is stored now.

        It may have come whole just before a crash.
        """
        with upload.part_lock(part.stem):
            if _size_of(part) < size:
                return _size_of(part)
            try:
                self._take_part(upload, part, part.stem)
            except RefusedUploadError:
                return 0
        return None

    def _take_part(self, upload: _Upload, part: Path, sha256: str) -> None:
        """Move a content that has all come into the store, if it is what it claims to be."""
        try:
            blob = self._store.add_file(part)
            if blob.sha256 != sha256:
                raise RefusedUploadError("the content has another hash: did the file change?")
            upload.add(blob)
        finally:
            part.unlink(missing_ok=True)

    def _write_listing(self, path: Path, listing: UploadListing) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name("listing.new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(upload_listing.to_json(listing), file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        for folder in (path.parent, path.parent.parent, self._folder):
            fsync_path(folder)

    def _run_folder(self, run_key: str) -> Path:
        return self._folder / run_key

    def _pod_folder(self, run_key: str, pod: str) -> Path:
        return self._run_folder(run_key) / pod

    def _listing_path(self, run_key: str, pod: str) -> Path:
        return self._pod_folder(run_key, pod) / "listing.json"

    def _part_path(self, run_key: str, pod: str, sha256: str) -> Path:
        return self._pod_folder(run_key, pod) / f"{sha256}.part"


def _size_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
