"""Users, repositories and what was pushed, in the API."""

from __future__ import annotations

import sqlite3
import time

from fyre.local_forge import auth
from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import Json
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call
from fyre.local_forge.auth import User
from fyre.local_forge.storage.repository_store import Bare
from fyre.local_forge.webhooks import webhook_delivery
from fyre.runs.run import ZERO_SHA

_DAY = 86_400
PERIODS = {
    "day": _DAY,
    "week": 7 * _DAY,
    "month": 31 * _DAY,
    "quarter": 92 * _DAY,
    "year": 366 * _DAY,
}

_KIND = (
    f"case when after = '{ZERO_SHA}' then 'branch_deletion' when before = '{ZERO_SHA}' then 'branch_creation'"
    " when forced then 'force_push' else 'push' end"
)

LIMIT = 5000
"""Requests an hour that GitHub grants; here nothing is counted."""


def get_user(call: Call) -> Answer:
    """``GET /user``: who the token says one is."""
    who, at = call.writer, common_json.moment(0)
    unknown = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    return Answer(
        {
            **common_json.user(who, call.urls),
            **unknown,
            **counts,
            "blog": "",
            "created_at": at,
            "updated_at": at,
        }
    )


def get_user_repos(call: Call) -> Answer:
    """``GET /user/repos``: all of them."""
    _ = call.writer
    rights = {"permissions": dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)}
    return call.page(
        list(call.forge.shelf), lambda bare: common_json.repository(bare, call.urls) | rights
    )


def get_repository(call: Call) -> Answer:
    """``GET /repos/{owner}/{repo}``."""
    call.forge.outbox.collect(call.bare)  # the first push names the default branch
    return Answer(common_json.full_repository(call.bare, call.urls))


def get_permission(call: Call) -> Answer:
    """``GET …/collaborators/{username}/permission``: whoever can reach the loopback is an admin."""
    _ = call.bare
    login = auth.login(call.path["username"])
    if not login:
        raise ApiError(404, NOT_FOUND)
    rights = dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)
    user = {**common_json.user(User(login), call.urls), "permissions": rights, "role_name": "admin"}
    return Answer({"permission": "admin", "role_name": "admin", "user": user})


def get_rate_limit(call: Call) -> Answer:
    """``GET /rate_limit``: always all of it."""
    del call
    rate = {"limit": LIMIT, "used": 0, "remaining": LIMIT, "reset": int(time.time()) + 3600}
    resources = {"core": rate, "search": rate, "graphql": rate, "integration_manifest": rate}
    return Answer({"resources": resources, "rate": rate})


def get_activity(call: Call) -> Answer:
    """``GET …/activity``: updates of branches, newest first; ``before`` and ``after`` are cursors: an entry's id."""
    bare = call.bare
    call.forge.outbox.collect(bare)  # a push that git has answered is to be seen
    where, values = _filters(call)
    backwards = bool(call.query.get("before"))
    older = (call.query.get("direction") != "asc") != backwards
    cursor = call.query.get("before") or call.query.get("after")
    if cursor:
        where.append("seq < ?" if older else "seq > ?")
        values.append(_cursor(cursor))
    size = call.number("per_page", 30, 100)
    rows = call.forge.store.ask(
        f"select *, {_KIND} as kind from events where repo = ? and event = 'push' and ref like 'refs/heads/%'"  # noqa: S608
        f" {''.join(f' and {condition}' for condition in where)} order by seq {'desc' if older else 'asc'} limit ?",
        bare.id, *values, size + 1,
    )  # fmt: skip
    shown = rows[:size][::-1] if backwards else rows[:size]
    links = {}
    if shown and (backwards or len(rows) > size):
        links["next"] = {"after": str(shown[-1]["seq"]), "before": ""}
    if shown and (len(rows) > size if backwards else bool(cursor)):
        links["prev"] = {"before": str(shown[0]["seq"]), "after": ""}
    return Answer([_activity(call, bare, row) for row in shown], headers=call.link(links))


def _filters(call: Call) -> tuple[list[str], list[object]]:
    where: list[str] = []
    values: list[object] = []
    for name, condition in (
        ("ref", "ref in (?, 'refs/heads/' || ?)"),
        ("actor", "actor = ?"),
        ("activity_type", f"{_KIND} = ?"),
    ):
        if call.query.get(name):
            where.append(condition)
            values += [call.query[name]] * condition.count("?")
    if call.query.get("time_period") in PERIODS:
        where.append("at >= ?")
        values.append(time.time() - PERIODS[call.query["time_period"]])
    return where, values


def _cursor(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(422, "Invalid cursor")
    return int(text)


def _activity(call: Call, bare: Bare, row: sqlite3.Row) -> Json:
    return {
        "id": row["seq"],
        "node_id": common_json.node_id("Activity", f"{bare.id}.{row['seq']}"),
        "before": row["before"],
        "after": row["after"],
        "ref": row["ref"],
        "timestamp": common_json.moment(row["at"]),
        "activity_type": row["kind"],
        "actor": common_json.user(webhook_delivery.user(row["actor"]), call.urls),
    }
