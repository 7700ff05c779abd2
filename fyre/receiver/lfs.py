"""Git LFS for pods: an object comes from the forge once, with the forge's credential, and from the mirror ever after.

The batch API's part for downloads, "basic" transfers: github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
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

from fyre.errors import TryAgainError
from fyre.failures import NotFoundError

if TYPE_CHECKING:
    import requests
    from requests import PreparedRequest
    from urllib3.response import BaseHTTPResponse

MEDIA_TYPE = "application/vnd.git-lfs+json"
CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte from the forge."""

KEPT = 300.0
"""Seconds for which the forge's own links are used; GitHub's are good for an hour."""

LINKS_MAX = 100_000
"""Links that are kept: more than the largest checkout asks for at once."""

Action = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object by its SHA-256, and its size in bytes."""

    oid: str
    size: int


@dataclass
class Lfs:
    """The objects of all repositories. ``source`` gives a repository's clone URL and the token to ask it with.

    For one event loop; what waits for the forge does so in threads of its own.
    """

    source: Callable[[int], tuple[str, str | None] | None]
    _links: TTLCache[tuple[int, str], Action] = field(default_factory=lambda: TTLCache(LINKS_MAX, KEPT))
    _under_way: dict[Path, asyncio.Future[Path]] = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _keeping: threading.Lock = field(default_factory=threading.Lock)  # for all that has to do with links
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "lfs"))

    async def missing(self, repository_id: int, git_dir: Path, wanted: Iterable[Wanted]) -> dict[str, str]:
        """Those that neither the mirror nor the forge has, with the forge's words; what it has can be had now."""
        async with self._asking:  # a hundred pods ask the same at once: the second finds the first one's answer
            new = [one for one in wanted if not _place(git_dir, one).exists() and not self._link(repository_id, one)]
            if not new:
                return {}
            failed: dict[str, str] = await self._in_thread(self._ask, repository_id, new)
            return failed

    async def path(self, repository_id: int, git_dir: Path, wanted: Wanted) -> Path:
        """The object's file, fetched from the forge if need be. Raises ``NotFoundError``, ``TryAgainError``."""
        place = _place(git_dir, wanted)
        if place.exists():
            return place
        if place not in self._under_way:
            task = self._in_thread(self._fetch, repository_id, place, wanted)
            self._under_way[place] = task
            task.add_done_callback(lambda _: self._under_way.pop(place))
        return await asyncio.shield(self._under_way[place])  # a pod that goes away takes nobody's download along

    def close(self) -> None:
        """Take no more orders."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _in_thread(self, do: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, do, *args)

    def _link(self, repository_id: int, wanted: Wanted) -> Action | None:
        with self._keeping:
            return self._links.get((repository_id, wanted.oid))

    def _ask(self, repository_id: int, wanted: list[Wanted]) -> dict[str, str]:
        """Ask the forge for links, keep them, and answer with what it said of those that it has none for."""
        links, failed = {}, {}
        for told in self._batch(repository_id, wanted):
            action = told.get("actions", {}).get("download")
            if action is None:
                failed[str(told.get("oid"))] = str(told.get("error", {}).get("message", "the forge does not have it"))
            else:
                links[repository_id, str(told.get("oid"))] = action
        with self._keeping:
            self._links.update(links)
        return failed

    def _batch(self, repository_id: int, wanted: list[Wanted]) -> list[dict[str, Any]]:
        found = self.source(repository_id)
        if found is None:
            raise NotFoundError("Git LFS objects of this repository can't be had here")
        url, token = found
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        if token:
            headers["Authorization"] = "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
        objects = [{"oid": one.oid, "size": one.size} for one in wanted]
        body = json.dumps({"operation": "download", "transfers": ["basic"], "objects": objects}).encode()
        address = f"{url.removesuffix('/').removesuffix('.git')}.git/info/lfs/objects/batch"
        try:
            with _open(address, headers, body) as answer:
                told: list[dict[str, Any]] = json.load(answer)["objects"]
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise TryAgainError(f"the forge's LFS broke off ({type(error).__name__})") from error
        except (ValueError, LookupError, TypeError) as error:
            raise TryAgainError("the forge's LFS answered something else than the batch API says") from error
        return told

    def _fetch(self, repository_id: int, place: Path, wanted: Wanted) -> Path:
        action = self._link(repository_id, wanted)
        if action is None:
            failed = self._ask(repository_id, [wanted])
            action = self._link(repository_id, wanted)
            if action is None:
                raise NotFoundError(f"LFS object {wanted.oid[:12]}: {failed.get(wanted.oid, 'the forge names it not')}")
        try:
            _download(place, wanted, action)
        except (NotFoundError, TryAgainError, OSError, urllib3.exceptions.HTTPError) as error:
            with self._keeping:
                self._links.pop((repository_id, wanted.oid), None)  # the next try asks for another
            if isinstance(error, NotFoundError | TryAgainError):
                raise
            raise TryAgainError(f"LFS object {wanted.oid[:12]}: {error}") from error
        return place


def parse(body: bytes) -> list[Wanted]:
    """The objects that a batch request wants to download. Raises ``ValueError`` for anything else."""
    asked = json.loads(body)
    if (
        not isinstance(asked, dict)
        or asked.get("operation") != "download"
        or not isinstance(asked.get("objects"), list)
    ):
        raise ValueError("not a batch request for downloads")
    return [wanted(one.get("oid"), one.get("size")) for one in asked["objects"] if isinstance(one, dict)]


def wanted(oid: object, size: object) -> Wanted:
    """An object as a client names it. Raises ``ValueError``."""
    if not isinstance(oid, str) or not re.fullmatch(r"[0-9a-f]{64}", oid):
        raise ValueError("not the SHA-256 of an object")
    if not isinstance(size, int) or size < 0:
        raise ValueError("not the size of an object")
    return Wanted(oid, size)


def _place(git_dir: Path, wanted: Wanted) -> Path:
    """Where git-lfs itself keeps it."""
    return git_dir / "lfs/objects" / wanted.oid[:2] / wanted.oid[2:4] / wanted.oid


def _download(place: Path, wanted: Wanted, action: Action) -> None:
    """The object under its name, whole and as its name says, or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix="tmp_") as file:
        with _open(str(action["href"]), action.get("header") or {}) as answer:
            digest = _copy(answer, file)
        if digest != wanted.oid:
            raise TryAgainError(f"LFS object {wanted.oid[:12]}: the forge sent something else")
        with suppress(FileExistsError):
            place.hardlink_to(file.name)


def _copy(source: BaseHTTPResponse, target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
    target.flush()
    return digest.hexdigest()


def _open(url: str, headers: dict[str, str], body: bytes | None = None) -> AbstractContextManager[BaseHTTPResponse]:
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
            answer = session.request(method, url, data=body, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise TryAgainError(f"the forge's LFS can't be reached ({type(error).__name__})") from error
    if answer.ok:
        return closing(answer.raw)
    answer.close()
    if answer.status_code in (404, 410):
        raise NotFoundError("the forge has no such LFS object, or no LFS for this repository")
    raise TryAgainError(f"the forge's LFS answered {answer.status_code}")


def _session() -> requests.Session:
    """Return a session that sends no credential but the one it is given, and that one to no other host.

    requests would put a login of ~/.netrc in its place, at first and after a redirect.
    """
    import requests

    class Session(requests.Session):
        def rebuild_auth(self, prepared_request: PreparedRequest, response: requests.Response) -> None:
            """Take the credential out of a request that is redirected to another host."""
            if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):  # type: ignore[no-untyped-call] # its stubs leave it out
                prepared_request.headers.pop("Authorization", None)

    session = Session()
    session.auth = lambda sent: sent
    return session
