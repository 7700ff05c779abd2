"""The plumbing of the REST API: requests in, GitHub's answers, errors, pages and ETags out."""

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

from fyre.local_forge import auth
from fyre.local_forge.api.common_json import ForgeUrls
from fyre.local_forge.auth import User
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.storage.notes import RefLockedError
from fyre.local_forge.storage.repository_store import BareRepository

log = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 1024 * 1024
"""Bytes of a request; GitHub's longest comment has 65,536 characters."""

_DOCS_URL = "https://docs.github.com/rest"


class ApiError(Exception):
    """An answer that is an error. ``errors`` is GitHub's list of what is wrong with which field."""

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
    """One request, read."""

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
        found = self.forge.repositories.find_repo(
            f"{self.path_params['owner']}/{self.path_params['repo']}"
        )
        if found is None:
            raise ApiError(404, NOT_FOUND)
        return found

    @property
    def authenticated_user(self) -> User:
        """Who writes. Raises 401 where nobody says who they are."""
        if self.user is None:
            raise ApiError(401, "Requires authentication")
        return self.user

    def query_number(self, name: str, default: int, maximum: int) -> int:
        """A positive integer of the query; GitHub takes its default for what is none."""
        text = self.query_params.get(name, "")
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        return min(value, maximum) or default

    def path_number(self, name: str) -> int:
        """A number of the path. Raises 404."""
        text = self.path_params[name]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ApiError(404, NOT_FOUND)
        return int(text)

    def body_text(
        self, name: str, default: str | None = None, max_length: int = 65_536
    ) -> str | None:
        """A text of the body, or the default where it is null or missing. Raises 422 for anything else."""
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not _is_valid_unicode(value):
            raise unprocessable_field(name, f"{name} is not a string")
        if len(value) > max_length:
            raise unprocessable_field(
                name, f"{name} is too long (maximum is {max_length} characters)"
            )
        return value

    def paginate(
        self, items: Sequence[Any], serialize: Callable[[Any], Any], per_page: int = 30
    ) -> ApiResponse:
        """One page of a list that is at hand."""
        size, number = (
            self.query_number("per_page", per_page, 100),
            self.query_number("page", 1, 1 << 40),
        )
        shown = [serialize(item) for item in items[(number - 1) * size : number * size]]
        return ApiResponse(shown, headers=self.page_links(number, -(-len(items) // size)))

    def page_links(self, page_number: int, last_page: int) -> dict[str, str]:
        """The ``Link`` header of a numbered page."""
        found: dict[str, str] = {}
        if page_number > 1:
            found |= {"prev": str(min(page_number - 1, max(last_page, 1))), "first": "1"}
        if page_number < last_page:
            found |= {"next": str(page_number + 1), "last": str(last_page)}
        return self.link_header({rel: {"page": page} for rel, page in found.items()})

    def link_header(self, rels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """A ``Link`` header: the same query with some things changed (or gone, where "") for each relation."""
        queries = {
            rel: {k: v for k, v in {**self.query_params, **change}.items() if v}
            for rel, change in rels.items()
        }
        text = ", ".join(
            f'<{self.url}?{urlencode(query)}>; rel="{rel}"' for rel, query in queries.items()
        )
        return {"link": text} if text else {}


Handler = Callable[[ApiRequest], ApiResponse]


def unprocessable_field(field_name: str, message: str) -> ApiError:
    """A field that won't do: GitHub's 422."""
    return ApiError(
        422, "Validation Failed", [{"field": field_name, "code": "custom", "message": message}]
    )


def make_endpoint(forge: LocalForge, handler: Handler) -> Callable[[Request], Any]:
    """A Starlette endpoint that reads the request, runs the handler in a thread, and writes its answer."""

    async def serve_request(request: Request) -> Response:
        try:
            call = await _parse_request(forge, request)
            answer = await run_in_threadpool(handler, call)
        except ApiError as error:
            return _json_response(_serialize_error(error), error.status)
        except RefLockedError as error:
            log.warning("%s", error)
            return _json_response(_serialize_error(ApiError(503, "Service unavailable")), 503)
        except (
            OSError,
            sqlite3.Error,
        ) as error:  # a full disk, a broken repository: whoever asks may ask again
            log.error("%s %s: %s", request.method, request.url.path, error)  # noqa: TRY400 - a line says it
            return _json_response(_serialize_error(ApiError(500, "Server Error")), 500)
        response = _json_response(answer.data, answer.status, answer.headers)
        return (
            _with_etag(request, response)
            if request.method == "GET" and answer.status == 200
            else response
        )

    return serve_request


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
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > REQUEST_BYTES_MAX:
                raise ApiError(413, "Payload too large")
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise ApiError(400, "Problems parsing JSON") from error
    if not isinstance(found, dict):
        raise ApiError(400, "Body should be a JSON object")
    return found


def _serialize_error(error: ApiError) -> dict[str, Any]:
    listed = {"errors": error.errors} if error.errors else {}
    return {
        "message": error.message,
        **listed,
        "documentation_url": _DOCS_URL,
        "status": str(error.status),
    }


def _json_response(
    data: Any,  # noqa: ANN401
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(content, status, dict(headers or {}), "application/json; charset=utf-8")


def _with_etag(request: Request, response: Response) -> Response:
    """The answer with its ETag, or 304 when the client has it already; as GitHub's, a tag holds for one token alone."""
    told = request.headers.get("authorization", "").encode() + b"\n" + bytes(response.body)
    tag = f'W/"{hashlib.sha256(told).hexdigest()}"'
    given = {
        one.strip().removeprefix("W/")
        for one in request.headers.get("if-none-match", "").split(",")
    }
    fresh = Response(status_code=304) if given & {"*", tag.removeprefix("W/")} else response
    fresh.headers["etag"] = tag
    fresh.headers["cache-control"] = "private, no-cache"
    return fresh


def _is_valid_unicode(text: str) -> bool:
    """Whether it is Unicode: JSON can say half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
