"""Serve the outputs of a run: their list as JSON, and each file, to whoever has the run's address.

A file is sent as something to be saved: what a run wrote is never shown as a page of this site.
It comes from this server wherever it is stored, never from the bucket itself: its address would
open it to whoever it is passed on to, and need not be reachable from there.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps

from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from fyre.artifacts import manifest as manifests
from fyre.artifacts.artifact_store import ArtifactStore, StoredBlob
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.server import run_links
from fyre.server.log_stream import NO_STORE_HEADERS

log = logging.getLogger(__name__)

_AT_ONCE = 8 * 1024 * 1024
"""Bytes of a content that is read before its answer begins."""

BUNDLE_FILES_MAX, BUNDLE_BYTES_MAX = 500, 16 * 1024 * 1024
"""Files of one bundle, and their bytes together."""

_PLACE = re.compile(r"[0-9]{1,9}")

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")

_LISTINGS_MAX = 4
"""Manifests in memory: one may have a million files."""

_FILE_HEADERS = {
    **NO_STORE_HEADERS,
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class _Listing:
    """A manifest, and its files by path and by hash."""

    manifest: RunManifest
    by_path: dict[str, Artifact]
    by_hash: dict[str, Artifact]


def _answer_trouble(
    handler: Callable[[OutputPages, Request], Response],
) -> Callable[[OutputPages, Request], Response]:
    """Have a handler answer 503 while its store gives no answer."""

    @wraps(handler)
    def answer(pages: OutputPages, request: Request) -> Response:
        try:
            return handler(pages, request)
        except OSError as error:
            log.warning("outputs can't be read: %s", error.strerror or error)
            text = "the store of outputs can't be read now\n"
            return PlainTextResponse(text, status_code=503, headers={"Retry-After": "5"})

    return answer


@dataclass(frozen=True)
class OutputPages:
    """The outputs in one store."""

    artifacts: ArtifactStore
    secret: bytes
    _listings: LRUCache[str, _Listing] = field(default_factory=lambda: LRUCache(_LISTINGS_MAX))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def routes(self) -> list[Route]:
        """Return the routes: the list, a file by its path, a file by its hash."""
        return [
            Route("/runs/{token}/outputs.json", self.list_json),
            Route("/runs/{token}/outputs/{path:path}", self.file_by_path),
            Route("/runs/{token}/blobs/{sha256}", self.file_by_hash),
            Route("/runs/{token}/bundle", self.bundle),
        ]

    @_answer_trouble
    def list_json(self, request: Request) -> Response:
        """Serve the manifest of a run, with the best and last values of all its metrics."""
        listing = self._requested_listing(request)
        if listing is None:
            return _NOT_FOUND
        # Names may hold bytes that are no UTF-8: plain ASCII has escapes for them.
        text = json.dumps(manifests.to_json(listing.manifest))
        return Response(text, media_type="application/json", headers=NO_STORE_HEADERS)

    @_answer_trouble
    def file_by_path(self, request: Request) -> Response:
        """Serve an output."""
        listing = self._requested_listing(request)
        artifact = listing and listing.by_path.get(request.path_params["path"])
        return self._send(artifact, request) if artifact else _NOT_FOUND

    @_answer_trouble
    def file_by_hash(self, request: Request) -> Response:
        """Serve what the manifest of this run names by this hash: its path may be no URL."""
        listing = self._requested_listing(request)
        artifact = listing and listing.by_hash.get(request.path_params["sha256"])
        return self._send(artifact, request) if artifact else _NOT_FOUND

    @_answer_trouble
    def bundle(self, request: Request) -> Response:
        """Serve the contents of several small outputs, one after the other, nothing in between.

        ``files=0,1,120`` are their places in the manifest: thousands of files are then no
        thousands of requests.
        """
        listing = self._requested_listing(request)
        if listing is None:
            return _NOT_FOUND
        artifacts = _requested_files(request, listing.manifest.artifacts)
        if artifacts is None or sum(one.size for one in artifacts) > BUNDLE_BYTES_MAX:
            return PlainTextResponse("too many files, or none\n", status_code=400)
        try:
            blobs = [StoredBlob(one.sha256, one.size) for one in artifacts]
            content = b"".join(self.artifacts.read_blobs(blobs))
        except FileNotFoundError:
            return _GONE
        return Response(content, media_type="application/octet-stream", headers=_FILE_HEADERS)

    def _requested_listing(self, request: Request) -> _Listing | None:
        """Return what a run kept, read once for all the files that are asked for next."""
        run_key = run_links.run_key_from_token(self.secret, request.path_params["token"])
        if run_key is None:
            return None
        with self._lock:  # a manifest is final, and one thread is enough to read it
            if (known := self._listings.get(run_key)) is not None:
                return known
            manifest = self.artifacts.get_manifest(run_key)
            if manifest is None:
                return None
            by_path = {one.path: one for one in manifest.artifacts}
            by_hash = {one.sha256: one for one in manifest.artifacts}
            self._listings[run_key] = _Listing(manifest, by_path, by_hash)
            return self._listings[run_key]

    def _send(self, artifact: Artifact, request: Request) -> Response:
        """Return the answer with a content, or with the range of it that is asked for."""
        headers = {
            **_FILE_HEADERS,
            "Accept-Ranges": "bytes",
            "ETag": f'"{artifact.sha256}"',
        }
        wanted = _requested_range(request, artifact)
        if wanted is None:
            headers["Content-Range"] = f"bytes */{artifact.size}"
            return Response(status_code=416, headers=headers)
        start, end = wanted
        status = 206 if end - start < artifact.size else 200
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size}"
        answer = self._content(artifact, start, end, is_wanted=request.method == "GET")
        if answer is None:
            return _GONE
        answer.status_code = status
        answer.headers.update(headers)
        answer.headers["Content-Length"] = str(end - start)
        answer.headers["Content-Type"] = artifact.media_type
        return answer

    def _content(
        self, artifact: Artifact, start: int, end: int, *, is_wanted: bool
    ) -> Response | None:
        """Return an answer with a range of a content; None if it is not there."""
        if not is_wanted or end - start > _AT_ONCE:
            if not self.artifacts.has_blob(artifact.sha256, artifact.size):
                return None
            chunks = self.artifacts.read_blob(artifact.sha256, start, end)
            return StreamingResponse(chunks) if is_wanted else Response()
        try:
            content = b"".join(self.artifacts.read_blob(artifact.sha256, start, end))
        except FileNotFoundError:
            return None
        return Response(content) if len(content) == end - start else None


def _requested_range(request: Request, artifact: Artifact) -> tuple[int, int] | None:
    """Return the first byte that is asked for, and the one after the last; None if there is none.

    More than one range, or one of another content, is as good as no range.
    """
    size, header = artifact.size, request.headers.get("range", "")
    found = _RANGE.fullmatch(header.replace(" ", "").lower())
    known = request.headers.get("if-range", artifact.sha256).strip('"')
    if found is None or known != artifact.sha256 or found.groups() == ("", ""):
        return 0, size
    first, last = found.groups()
    if not first:
        return (size - int(last), size) if 0 < int(last) <= size else (0, size) if size else None
    start, end = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        return 0, size
    return (start, end) if start < size else None


def _requested_files(request: Request, artifacts: Sequence[Artifact]) -> list[Artifact] | None:
    """Return the files of a bundle; None if none such can be asked for."""
    words = request.query_params.get("files", "").split(",")
    if len(words) > BUNDLE_FILES_MAX or not all(map(_PLACE.fullmatch, words)):
        return None
    places = [int(word) for word in words]
    if max(places) >= len(artifacts):
        return None
    return [artifacts[place] for place in places]


_GONE = PlainTextResponse("the content is not in the store\n", status_code=410)
_NOT_FOUND = PlainTextResponse("not found\n", status_code=404)
