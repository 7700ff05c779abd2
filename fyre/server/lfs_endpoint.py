"""Answer the two requests of a git-lfs client: the addresses of objects, and one object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from fyre.errors import TransientError
from fyre.git import lfs
from fyre.github.errors import NotFoundError

LFS_OBJECTS_PREFIX = "info/lfs/objects/"


def is_lfs_request(method: str, service: str) -> bool:
    """Return True for one of the two requests that are answered."""
    return (
        service.startswith(LFS_OBJECTS_PREFIX)
        and (method == "POST") == (service == LFS_OBJECTS_PREFIX + "batch")
        and method in ("GET", "POST")
    )


async def handle_lfs_request(
    store: lfs.LfsObjectStore, request: Request, body: bytes, repository_id: int, git_dir: Path
) -> Response:
    """Answer a request that is authorized already.

    404 if GitHub has no such object, 502 while GitHub can't be asked, 422 for a malformed request.
    """
    name = request.path_params["service"].removeprefix(LFS_OBJECTS_PREFIX)
    try:
        if name == "batch":
            return await _handle_batch(store, request, body, repository_id, git_dir)
        size = request.query_params.get("size", "")
        lfs_object = lfs.parse_object(
            name, int(size) if size.isdecimal() and len(size) < 20 else None
        )
        path = await store.ensure_object(repository_id, git_dir, lfs_object)
    except ValueError as error:
        return _error_response(422, str(error))
    except NotFoundError as error:
        return _error_response(404, error.message)
    except TransientError as error:
        return _error_response(502, str(error))
    return FileResponse(path, media_type="application/octet-stream")


async def _handle_batch(
    store: lfs.LfsObjectStore, request: Request, body: bytes, repository_id: int, git_dir: Path
) -> Response:
    lfs_objects = lfs.parse_batch(body)
    missing = await store.find_missing(repository_id, git_dir, lfs_objects)
    base_url = str(request.url.replace(query="")).removesuffix("batch")
    entries = [
        _error_entry(lfs_object, missing[lfs_object.oid])
        if lfs_object.oid in missing
        else _download_entry(lfs_object, base_url, request.headers["authorization"])
        for lfs_object in lfs_objects
    ]
    return _lfs_response(200, {"transfer": "basic", "objects": entries})


def _download_entry(lfs_object: lfs.LfsObject, base_url: str, authorization: str) -> dict[str, Any]:
    link = {
        "href": f"{base_url}{lfs_object.oid}?size={lfs_object.size}",
        "header": {"Authorization": authorization},
    }
    return {
        "oid": lfs_object.oid,
        "size": lfs_object.size,
        "authenticated": True,
        "actions": {"download": link},
    }


def _error_entry(lfs_object: lfs.LfsObject, reason: str) -> dict[str, Any]:
    return {
        "oid": lfs_object.oid,
        "size": lfs_object.size,
        "error": {"code": 404, "message": reason},
    }


def _error_response(status_code: int, text: str) -> Response:
    return _lfs_response(status_code, {"message": text})


def _lfs_response(status_code: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content, status_code, media_type=lfs.MEDIA_TYPE)
