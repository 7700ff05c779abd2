"""Git LFS of the local forge: the batch API, and objects by "basic" transfers.

They lie in each repository where git-lfs itself keeps them, so that engines find them there.
Locks are not offered: github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import IO, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from fyre.errors import TooLargeError
from fyre.git import lfs
from fyre.local_forge import machine_trouble
from fyre.local_forge.forge import UNFINISHED_OBJECTS, LocalForge
from fyre.local_forge.request_body import read_body
from fyre.local_forge.storage.repository_store import BadNameError, BareRepository

log = logging.getLogger(__name__)

LFS_PREFIX = "info/lfs/"
_OBJECTS_PREFIX = "info/lfs/objects/"

OBJECT_BYTES_MAX = 5 * 1024**3
"""Bytes of one object: as many as GitHub takes at most."""

_BATCH_BYTES_MAX = 1024 * 1024  # git-lfs sends a hundred objects at once, 12 kB
_WRITE_BYTES = 1024 * 1024
_NO_REPOSITORY = "no such repository here"


class _RefusedError(Exception):
    """The request is answered with a status code and a text, its arguments."""


async def answer_lfs_request(forge: LocalForge, request: Request) -> Response:
    """Answer a request of a git-lfs client."""
    service = request.path_params["service"]
    try:
        if (request.method, service) == ("POST", f"{_OBJECTS_PREFIX}batch"):
            return await _answer_batch(forge, request)
        if service.startswith(_OBJECTS_PREFIX) and request.method in ("GET", "PUT"):
            return await _transfer_object(forge, request)
    except _RefusedError as error:
        return _json_response(error.args[0], {"message": error.args[1]})
    except (OSError, sqlite3.Error) as error:
        return _answer_trouble(forge, request, error)
    if service.startswith(f"{LFS_PREFIX}locks"):
        return _json_response(501, {"message": "this forge has no locks of Git LFS"})
    return _json_response(404, {"message": "Git LFS knows no such request"})


def _answer_trouble(forge: LocalForge, request: Request, error: Exception) -> Response:
    """Answer a request that met a full disk, or a broken repository: the client may retry."""
    if machine_trouble.is_for_want_of_room(error, forge.root):
        forge.outbox.trouble.report(error)
        return _json_response(507, {"message": machine_trouble.DISK_FULL})
    log.error("%s %s: %s", request.method, request.url.path, error)
    return _json_response(500, {"message": "Server Error"})


async def _answer_batch(forge: LocalForge, request: Request) -> Response:
    body = await _read_batch(request)
    try:
        operation, lfs_objects = lfs.parse_operation(body)
    except ValueError as error:
        raise _RefusedError(422, f"no batch request of Git LFS: {error}") from error
    git_dir = await run_in_threadpool(_find_git_dir, forge, request, operation)
    entries = await run_in_threadpool(
        _batch_entries, forge.root, git_dir, request, operation, lfs_objects
    )
    return _json_response(200, {"transfer": "basic", "objects": entries})


async def _read_batch(request: Request) -> bytes:
    try:
        return await read_body(request, _BATCH_BYTES_MAX)
    except TooLargeError as error:
        raise _RefusedError(413, "too many objects at once") from error
    except ClientDisconnect as error:
        raise _RefusedError(400, "the request did not arrive as a whole") from error


def _batch_entries(
    root: Path, git_dir: Path, request: Request, operation: str, lfs_objects: list[lfs.LfsObject]
) -> list[dict[str, Any]]:
    """Return what to do about each object: a link, an error, or nothing for what is there."""
    base_url = str(request.url.replace(query="")).removesuffix("batch")
    authorization = request.headers.get("authorization")
    header = {"header": {"Authorization": authorization}} if authorization else {}
    free_bytes = machine_trouble.count_free_bytes(root)
    entries = []
    for lfs_object in lfs_objects:
        entry: dict[str, Any] = {"oid": lfs_object.oid, "size": lfs_object.size}
        is_stored, problem = _look_up(git_dir, lfs_object)
        if operation == "upload" and not is_stored and not problem:
            problem = _storing_problem(lfs_object, free_bytes)
            free_bytes -= 0 if problem else lfs_object.size
        elif operation == "download" and not is_stored and not problem:
            problem = _RefusedError(404, "nobody pushed this object here")
        if problem:
            entry["error"] = {"code": problem.args[0], "message": problem.args[1]}
        elif is_stored == (operation == "download"):
            link = {"href": f"{base_url}{lfs_object.oid}?size={lfs_object.size}", **header}
            entry |= {"authenticated": True, "actions": {operation: link}}
        entries.append(entry)
    return entries


def _look_up(git_dir: Path, lfs_object: lfs.LfsObject) -> tuple[bool, _RefusedError | None]:
    """Return whether an object is here, and what is wrong where that can't be told."""
    try:
        return lfs.is_stored(git_dir, lfs_object), None
    except OSError as error:
        log.warning("%s: %s", lfs.object_path(git_dir, lfs_object), error)
        return False, _RefusedError(500, f"the object can't be looked up here: {error.strerror}")


async def _transfer_object(forge: LocalForge, request: Request) -> Response:
    """Answer with an object, or store the one in the request's body."""
    oid = request.path_params["service"].removeprefix(_OBJECTS_PREFIX)
    size = request.query_params.get("size", "")
    try:
        lfs_object = lfs.parse_object(
            oid, int(size) if size.isdecimal() and len(size) < 20 else None
        )
    except ValueError as error:
        raise _RefusedError(422, str(error)) from error
    repo = await run_in_threadpool(_find_repo, forge, request, create=request.method == "PUT")
    if request.method == "PUT":
        await _store_object(repo, request, lfs_object)
        return Response()
    if not await run_in_threadpool(lfs.is_stored, repo.git_dir, lfs_object):
        raise _RefusedError(404, "nobody pushed this object here")
    path = lfs.object_path(repo.git_dir, lfs_object)
    return FileResponse(path, media_type="application/octet-stream")


async def _store_object(repo: BareRepository, request: Request, lfs_object: lfs.LfsObject) -> None:
    """Store a request's body under its hash: complete and the right one, or not at all."""
    free_bytes = machine_trouble.count_free_bytes(repo.git_dir)
    if problem := _storing_problem(lfs_object, free_bytes):
        raise problem
    folder = repo.git_dir / UNFINISHED_OBJECTS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:  # its owner's alone
        try:
            await _write_body(request, lfs_object, file)
            path = lfs.object_path(repo.git_dir, lfs_object)
            await run_in_threadpool(_keep_file, file, path)
        finally:
            Path(file.name).unlink(missing_ok=True)


async def _write_body(request: Request, lfs_object: lfs.LfsObject, file: IO[bytes]) -> None:
    """Write a request's body to a file, and check that it is the object."""
    digest, received, buffer = hashlib.sha256(), 0, bytearray()
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > lfs_object.size:
                break
            digest.update(chunk)
            buffer += chunk
            if len(buffer) >= _WRITE_BYTES:
                await run_in_threadpool(file.write, bytes(buffer))
                buffer.clear()
    except ClientDisconnect as error:
        raise _RefusedError(400, "the object did not arrive as a whole") from error
    if received != lfs_object.size:
        raise _RefusedError(422, f"the object has not the size {lfs_object.size}")
    if digest.hexdigest() != lfs_object.oid:
        raise _RefusedError(422, "the object has another SHA-256 than its name")
    await run_in_threadpool(file.write, bytes(buffer))


def _keep_file(file: IO[bytes], path: Path) -> None:
    """Give a file its name for good, once its bytes are on disk; a damaged one is replaced."""
    file.flush()
    os.fsync(file.fileno())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.replace(file.name, path)  # noqa: PTH105 - os.replace is known to be atomic


def _find_git_dir(forge: LocalForge, request: Request, operation: str) -> Path:
    """Return the path of a batch request's repository, which an upload may be the first of.

    A batch makes nothing: the first object does.
    """
    if operation == "download":
        return _find_repo(forge, request, create=False).git_dir
    machine_trouble.reject_full_disk(forge.root)
    try:
        return forge.repositories.git_dir_for_name(_repo_name(request))
    except BadNameError as error:
        raise _RefusedError(404, _NO_REPOSITORY) from error


def _find_repo(forge: LocalForge, request: Request, *, create: bool) -> BareRepository:
    """Return the repository of a request; the objects of a first push arrive before it."""
    name, store = _repo_name(request), forge.repositories
    if create:
        machine_trouble.reject_full_disk(forge.root)
    try:
        repo = store.get_or_create(name) if create else store.find_repo(name)
    except BadNameError:
        repo = None
    if repo is None:
        raise _RefusedError(404, _NO_REPOSITORY)
    return repo


def _repo_name(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['repo']}"


def _storing_problem(lfs_object: lfs.LfsObject, free_bytes: int) -> _RefusedError | None:
    """Return why an object can't be stored; None if it can."""
    if lfs_object.size > OBJECT_BYTES_MAX:
        most = OBJECT_BYTES_MAX // 1024**3
        return _RefusedError(422, f"an object of Git LFS has at most {most} GB here")
    if lfs_object.size > free_bytes:
        return _RefusedError(507, machine_trouble.DISK_FULL)
    return None


def _json_response(status_code: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content, status_code, media_type=lfs.MEDIA_TYPE)
