"""The relay's two answers to a git-lfs client: where objects are, and an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from fyre.errors import TryAgainError
from fyre.git import lfs
from fyre.github.errors import NotFoundError

PREFIX = "info/lfs/objects/"


def offers(method: str, service: str) -> bool:
    """Whether that is one of the two."""
    return (
        service.startswith(PREFIX)
        and (method == "POST") == (service == PREFIX + "batch")
        and method in ("GET", "POST")
    )


async def answer(
    store: lfs.Lfs, request: Request, body: bytes, repository_id: int, git_dir: Path
) -> Response:
    """Answer a request that is already let in: 404 where the forge has no such object, 502 while it can't be asked."""
    name = request.path_params["service"].removeprefix(PREFIX)
    try:
        if name == "batch":
            return await _batch(store, request, body, repository_id, git_dir)
        size = request.query_params.get("size", "")
        wanted = lfs.parse_object(name, int(size) if size.isdecimal() and len(size) < 20 else None)
        path = await store.ensure_object(repository_id, git_dir, wanted)
    except ValueError as error:
        return _said(422, str(error))
    except NotFoundError as error:
        return _said(404, error.message)
    except TryAgainError as error:
        return _said(502, str(error))
    return FileResponse(path, media_type="application/octet-stream")


async def _batch(
    store: lfs.Lfs, request: Request, body: bytes, repository_id: int, git_dir: Path
) -> Response:
    asked = lfs.parse_batch(body)
    failed = await store.find_missing(repository_id, git_dir, asked)
    base = str(request.url.replace(query="")).removesuffix("batch")
    objects = [
        _failed(one, failed[one.oid])
        if one.oid in failed
        else _found(one, base, request.headers["authorization"])
        for one in asked
    ]
    return _json(200, {"transfer": "basic", "objects": objects})


def _found(one: lfs.LfsObject, base: str, authorization: str) -> dict[str, Any]:
    link = {"href": f"{base}{one.oid}?size={one.size}", "header": {"Authorization": authorization}}
    return {"oid": one.oid, "size": one.size, "authenticated": True, "actions": {"download": link}}


def _failed(one: lfs.LfsObject, why: str) -> dict[str, Any]:
    return {"oid": one.oid, "size": one.size, "error": {"code": 404, "message": why}}


def _said(code: int, text: str) -> Response:
    return _json(code, {"message": text})


def _json(code: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content, code, media_type=lfs.MEDIA_TYPE)
