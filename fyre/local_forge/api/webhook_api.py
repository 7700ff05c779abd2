"""The one webhook of a repository, and its deliveries, in the API."""

from __future__ import annotations

import json
import sqlite3
import zlib

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import JsonObject
from fyre.local_forge.api.rest import NOT_FOUND, ApiError, ApiRequest, ApiResponse
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.local_forge.webhooks import webhook_sender

WEBHOOK_EVENTS = ["commit_comment", "push"]


def list_webhooks(request: ApiRequest) -> ApiResponse:
    """``GET …/hooks``: the forge's receiver hears of every repository, so there is always one."""
    bare = request.repo
    _ = request.authenticated_user  # GitHub shows hooks to admins
    return request.paginate([bare], lambda one: _serialize_webhook(request, one))


def list_deliveries(request: ApiRequest) -> ApiResponse:
    """``GET …/hooks/{hook}/deliveries``, newest first; ``cursor`` is the id of the last one that was shown."""
    bare = _require_webhook(request)
    size, cursor = (
        request.query_number("per_page", 30, 100),
        request.query_number("cursor", 1 << 62, 1 << 62),
    )
    wanted = {
        "success": "and status_code between 200 and 299",
        "failure": "and status_code not between 200 and 299",
    }
    rows = request.forge.database.fetch_rows(
        f"select * from deliveries where repo = ? and id < ? {wanted.get(request.query_params.get('status', ''), '')}"  # noqa: S608 - our own words
        " order by id desc limit ?",
        bare.id, cursor, size + 1,
    )  # fmt: skip
    more = {"next": {"cursor": str(rows[size - 1]["id"])}} if len(rows) > size else {}
    return ApiResponse(
        [_serialize_delivery(bare, row) for row in rows[:size]], headers=request.link_header(more)
    )


def get_delivery(request: ApiRequest) -> ApiResponse:
    """``GET …/hooks/{hook}/deliveries/{delivery}``, with what was sent and what was answered."""
    bare = _require_webhook(request)
    row = _find_delivery(request, bare)
    body = zlib.decompress(row["payload"])
    sent = webhook_sender.delivery_headers(
        request.forge.webhook_secret.encode(), row["event"], row["guid"], bare.id, body
    )
    said = row["response"].decode(errors="replace")
    whole = {
        **_serialize_delivery(bare, row),
        "url": "",
        "request": {"headers": sent, "payload": json.loads(body)},
        "response": {"headers": {}, "payload": said},
    }
    return ApiResponse(whole)


def post_delivery_attempt(request: ApiRequest) -> ApiResponse:
    """``POST …/hooks/{hook}/deliveries/{delivery}/attempts``: send it once more."""
    _ = request.authenticated_user
    bare = _require_webhook(request)
    request.forge.outbox.queue_redelivery(bare.name, _find_delivery(request, bare)["id"])
    return ApiResponse({}, 202)


def _require_webhook(request: ApiRequest) -> BareRepository:
    bare = request.repo
    if request.path_number("hook") != bare.id or request.user is None:
        raise ApiError(404, NOT_FOUND)
    return bare


def _find_delivery(request: ApiRequest, repo: BareRepository) -> sqlite3.Row:
    rows = request.forge.database.fetch_rows(
        "select * from deliveries where repo = ? and id = ?",
        repo.id,
        request.path_number("delivery"),
    )
    if not rows:
        raise ApiError(404, NOT_FOUND)
    return rows[0]


def _serialize_webhook(request: ApiRequest, repo: BareRepository) -> JsonObject:
    url = f"{request.urls.repo_api_url(repo.name)}/hooks/{repo.id}"
    at = common_json.format_iso_time(repo.created_at)
    last = request.forge.database.fetch_rows(
        "select * from deliveries where repo = ? order by id desc limit 1", repo.id
    )
    code, status = (last[0]["status_code"], last[0]["status"]) if last else (None, "unused")
    return {
        "type": "Repository",
        "id": repo.id,
        "name": "web",
        "active": True,
        "events": WEBHOOK_EVENTS,
        "config": {
            "content_type": "json",
            "insecure_ssl": "0",
            "url": request.forge.outbox.receiver_url or request.urls.base_url,
        },
        "updated_at": at,
        "created_at": at,
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {"code": code, "status": status, "message": None},
    }


def _serialize_delivery(repo: BareRepository, row: sqlite3.Row) -> JsonObject:
    return {
        "id": row["id"],
        "guid": row["guid"],
        "delivered_at": common_json.format_iso_time(row["at"]),
        "redelivery": bool(row["redelivery"]),
        "duration": round(row["duration"], 3),
        "status": row["status"],
        "status_code": row["status_code"],
        "event": row["event"],
        "action": row["action"],
        "installation_id": None,
        "repository_id": repo.id,
        "throttled_at": None,
    }
