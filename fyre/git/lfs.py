"""Git LFS for pods: an object is downloaded once, then served from the mirror.

The forge's credential stays on our side. Implements the download part of the batch API with "basic"
transfers: github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import urllib3
from cachetools import LRUCache, TTLCache

from fyre import http_deadline, http_session
from fyre.errors import TransientError
from fyre.github.errors import NotFoundError

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/vnd.git-lfs+json"
CHUNK_BYTES = 1 << 20
READ_TIMEOUT = 60.0
"""Seconds without a byte from the forge."""

DOWNLOAD_SECONDS = 600.0
"""Seconds for one object, and more of them for a large one."""

SLOWEST_PACE = 20_000.0
"""Bytes a second of a large object's download; one that is slower in total is cut."""

LINK_SECONDS = 300.0
"""Seconds for which a download link is reused; those of GitHub are valid for an hour."""

LINKS_MAX = 100_000
"""Links that are kept: more than the largest checkout asks for at once."""

CHECKED_MAX = 100_000
"""Files whose SHA-256 is remembered as checked."""

DownloadAction = dict[str, Any]
FileIdentity = tuple[int, int, int, int]
"""Device, inode, size and time of the last change: the same bytes have the same."""


@dataclass(frozen=True, slots=True)
class LfsObject:
    """An LFS object: its SHA-256, and its size in bytes as the client gives it."""

    oid: str
    size: int


@dataclass
class LfsObjectStore:
    """The LFS objects of all mirrors.

    ``find_remote`` returns a repository's clone URL and a token for it. For one event loop;
    blocking requests to the forge run in threads of its own.
    """

    find_remote: Callable[[int], tuple[str, str | None] | None]
    _download_links: TTLCache[tuple[int, str], DownloadAction] = field(
        default_factory=lambda: TTLCache(LINKS_MAX, LINK_SECONDS)
    )
    _downloads: dict[Path, asyncio.Future[Path]] = field(default_factory=dict)
    _checked: LRUCache[FileIdentity, str] = field(default_factory=lambda: LRUCache(CHECKED_MAX))
    _batch_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _links_lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "lfs"))

    async def find_missing(
        self, repository_id: int, git_dir: Path, objects: Iterable[LfsObject]
    ) -> dict[str, str]:
        """Return the objects that neither the mirror nor the forge has, with the forge's messages.

        All others can be downloaded now. Raises ``NotFoundError``, ``TransientError``.
        """
        # A hundred pods ask for the same objects at once: the second finds the links of the first.
        async with self._batch_lock:
            unknown = [
                lfs_object
                for lfs_object in objects
                if not is_stored(git_dir, lfs_object)
                and not self._cached_link(repository_id, lfs_object)
            ]
            if not unknown:
                return {}
            messages: dict[str, str] = await self._run_in_thread(
                self._request_links, repository_id, unknown
            )
            return messages

    async def ensure_object(self, repository_id: int, git_dir: Path, lfs_object: LfsObject) -> Path:
        """Return the object's file, downloaded from the forge if it is not there, or damaged.

        Raises ``NotFoundError``, ``TransientError``.
        """
        path = object_path(git_dir, lfs_object)
        if path not in self._downloads:
            task = self._run_in_thread(self._find_or_fetch, repository_id, path, lfs_object)
            self._downloads[path] = task
            task.add_done_callback(lambda _: self._downloads.pop(path))
        # A pod that disconnects must not cancel the download for the others.
        return await asyncio.shield(self._downloads[path])

    def close(self) -> None:
        """Accept no more downloads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run_in_thread(self, function: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def _cached_link(self, repository_id: int, lfs_object: LfsObject) -> DownloadAction | None:
        with self._links_lock:
            return self._download_links.get((repository_id, lfs_object.oid))

    def _request_links(self, repository_id: int, objects: list[LfsObject]) -> dict[str, str]:
        """Request download links from the forge and keep them.

        Returns the forge's message for each object that it has no link for.
        """
        links, messages = {}, {}
        for entry in self._post_batch(repository_id, objects):
            oid, action = str(entry.get("oid")), entry.get("actions", {}).get("download")
            if action is None:
                message = entry.get("error", {}).get("message", "the forge does not have it")
                messages[oid] = str(message)
            else:
                links[repository_id, oid] = action
        with self._links_lock:
            self._download_links.update(links)
        return messages

    def _post_batch(self, repository_id: int, objects: list[LfsObject]) -> list[dict[str, Any]]:
        remote = self.find_remote(repository_id)
        if remote is None:
            raise NotFoundError("Git LFS objects of this repository are not available")
        url, token = remote
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        if token:
            headers["Authorization"] = (
                "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
            )
        wanted = [{"oid": lfs_object.oid, "size": lfs_object.size} for lfs_object in objects]
        batch = {"operation": "download", "transfers": ["basic"], "objects": wanted}
        address = f"{url.removesuffix('/').removesuffix('.git')}.git/info/lfs/objects/batch"
        try:
            with (
                http_deadline.bound_requests(http_deadline.REQUEST_SECONDS),
                _http_open(address, headers, json.dumps(batch).encode()) as response,
            ):
                entries: list[dict[str, Any]] = json.load(response)["objects"]
        except (OSError, urllib3.exceptions.HTTPError) as error:
            reason = http_session.describe_failure(error)
            raise TransientError(f"the forge's LFS can't be read: {reason}") from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise TransientError("unexpected response from the forge's LFS batch API") from error
        return entries

    def _find_or_fetch(self, repository_id: int, path: Path, lfs_object: LfsObject) -> Path:
        """Return the object's file; its SHA-256 is checked once, and after each change."""
        identity = _file_identity(path)
        if identity is None or self._checked_hash(path, identity) != lfs_object.oid:
            if identity is not None:
                log.warning("the Git LFS object in %s is damaged: it is fetched again", path)
            self._fetch_object(repository_id, path, lfs_object)
            if identity := _file_identity(path):
                self._remember_hash(identity, lfs_object.oid)
        return path

    def _checked_hash(self, path: Path, identity: FileIdentity) -> str:
        """Return the SHA-256 of a file, computed once; "" if it can't be read."""
        with self._links_lock:
            if known := self._checked.get(identity):
                return known
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            log.warning("%s can't be read: %s", path, error)
            return ""
        self._remember_hash(identity, digest)
        return digest

    def _remember_hash(self, identity: FileIdentity, digest: str) -> None:
        with self._links_lock:
            self._checked[identity] = digest

    def _fetch_object(self, repository_id: int, path: Path, lfs_object: LfsObject) -> Path:
        oid = lfs_object.oid
        action = self._cached_link(repository_id, lfs_object)
        if action is None:
            messages = self._request_links(repository_id, [lfs_object])
            action = self._cached_link(repository_id, lfs_object)
            if action is None:
                message = messages.get(oid, "the forge returned no download link")
                raise NotFoundError(f"LFS object {oid[:12]}: {message}")
        try:
            with http_deadline.bound_requests(_download_seconds(lfs_object.size)):
                _download_object(path, oid, action)
        except (NotFoundError, TransientError, OSError, urllib3.exceptions.HTTPError) as error:
            with self._links_lock:  # the next try asks for another link
                self._download_links.pop((repository_id, oid), None)
            if isinstance(error, NotFoundError | TransientError):
                raise
            raise TransientError(f"LFS object {oid[:12]}: {error}") from error
        return path


def parse_batch(body: bytes) -> list[LfsObject]:
    """Return the objects that a batch request wants to download.

    Raises ``ValueError`` for any other request.
    """
    operation, lfs_objects = parse_operation(body)
    if operation != "download":
        raise ValueError("not a batch request for downloads")
    return lfs_objects


def parse_operation(body: bytes) -> tuple[str, list[LfsObject]]:
    """Return what a batch request wants, "download" or "upload", and of which objects.

    Raises ``ValueError`` for any other request.
    """
    try:
        batch = json.loads(body)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if (
        not isinstance(batch, dict)
        or batch.get("operation") not in ("download", "upload")
        or not isinstance(batch.get("objects"), list)
    ):
        raise ValueError("not a batch request")
    lfs_objects = [
        parse_object(entry.get("oid"), entry.get("size"))
        for entry in batch["objects"]
        if isinstance(entry, dict)
    ]
    return batch["operation"], lfs_objects


def parse_object(oid: object, size: object) -> LfsObject:
    """Return an object from a client's ``oid`` and ``size``. Raises ``ValueError``."""
    if not isinstance(oid, str) or not re.fullmatch(r"[0-9a-f]{64}", oid):
        raise ValueError("not the SHA-256 of an object")
    if not isinstance(size, int) or size < 0:
        raise ValueError("not the size of an object")
    return LfsObject(oid, size)


def object_path(git_dir: Path, lfs_object: LfsObject) -> Path:
    """Return the object's path, the one that git-lfs itself uses."""
    oid = lfs_object.oid
    return git_dir / "lfs/objects" / oid[:2] / oid[2:4] / oid


def is_stored(git_dir: Path, lfs_object: LfsObject) -> bool:
    """Return True if a file of the object's size is in its place.

    Raises ``OSError`` where that can't be told.
    """
    try:
        status = object_path(git_dir, lfs_object).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == lfs_object.size


def _file_identity(path: Path) -> FileIdentity | None:
    """Return what tells a file from what it was before; None if there is no file."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _download_seconds(size: int) -> float:
    """Return how long the download of so many bytes may take in total."""
    return DOWNLOAD_SECONDS + size / SLOWEST_PACE


def _download_object(path: Path, oid: str, action: DownloadAction) -> None:
    """Download the object to its path: complete and with the right hash, or not at all.

    What is there, is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="tmp_", delete=False) as file:
        try:
            with _http_open(str(action["href"]), action.get("header") or {}) as response:
                digest = _copy_and_hash(response, file)
            if digest != oid:
                raise TransientError(f"LFS object {oid[:12]}: the forge sent other content")
            os.fsync(file.fileno())
            os.replace(file.name, path)  # noqa: PTH105 - os.replace is known to be atomic
        finally:
            Path(file.name).unlink(missing_ok=True)


def _copy_and_hash(source: BaseHTTPResponse, target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
    target.flush()
    return digest.hexdigest()


def _http_open(
    url: str, headers: dict[str, str], body: bytes | None = None
) -> AbstractContextManager[BaseHTTPResponse]:
    """Return the response as a file, its bytes as they were sent.

    Raises ``NotFoundError`` and ``TransientError``. No error shows the URL: a link to an object may
    be signed, and then it is a credential.
    """
    import requests

    if not url.startswith(("http://", "https://")):
        raise NotFoundError("the forge's LFS link is neither http nor https")
    # Compressed content would have another hash than the one in the object's name.
    headers = {"Accept-Encoding": "identity", **headers}
    method = "GET" if body is None else "POST"
    try:
        with http_session.open_session() as session:
            response = session.request(
                method, url, data=body, headers=headers, stream=True, timeout=READ_TIMEOUT
            )
    except requests.RequestException as error:
        reason = http_session.describe_failure(error)
        raise TransientError(f"the forge's LFS can't be reached: {reason}") from error
    if response.ok:
        return closing(response.raw)
    response.close()
    if response.status_code in (404, 410):
        raise NotFoundError("the forge has no such LFS object, or no LFS for this repository")
    raise TransientError(f"the forge's LFS answered {response.status_code}")
