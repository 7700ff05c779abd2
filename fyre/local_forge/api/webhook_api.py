"""A repository's only webhook and its deliveries, in the API."""

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

_STATUS_CONDITIONS = {
    "success": "and status_code between 200 and 299",
    "failure": "and status_code not between 200 and 299",
}


def list_webhooks(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/hooks``.

    There is always one, because the forge's receiver is told about every repository.
    """
    repo = request.repo
    _ = request.authenticated_user  # GitHub shows hooks to admins
    return request.paginate([repo], lambda repo: _serialize_webhook(request, repo))


def list_deliveries(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/hooks/{hook}/deliveries``, newest first.

    ``cursor`` is the id of the last delivery on the page before.
    """
    repo = _require_webhook(request)
    size = request.query_number("per_page", 30, 100)
    cursor = request.query_number("cursor", 1 << 62, 1 << 62)
    condition = _STATUS_CONDITIONS.get(request.query_params.get("status", ""), "")
    rows = request.forge.database.fetch_rows(
        f"select * from deliveries where repo = ? and id < ? {condition}"  # noqa: S608
        " order by id desc limit ?",
        repo.id,
        cursor,
        size + 1,
    )
    links = {"next": {"cursor": str(rows[size - 1]["id"])}} if len(rows) > size else {}
    deliveries = [_serialize_delivery(repo, row) for row in rows[:size]]
    return ApiResponse(deliveries, headers=request.link_header(links))


def get_delivery(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/hooks/{hook}/deliveries/{delivery}``, with the request and the response."""
    repo = _require_webhook(request)
    row = _find_delivery(request, repo)
    body = zlib.decompress(row["payload"])
    headers = webhook_sender.delivery_headers(
        request.forge.webhook_secret.encode(), row["event"], row["guid"], repo.id, body
    )
    response = row["response"].decode(errors="replace")
    delivery = {
        **_serialize_delivery(repo, row),
        "url": "",
        "request": {"headers": headers, "payload": json.loads(body)},
        "response": {"headers": {}, "payload": response},
    }
    return ApiResponse(delivery)


def post_delivery_attempt(request: ApiRequest) -> ApiResponse:
    """Handle ``POST …/hooks/{hook}/deliveries/{delivery}/attempts``: deliver it again."""
    _ = request.authenticated_user
    repo = _require_webhook(request)
    request.forge.outbox.queue_redelivery(repo.name, _find_delivery(request, repo)["id"])
    return ApiResponse({}, 202)


def _require_webhook(request: ApiRequest) -> BareRepository:
    repo = request.repo
    if request.path_number("hook") != repo.id or request.user is None:
        raise ApiError(404, NOT_FOUND)
    return repo


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
    created_at = common_json.format_iso_time(repo.created_at)
    rows = request.forge.database.fetch_rows(
        "select * from deliveries where repo = ? order by id desc limit 1", repo.id
    )
    code, status = (rows[0]["status_code"], rows[0]["status"]) if rows else (None, "unused")
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
        "updated_at": created_at,
        "created_at": created_at,
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
