"""Base of the REST API: parse requests; send GitHub's responses, errors, pages and ETags."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fyre.errors import TooLargeError
from fyre.local_forge import auth, machine_trouble
from fyre.local_forge.api.common_json import ForgeUrls
from fyre.local_forge.auth import User
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.request_body import read_body
from fyre.local_forge.storage import repository_damage
from fyre.local_forge.storage.git_notes import RefLockedError
from fyre.local_forge.storage.repository_store import BareRepository

log = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 1024 * 1024
"""Bytes of a request; GitHub's longest comment has 65,536 characters."""

_DOCS_URL = "https://docs.github.com/rest"


class ApiError(Exception):
    """An error response. ``errors`` is GitHub's list of what is wrong with which field."""

    def __init__(self, status: int, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = list(errors)


NOT_FOUND = "Not Found"


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """Data to be sent as JSON."""

    data: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ApiRequest:
    """One parsed request."""

    forge: LocalForge
    urls: ForgeUrls
    url: str  # without the query
    path_params: Mapping[str, str]
    query_params: Mapping[str, str]
    user: User | None
    body: Mapping[str, Any]

    @property
    def repo(self) -> BareRepository:
        """The repository that the path names. Raises 404."""
        name = f"{self.path_params['owner']}/{self.path_params['repo']}"
        repo = self.forge.repositories.find_repo(name)
        if repo is None:
            raise ApiError(404, NOT_FOUND)
        return repo

    @property
    def authenticated_user(self) -> User:
        """The user who sends the request. Raises 401 if it names none."""
        if self.user is None:
            raise ApiError(401, "Requires authentication")
        return self.user

    def query_number(self, name: str, default: int, maximum: int) -> int:
        """Return a positive integer of the query; like GitHub, the default for anything else."""
        text = self.query_params.get(name, "")
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        return min(value, maximum) or default

    def path_number(self, name: str) -> int:
        """Return a number of the path. Raises 404."""
        text = self.path_params[name]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ApiError(404, NOT_FOUND)
        return int(text)

    def body_text(
        self, name: str, default: str | None = None, max_length: int = 65_536
    ) -> str | None:
        """Return a text of the body, or the default if it is null or missing.

        Raises 422 for anything else.
        """
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not _is_valid_unicode(value):
            raise unprocessable_field(name, f"{name} is not a string")
        if len(value) > max_length:
            message = f"{name} is too long (maximum is {max_length} characters)"
            raise unprocessable_field(name, message)
        return value

    def paginate(
        self, items: Sequence[Any], serialize: Callable[[Any], Any], per_page: int = 30
    ) -> ApiResponse:
        """Return one page of a complete list."""
        size = self.query_number("per_page", per_page, 100)
        number = self.query_number("page", 1, 1 << 40)
        page = [serialize(item) for item in items[(number - 1) * size : number * size]]
        return ApiResponse(page, headers=self.page_links(number, -(-len(items) // size)))

    def page_links(self, page_number: int, last_page: int) -> dict[str, str]:
        """Return the ``Link`` header of a numbered page."""
        pages: dict[str, str] = {}
        if page_number > 1:
            pages |= {"prev": str(min(page_number - 1, max(last_page, 1))), "first": "1"}
        if page_number < last_page:
            pages |= {"next": str(page_number + 1), "last": str(last_page)}
        return self.link_header({rel: {"page": page} for rel, page in pages.items()})

    def link_header(self, rels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Return a ``Link`` header: for each relation the same query with some parameters changed.

        A parameter with the value "" is removed.
        """
        queries = {
            rel: {k: v for k, v in {**self.query_params, **change}.items() if v}
            for rel, change in rels.items()
        }
        links = [f'<{self.url}?{urlencode(query)}>; rel="{rel}"' for rel, query in queries.items()]
        return {"link": ", ".join(links)} if links else {}


Handler = Callable[[ApiRequest], ApiResponse]


def unprocessable_field(field_name: str, message: str) -> ApiError:
    """Return GitHub's 422 for an invalid field."""
    error = {"field": field_name, "code": "custom", "message": message}
    return ApiError(422, "Validation Failed", [error])


def make_endpoint(forge: LocalForge, handler: Handler) -> Callable[[Request], Any]:
    """Return a Starlette endpoint for a handler, which runs in a thread."""

    async def serve_request(request: Request) -> Response:
        try:
            api_request = await _parse_request(forge, request)
            answer = await run_in_threadpool(handler, api_request)
        except ApiError as error:
            return _json_response(_serialize_error(error), error.status)
        except RefLockedError as error:
            log.warning("%s", error)
            return _json_response(_serialize_error(ApiError(503, "Service unavailable")), 503)
        except (OSError, sqlite3.Error) as error:
            if machine_trouble.is_for_want_of_room(error, forge.root):
                forge.outbox.trouble.report(error)
                return _json_response(_serialize_error(disk_full_error()), 507)
            # A broken repository: the client may retry. One line says it all.
            message = await run_in_threadpool(_find_damage, forge, request.path_params)
            if not message:
                log.error("%s %s: %s", request.method, request.url.path, error)  # noqa: TRY400
            return _json_response(_serialize_error(ApiError(500, message or "Server Error")), 500)
        response = _json_response(answer.data, answer.status, answer.headers)
        if request.method == "GET" and answer.status == 200:
            return _with_etag(request, response)
        return response

    return serve_request


def _find_damage(forge: LocalForge, path_params: Mapping[str, str]) -> str:
    """Return what is wrong with the repository of a request; "" if git can use it."""
    name = f"{path_params.get('owner')}/{path_params.get('repo')}"
    repo = forge.repositories.find_repo(name)
    return repository_damage.find_damage(name, repo.git_dir) if repo is not None else ""


def disk_full_error() -> ApiError:
    """Return the error of a request that finds no room."""
    return ApiError(507, machine_trouble.DISK_FULL)


async def _parse_request(forge: LocalForge, request: Request) -> ApiRequest:
    user = auth.authenticate_user(request.headers.get("authorization", ""), forge.service_token)
    return ApiRequest(
        forge=forge,
        urls=ForgeUrls(f"{request.url.scheme}://{request.url.netloc}"),
        url=str(request.url.replace(query="")),
        path_params=request.path_params,
        query_params=request.query_params,
        user=user,
        body=await _read_json_body(request) if request.method == "POST" else {},
    )


async def _read_json_body(request: Request) -> Mapping[str, Any]:
    try:
        body = json.loads(await read_body(request, REQUEST_BYTES_MAX) or b"{}")
    except TooLargeError as error:
        raise ApiError(413, "Payload too large") from error
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise ApiError(400, "Problems parsing JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "Body should be a JSON object")
    return body


def _serialize_error(error: ApiError) -> dict[str, Any]:
    errors = {"errors": error.errors} if error.errors else {}
    return {
        "message": error.message,
        **errors,
        "documentation_url": _DOCS_URL,
        "status": str(error.status),
    }


def _json_response(
    data: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(content, status, dict(headers or {}), "application/json; charset=utf-8")


def _with_etag(request: Request, response: Response) -> Response:
    """Return the response with its ETag, or 304 if the client has it already.

    As on GitHub, an ETag is valid for one token only.
    """
    authorization = request.headers.get("authorization", "")
    digest = hashlib.sha256(authorization.encode() + b"\n" + bytes(response.body))
    tag = f'"{digest.hexdigest()}"'
    known_tags = {
        text.strip().removeprefix("W/")
        for text in request.headers.get("if-none-match", "").split(",")
    }
    if known_tags & {"*", tag}:
        response = Response(status_code=304)
    response.headers["etag"] = f"W/{tag}"
    response.headers["cache-control"] = "private, no-cache"
    return response


def _is_valid_unicode(text: str) -> bool:
    """Return True if the text is valid Unicode: JSON can hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
