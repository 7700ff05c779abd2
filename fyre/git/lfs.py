"""Git LFS for pods: an object comes from the forge once, and from the mirror ever after.

The forge's credential stays with us. The batch API's part for downloads, "basic" transfers:
github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from cachetools import TTLCache

from fyre.errors import TransientError
from fyre.github.errors import NotFoundError

if TYPE_CHECKING:
    import requests
    from requests import PreparedRequest
    from urllib3.response import BaseHTTPResponse

MEDIA_TYPE = "application/vnd.git-lfs+json"
CHUNK_BYTES = 1 << 20
READ_TIMEOUT = 60.0
"""Seconds without a byte from the forge."""

LINK_SECONDS = 300.0
"""Seconds for which the forge's own links are used; GitHub's are good for an hour."""

LINKS_MAX = 100_000
"""Links that are kept: more than the largest checkout asks for at once."""

DownloadAction = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LfsObject:
    """An object by its SHA-256, and its size in bytes as the client says it."""

    oid: str
    size: int


@dataclass
class LfsObjectStore:
    """The objects of all repositories. ``source`` gives a repository's clone URL and the token to ask it with.

    For one event loop; what waits for the forge does so in threads of its own.
    """

    find_remote: Callable[[int], tuple[str, str | None] | None]
    _download_links: TTLCache[tuple[int, str], DownloadAction] = field(
        default_factory=lambda: TTLCache(LINKS_MAX, LINK_SECONDS)
    )
    _downloads: dict[Path, asyncio.Future[Path]] = field(default_factory=dict)
    _batch_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _links_lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "lfs"))

    async def find_missing(
        self, repository_id: int, git_dir: Path, objects: Iterable[LfsObject]
    ) -> dict[str, str]:
        """Return the objects that neither the mirror nor the forge has, each with the forge's words.

        The others can be had from now on. Raises ``NotFoundError``, ``TryAgainError``.
        """
        async with (
            self._batch_lock
        ):  # a hundred pods ask the same at once: the second finds the first one's answer
            new = [
                one
                for one in objects
                if not _object_path(git_dir, one).exists()
                and not self._cached_link(repository_id, one)
            ]
            if not new:
                return {}
            failed: dict[str, str] = await self._run_in_thread(
                self._request_links, repository_id, new
            )
            return failed

    async def ensure_object(self, repository_id: int, git_dir: Path, lfs_object: LfsObject) -> Path:
        """Return the object's file, fetched from the forge if need be.

        Raises ``NotFoundError``, ``TryAgainError``.
        """
        path = _object_path(git_dir, lfs_object)
        if path.exists():
            return path
        if path not in self._downloads:
            task = self._run_in_thread(self._fetch_object, repository_id, path, lfs_object)
            self._downloads[path] = task
            task.add_done_callback(lambda _: self._downloads.pop(path))
        return await asyncio.shield(
            self._downloads[path]
        )  # a pod that goes away takes nobody's download along

    def close(self) -> None:
        """Take no more orders."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run_in_thread(self, function: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def _cached_link(self, repository_id: int, lfs_object: LfsObject) -> DownloadAction | None:
        with self._links_lock:
            return self._download_links.get((repository_id, lfs_object.oid))

    def _request_links(self, repository_id: int, objects: list[LfsObject]) -> dict[str, str]:
        """Ask the forge for links and keep them; return what it said of objects without one."""
        links, failed = {}, {}
        for told in self._post_batch(repository_id, objects):
            action = told.get("actions", {}).get("download")
            if action is None:
                failed[str(told.get("oid"))] = str(
                    told.get("error", {}).get("message", "the forge does not have it")
                )
            else:
                links[repository_id, str(told.get("oid"))] = action
        with self._links_lock:
            self._download_links.update(links)
        return failed

    def _post_batch(self, repository_id: int, objects: list[LfsObject]) -> list[dict[str, Any]]:
        found = self.find_remote(repository_id)
        if found is None:
            raise NotFoundError("Git LFS objects of this repository can't be had here")
        url, token = found
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        if token:
            headers["Authorization"] = (
                "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
            )
        named = [{"oid": one.oid, "size": one.size} for one in objects]
        body = json.dumps(
            {"operation": "download", "transfers": ["basic"], "objects": named}
        ).encode()
        address = f"{url.removesuffix('/').removesuffix('.git')}.git/info/lfs/objects/batch"
        try:
            with _http_open(address, headers, body) as answer:
                told: list[dict[str, Any]] = json.load(answer)["objects"]
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise TransientError(f"the forge's LFS broke off ({type(error).__name__})") from error
        except (ValueError, LookupError, TypeError) as error:
            raise TransientError(
                "the forge's LFS answered something else than the batch API says"
            ) from error
        return told

    def _fetch_object(self, repository_id: int, path: Path, lfs_object: LfsObject) -> Path:
        oid = lfs_object.oid
        action = self._cached_link(repository_id, lfs_object)
        if action is None:
            failed = self._request_links(repository_id, [lfs_object])
            action = self._cached_link(repository_id, lfs_object)
            if action is None:
                raise NotFoundError(
                    f"LFS object {oid[:12]}: {failed.get(oid, 'the forge names it not')}"
                )
        try:
            _download_object(path, oid, action)
        except (NotFoundError, TransientError, OSError, urllib3.exceptions.HTTPError) as error:
            with self._links_lock:
                self._download_links.pop(
                    (repository_id, oid), None
                )  # the next try asks for another
            if isinstance(error, NotFoundError | TransientError):
                raise
            raise TransientError(f"LFS object {oid[:12]}: {error}") from error
        return path


def parse_batch(body: bytes) -> list[LfsObject]:
    """Return the objects that a batch request wants to download.

    Raises ``ValueError`` for anything else.
    """
    asked = json.loads(body)
    if (
        not isinstance(asked, dict)
        or asked.get("operation") != "download"
        or not isinstance(asked.get("objects"), list)
    ):
        raise ValueError("not a batch request for downloads")
    return [
        parse_object(one.get("oid"), one.get("size"))
        for one in asked["objects"]
        if isinstance(one, dict)
    ]


def parse_object(oid: object, size: object) -> LfsObject:
    """Return an object as a client names it. Raises ``ValueError``."""
    if not isinstance(oid, str) or not re.fullmatch(r"[0-9a-f]{64}", oid):
        raise ValueError("not the SHA-256 of an object")
    if not isinstance(size, int) or size < 0:
        raise ValueError("not the size of an object")
    return LfsObject(oid, size)


def _object_path(git_dir: Path, lfs_object: LfsObject) -> Path:
    """Return where git-lfs itself keeps it."""
    oid = lfs_object.oid
    return git_dir / "lfs/objects" / oid[:2] / oid[2:4] / oid


def _download_object(path: Path, oid: str, action: DownloadAction) -> None:
    """Put the object under its name, whole and as its name says, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="tmp_") as file:
        with _http_open(str(action["href"]), action.get("header") or {}) as answer:
            digest = _copy_and_hash(answer, file)
        if digest != oid:
            raise TransientError(f"LFS object {oid[:12]}: the forge sent something else")
        with suppress(FileExistsError):
            path.hardlink_to(file.name)


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
    """Return an answer to read, its bytes as they were sent. Raises ``NotFoundError`` and ``TryAgainError``.

    No error shows the URL: a link to an object may be signed, and then it is a credential.
    """
    import requests

    if urlsplit(url).scheme not in ("http", "https"):
        raise NotFoundError("the forge's LFS link is neither http nor https")
    # What is compressed on its way would be another object than the one that its name says.
    headers = {"Accept-Encoding": "identity", **headers}
    method = "GET" if body is None else "POST"
    try:
        with _session() as session:
            answer = session.request(
                method, url, data=body, headers=headers, stream=True, timeout=READ_TIMEOUT
            )
    except requests.RequestException as error:
        raise TransientError(
            f"the forge's LFS can't be reached ({type(error).__name__})"
        ) from error
    if answer.ok:
        return closing(answer.raw)
    answer.close()
    if answer.status_code in (404, 410):
        raise NotFoundError("the forge has no such LFS object, or no LFS for this repository")
    raise TransientError(f"the forge's LFS answered {answer.status_code}")


def _session() -> requests.Session:
    """Return a session that sends no credential but the one it is given, and that one to no other host.

    requests would put a login of ~/.netrc in its place, at first and after a redirect.
    """
    import requests

    class Session(requests.Session):
        def rebuild_auth(
            self, prepared_request: PreparedRequest, response: requests.Response
        ) -> None:
            """Take the credential out of a request that is redirected to another host."""
            if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):  # type: ignore[no-untyped-call] # its stubs leave it out
                prepared_request.headers.pop("Authorization", None)

    session = Session()
    session.auth = lambda sent: sent
    return session
