"""The artifact store: the content of outputs under its hash, and a manifest a run.

``blobs/sha256/ab/cdef…`` holds one content, once, whichever runs wrote it; ``manifests/KEY.json``
is put there when all that it names is stored, and never changes. A blob may be there without a
manifest, never the other way round. ``open_store`` says where the store is: in a folder or a
bucket.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import unquote, urlsplit

from fyre.artifacts import manifest as manifests
from fyre.artifacts import object_storage, pruning_gate
from fyre.artifacts.folder_storage import FolderStorage, fsync_path
from fyre.artifacts.manifest import RunManifest
from fyre.artifacts.object_storage import (
    ObjectStorage,
    SignedUpload,
    SourceFile,
    StoredBlob,
    UnreadableFileError,
)
from fyre.errors import UserError
from fyre.runs.policy import Policy
from fyre.stored_form import UnreadableError, warn_once

__all__ = ["ArtifactStore", "StoredBlob", "UnreadableFileError", "fsync_path", "open_store"]

log = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_IN_MEMORY = 16 * 1024 * 1024  # bytes of a content that is read as a file


class ArtifactStore:
    """The artifact store in a folder, or in another object storage. Thread-safe."""

    def __init__(self, place: Path | ObjectStorage, policy: Policy | None = None) -> None:
        """Use a folder, which is made when the first file is stored, or another storage."""
        self.policy = policy or Policy()
        self.storage = FolderStorage(place) if isinstance(place, Path) else place

    def add_file(self, path: Path, keep_going: Callable[[], None] = lambda: None) -> StoredBlob:
        """Store a regular file's content as it is now, once.

        ``keep_going`` is called for each piece, and may raise to stop. Raises
        ``UnreadableFileError`` for what is wrong with the file, ``OSError`` for the store.
        """
        with SourceFile(path, keep_going) as source:
            return self.storage.add_blob(source)

    def add_files(
        self, paths: Iterable[Path], keep_going: Callable[[], None] = lambda: None
    ) -> Iterator[StoredBlob | UnreadableFileError]:
        """Store files, several at once where that helps, and yield what became of each, in order.

        Raises ``OSError`` for the store.
        """

        def add(path: Path) -> StoredBlob | UnreadableFileError:
            try:
                return self.add_file(path, keep_going)
            except UnreadableFileError as error:
                return error

        return self._map_at_once(add, paths)

    def add_bytes(self, content: bytes) -> StoredBlob:
        """Store a small content that is in memory. Raises ``OSError``."""
        return self.storage.add_content(content)

    def flush_blobs(self, hashes: set[str]) -> None:
        """Have contents on the disk: what names them is written after them."""
        self.storage.keep_durable(hashes)

    def has_blob(self, sha256: str, size: int | None = None) -> bool:
        """Return True if a content is stored, with all of its bytes if these are known."""
        stored_size = self.blob_size(sha256)
        return stored_size is not None and size in (None, stored_size)

    def blob_size(self, sha256: str) -> int | None:
        """Return the bytes of a stored content, or None."""
        return self.storage.object_size(object_storage.blob_key(sha256))

    def read_blob(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield a stored content, or a range of it. Raises ``FileNotFoundError`` first."""
        return self.storage.read_object(object_storage.blob_key(sha256), start, end)

    def read_blobs(self, blobs: Iterable[StoredBlob]) -> Iterator[bytes]:
        """Yield small contents, in order. Raises ``FileNotFoundError`` if one is not whole."""

        def read(blob: StoredBlob) -> bytes:
            content = b"".join(self.read_blob(blob.sha256, 0, blob.size)) if blob.size else b""
            if len(content) != blob.size:
                raise FileNotFoundError(f"{blob.sha256} is not whole")
            return content

        return self._map_at_once(read, blobs)

    def open_blob(self, sha256: str) -> BinaryIO:
        """Open a stored content, which is checked before.

        Raises ``FileNotFoundError``, and ``OSError`` for a damaged one.
        """
        file = cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
        try:
            self._copy_blob(sha256, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def put_manifest(self, manifest: RunManifest) -> None:
        """Store a manifest, durably; one that is there already stays as it is.

        Raises ``FileNotFoundError`` where it names a content that is not stored, ``OSError`` for
        trouble of the store, and while contents are being deleted from it.
        """
        sizes = _named_blobs(manifest)
        last_pruning = self._require_no_deletion()
        self._require_blobs(sizes)
        self.flush_blobs({*sizes})
        text = json.dumps(manifests.to_json(manifest))
        self.storage.create_object(_manifest_key(manifest.run_key), text.encode())
        if self._require_no_deletion() != last_pruning:  # it may not have seen this manifest
            self._require_blobs(sizes)

    def get_manifest(self, run_key: str) -> RunManifest | None:
        """Return the manifest of a run; None if it has none that can be read.

        Raises ``OSError`` for trouble of the store.
        """
        key = _manifest_key(run_key)
        try:
            text = b"".join(self.storage.read_object(key))
            return manifests.from_json(json.loads(text))
        except FileNotFoundError:
            return None
        except (UnreadableError, ValueError, RecursionError) as error:
            warn_once(key, str(error))
            return None

    def list_runs(self) -> Iterator[str]:
        """Yield the keys of the runs that have a manifest."""
        for one in self.storage.list_objects("manifests/"):
            if one.key.endswith(".json"):
                yield one.key.removeprefix("manifests/").removesuffix(".json")

    def read_manifests(self, keys: Iterable[str]) -> Iterator[tuple[str, RunManifest | None]]:
        """Yield the manifests of runs, as ``get_manifest`` does, each with its run's key."""
        return self._map_at_once(lambda key: (key, self.get_manifest(key)), keys)

    def read_json(self, key: str) -> object:
        """Return what an object holds; None if there is none, or it is no JSON."""
        try:
            return json.loads(b"".join(self.storage.read_object(key)))
        except (FileNotFoundError, ValueError, RecursionError):
            return None

    def delete_objects(self, keys: Iterable[str]) -> None:
        """Delete objects of the storage. Raises ``OSError``."""
        for _ in self._map_at_once(self.storage.delete_object, keys):
            pass

    def copy_out(self, manifest: RunManifest, folder: Path) -> None:
        """Write the files of a run below a folder, which is empty. Raises ``OSError``."""
        for artifact in manifest.artifacts:
            path = folder / artifact.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                self._copy_blob(artifact.sha256, file)
            path.chmod(artifact.mode)

    def sign_download(self, sha256: str, seconds: int) -> str | None:
        """Return a URL from which anybody gets a content for a while; None if there is none."""
        return self.storage.sign_download(object_storage.blob_key(sha256), seconds)

    def sign_upload(self, sha256: str, size: int, seconds: int) -> SignedUpload | None:
        """Return a request by which anybody stores this content and no other, for a while.

        None where the store can't sign, or can't tie a request to a content.
        """
        return self.storage.sign_upload(StoredBlob(sha256, size), seconds)

    def remove_drafts(self) -> None:
        """Remove what a crash left half written; only while nothing is being stored."""
        try:
            self.storage.remove_drafts()
        except OSError as error:
            log.warning("what a stopped upload left is not removed: %s", error.strerror)

    def _require_no_deletion(self) -> str:
        return pruning_gate.require_no_deletion(self.read_json(pruning_gate.STATE))

    def _require_blobs(self, sizes: dict[str, int | None]) -> None:
        """Raise ``FileNotFoundError`` for a content that is not stored, or not all of it."""

        def is_there(item: tuple[str, int | None]) -> bool:
            return self.has_blob(*item)

        for sha256, found in zip(sizes, self._map_at_once(is_there, sizes.items()), strict=True):
            if not found:
                raise FileNotFoundError(f"{sha256} is not stored")

    def _map_at_once(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yield a function's results, in order; as many at once as the storage is good for.

        No more are begun than that, or a million files would all be waiting in memory; after an
        error none.
        """
        count = self.storage.uploads_at_once
        if count == 1:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(count) as pool:
            waiting: deque[Future[_Result]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(function, item))
                    if len(waiting) >= 4 * count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _copy_blob(self, sha256: str, file: BinaryIO) -> None:
        """Write a stored content into a file. Raises ``OSError`` if it is damaged."""
        digest = hashlib.sha256()
        for chunk in self.read_blob(sha256):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != sha256:
            raise OSError(0, f"the content {sha256[:12]} is damaged in the store")


def open_store(place: str, policy: Policy | None = None) -> ArtifactStore:
    """Return the store at a folder's path or a URL, after a look whether it can be used.

    Raises ``UserError`` if somebody has to set something up. A store that is down may come back:
    what is stored meanwhile waits for it.
    """
    store = ArtifactStore(_open_storage(place), policy)
    try:
        store.storage.check_access()
    except OSError as error:
        log.warning("the artifact store can't be used yet: %s", error.strerror)
    return store


def _open_storage(place: str) -> ObjectStorage:
    """Return a folder or a bucket. Raises ``UserError``, which shows no secret."""
    scheme, separator, _ = place.partition("://")
    if not separator:
        return FolderStorage(Path(place).resolve())
    parts = urlsplit(place)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            f"the artifact store's URL, {scheme}://…, holds more than a place",
            hint="s3://BUCKET/PREFIX: credentials, region and endpoint are in the environment",
        )
    if scheme == "file":
        return FolderStorage(Path(unquote(parts.path)))
    if scheme not in _BUCKET_SCHEMES:
        raise UserError(
            f"outputs can't be kept at {scheme}://",
            hint="a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER",
        )
    from fyre.artifacts.bucket_storage import BucketStorage  # loads obstore

    return BucketStorage(place)


_BUCKET_SCHEMES = ("s3", "gs", "az")


def _named_blobs(manifest: RunManifest) -> dict[str, int | None]:
    """Return the size of each content that a manifest names, if it says it."""
    sizes: dict[str, int | None] = {one.sha256: one.size for one in manifest.artifacts}
    if manifest.metrics_sha256 is not None:
        sizes.setdefault(manifest.metrics_sha256, None)
    return sizes


def _manifest_key(run_key: str) -> str:
    return f"manifests/{run_key}.json"
