"""Serve the outputs of a run: their list as JSON, and each file, to whoever has the run's address.

A file is sent as something to be saved: what a run wrote is never shown as a page of this site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fyre.artifacts import manifest as manifests
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.server import run_links
from fyre.server.log_stream import NO_STORE_HEADERS

_FILE_HEADERS = {
    **NO_STORE_HEADERS,
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class OutputPages:
    """The outputs in one store."""

    artifacts: ArtifactStore
    secret: bytes

    def routes(self) -> list[Route]:
        """Return the routes: the list, a file by its path, a file by its hash."""
        return [
            Route("/runs/{token}/outputs.json", self.list_json),
            Route("/runs/{token}/outputs/{path:path}", self.file_by_path),
            Route("/runs/{token}/blobs/{sha256}", self.file_by_hash),
        ]

    def list_json(self, request: Request) -> Response:
        """Serve the manifest of a run, with the best and last values of all its metrics."""
        manifest = self._requested_manifest(request)
        if manifest is None:
            return _NOT_FOUND
        return JSONResponse(manifests.to_json(manifest), headers=NO_STORE_HEADERS)

    def file_by_path(self, request: Request) -> Response:
        """Serve an output."""
        manifest = self._requested_manifest(request)
        artifact = manifest and manifest.find_artifact(request.path_params["path"])
        return self._send(artifact) if artifact else _NOT_FOUND

    def file_by_hash(self, request: Request) -> Response:
        """Serve what the manifest of this run names by this hash: its path may be no URL."""
        manifest, sha256 = self._requested_manifest(request), request.path_params["sha256"]
        wanted = (one for one in manifest.artifacts if one.sha256 == sha256) if manifest else ()
        artifact = next(iter(wanted), None)
        return self._send(artifact) if artifact else _NOT_FOUND

    def _requested_manifest(self, request: Request) -> RunManifest | None:
        run_key = run_links.run_key_from_token(self.secret, request.path_params["token"])
        return self.artifacts.get_manifest(run_key) if run_key else None

    def _send(self, artifact: Artifact) -> Response:
        headers: dict[str, Any] = dict(_FILE_HEADERS)
        path = self.artifacts.blob_path(artifact.sha256)
        if not path.is_file():
            return PlainTextResponse("the content is not in the store\n", status_code=410)
        return FileResponse(path, media_type=artifact.media_type, headers=headers)


_NOT_FOUND = PlainTextResponse("not found\n", status_code=404)
