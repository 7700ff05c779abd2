"""The one webhook of a repository, and its deliveries, in the API."""

from __future__ import annotations

import json
import sqlite3
import zlib

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import Json
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call
from fyre.local_forge.storage.repository_store import Bare
from fyre.local_forge.webhooks import webhook_sender

EVENTS = ["commit_comment", "push"]


def list_hooks(call: Call) -> Answer:
    """``GET …/hooks``: the forge's receiver hears of every repository, so there is always one."""
    bare = call.bare
    _ = call.writer  # GitHub shows hooks to admins
    return call.page([bare], lambda one: _hook(call, one))


def list_deliveries(call: Call) -> Answer:
    """``GET …/hooks/{hook}/deliveries``, newest first; ``cursor`` is the id of the last one that was shown."""
    bare = _hooked(call)
    size, cursor = call.number("per_page", 30, 100), call.number("cursor", 1 << 62, 1 << 62)
    wanted = {
        "success": "and status_code between 200 and 299",
        "failure": "and status_code not between 200 and 299",
    }
    rows = call.forge.store.ask(
        f"select * from deliveries where repo = ? and id < ? {wanted.get(call.query.get('status', ''), '')}"  # noqa: S608 - our own words
        " order by id desc limit ?",
        bare.id, cursor, size + 1,
    )  # fmt: skip
    more = {"next": {"cursor": str(rows[size - 1]["id"])}} if len(rows) > size else {}
    return Answer([_delivery(bare, row) for row in rows[:size]], headers=call.link(more))


def get_delivery(call: Call) -> Answer:
    """``GET …/hooks/{hook}/deliveries/{delivery}``, with what was sent and what was answered."""
    bare = _hooked(call)
    row = _row(call, bare)
    body = zlib.decompress(row["payload"])
    sent = webhook_sender.headers(
        call.forge.webhook_secret.encode(), row["event"], row["guid"], bare.id, body
    )
    said = row["response"].decode(errors="replace")
    whole = {
        **_delivery(bare, row),
        "url": "",
        "request": {"headers": sent, "payload": json.loads(body)},
        "response": {"headers": {}, "payload": said},
    }
    return Answer(whole)


def post_attempt(call: Call) -> Answer:
    """``POST …/hooks/{hook}/deliveries/{delivery}/attempts``: send it once more."""
    _ = call.writer
    bare = _hooked(call)
    call.forge.outbox.redeliver(bare.name, _row(call, bare)["id"])
    return Answer({}, 202)


def _hooked(call: Call) -> Bare:
    bare = call.bare
    if call.integer("hook") != bare.id or call.user is None:
        raise ApiError(404, NOT_FOUND)
    return bare


def _row(call: Call, bare: Bare) -> sqlite3.Row:
    rows = call.forge.store.ask(
        "select * from deliveries where repo = ? and id = ?", bare.id, call.integer("delivery")
    )
    if not rows:
        raise ApiError(404, NOT_FOUND)
    return rows[0]


def _hook(call: Call, bare: Bare) -> Json:
    url = f"{call.urls.repository(bare.name)}/hooks/{bare.id}"
    at = common_json.moment(bare.created_at)
    last = call.forge.store.ask(
        "select * from deliveries where repo = ? order by id desc limit 1", bare.id
    )
    code, status = (last[0]["status_code"], last[0]["status"]) if last else (None, "unused")
    return {
        "type": "Repository",
        "id": bare.id,
        "name": "web",
        "active": True,
        "events": EVENTS,
        "config": {
            "content_type": "json",
            "insecure_ssl": "0",
            "url": call.forge.outbox.receiver_url or call.urls.base,
        },
        "updated_at": at,
        "created_at": at,
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {"code": code, "status": status, "message": None},
    }


def _delivery(bare: Bare, row: sqlite3.Row) -> Json:
    return {
        "id": row["id"],
        "guid": row["guid"],
        "delivered_at": common_json.moment(row["at"]),
        "redelivery": bool(row["redelivery"]),
        "duration": round(row["duration"], 3),
        "status": row["status"],
        "status_code": row["status_code"],
        "event": row["event"],
        "action": row["action"],
        "installation_id": None,
        "repository_id": bare.id,
        "throttled_at": None,
    }
