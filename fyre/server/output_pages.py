"""Serve the outputs of a run: their list as JSON, and each file, to whoever has the run's address.

A file is sent as something to be saved: what a run wrote is never shown as a page of this site.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from fyre.artifacts import manifest as manifests
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.server import run_links
from fyre.server.log_stream import NO_STORE_HEADERS

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
        ]

    def list_json(self, request: Request) -> Response:
        """Serve the manifest of a run, with the best and last values of all its metrics."""
        listing = self._requested_listing(request)
        if listing is None:
            return _NOT_FOUND
        # Names may hold bytes that are no UTF-8: plain ASCII has escapes for them.
        text = json.dumps(manifests.to_json(listing.manifest))
        return Response(text, media_type="application/json", headers=NO_STORE_HEADERS)

    def file_by_path(self, request: Request) -> Response:
        """Serve an output."""
        listing = self._requested_listing(request)
        artifact = listing and listing.by_path.get(request.path_params["path"])
        return self._send(artifact) if artifact else _NOT_FOUND

    def file_by_hash(self, request: Request) -> Response:
        """Serve what the manifest of this run names by this hash: its path may be no URL."""
        listing = self._requested_listing(request)
        artifact = listing and listing.by_hash.get(request.path_params["sha256"])
        return self._send(artifact) if artifact else _NOT_FOUND

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

    def _send(self, artifact: Artifact) -> Response:
        headers: dict[str, Any] = dict(_FILE_HEADERS)
        path = self.artifacts.blob_path(artifact.sha256)
        if not path.is_file():
            return PlainTextResponse("the content is not in the store\n", status_code=410)
        return FileResponse(path, media_type=artifact.media_type, headers=headers)


_NOT_FOUND = PlainTextResponse("not found\n", status_code=404)
