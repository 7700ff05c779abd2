"""Users, repositories and what was pushed, in the API."""

from __future__ import annotations

import sqlite3
import time

from fyre.local_forge import auth
from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import JsonObject
from fyre.local_forge.api.rest import NOT_FOUND, ApiError, ApiRequest, ApiResponse
from fyre.local_forge.auth import User
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.local_forge.webhooks import webhook_delivery
from fyre.runs.run import ZERO_SHA

_DAY_SECONDS = 86_400
TIME_PERIODS = {
    "day": _DAY_SECONDS,
    "week": 7 * _DAY_SECONDS,
    "month": 31 * _DAY_SECONDS,
    "quarter": 92 * _DAY_SECONDS,
    "year": 366 * _DAY_SECONDS,
}

_ACTIVITY_TYPE_SQL = (
    f"case when after = '{ZERO_SHA}' then 'branch_deletion' when before = '{ZERO_SHA}' then 'branch_creation'"
    " when forced then 'force_push' else 'push' end"
)

RATE_LIMIT = 5000
"""Requests an hour that GitHub grants; here nothing is counted."""


def get_user(request: ApiRequest) -> ApiResponse:
    """``GET /user``: who the token says one is."""
    who, at = request.authenticated_user, common_json.format_iso_time(0)
    unknown = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    return ApiResponse(
        {
            **common_json.serialize_user(who, request.urls),
            **unknown,
            **counts,
            "blog": "",
            "created_at": at,
            "updated_at": at,
        }
    )


def get_user_repos(request: ApiRequest) -> ApiResponse:
    """``GET /user/repos``: all of them."""
    _ = request.authenticated_user
    rights = {"permissions": dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)}
    return request.paginate(
        list(request.forge.repositories),
        lambda bare: common_json.serialize_repo(bare, request.urls) | rights,
    )


def get_repository(request: ApiRequest) -> ApiResponse:
    """``GET /repos/{owner}/{repo}``."""
    request.forge.outbox.collect_pushes(request.repo)  # the first push names the default branch
    return ApiResponse(common_json.serialize_full_repo(request.repo, request.urls))


def get_permission(request: ApiRequest) -> ApiResponse:
    """``GET …/collaborators/{username}/permission``: whoever can reach the loopback is an admin."""
    _ = request.repo
    login = auth.valid_login(request.path_params["username"])
    if not login:
        raise ApiError(404, NOT_FOUND)
    rights = dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)
    user = {
        **common_json.serialize_user(User(login), request.urls),
        "permissions": rights,
        "role_name": "admin",
    }
    return ApiResponse({"permission": "admin", "role_name": "admin", "user": user})


def get_rate_limit(request: ApiRequest) -> ApiResponse:
    """``GET /rate_limit``: always all of it."""
    del request
    rate = {
        "limit": RATE_LIMIT,
        "used": 0,
        "remaining": RATE_LIMIT,
        "reset": int(time.time()) + 3600,
    }
    resources = {"core": rate, "search": rate, "graphql": rate, "integration_manifest": rate}
    return ApiResponse({"resources": resources, "rate": rate})


def get_activity(request: ApiRequest) -> ApiResponse:
    """``GET …/activity``: updates of branches, newest first; ``before`` and ``after`` are cursors: an entry's id."""
    bare = request.repo
    request.forge.outbox.collect_pushes(bare)  # a push that git has answered is to be seen
    where, values = _activity_filters(request)
    backwards = bool(request.query_params.get("before"))
    older = (request.query_params.get("direction") != "asc") != backwards
    cursor = request.query_params.get("before") or request.query_params.get("after")
    if cursor:
        where.append("seq < ?" if older else "seq > ?")
        values.append(_parse_cursor(cursor))
    size = request.query_number("per_page", 30, 100)
    rows = request.forge.database.fetch_rows(
        f"select *, {_ACTIVITY_TYPE_SQL} as kind from events where repo = ? and event = 'push' and ref like 'refs/heads/%'"  # noqa: S608
        f" {''.join(f' and {condition}' for condition in where)} order by seq {'desc' if older else 'asc'} limit ?",
        bare.id, *values, size + 1,
    )  # fmt: skip
    shown = rows[:size][::-1] if backwards else rows[:size]
    links = {}
    if shown and (backwards or len(rows) > size):
        links["next"] = {"after": str(shown[-1]["seq"]), "before": ""}
    if shown and (len(rows) > size if backwards else bool(cursor)):
        links["prev"] = {"before": str(shown[0]["seq"]), "after": ""}
    return ApiResponse(
        [_serialize_activity(request, bare, row) for row in shown],
        headers=request.link_header(links),
    )


def _activity_filters(request: ApiRequest) -> tuple[list[str], list[object]]:
    where: list[str] = []
    values: list[object] = []
    for name, condition in (
        ("ref", "ref in (?, 'refs/heads/' || ?)"),
        ("actor", "actor = ?"),
        ("activity_type", f"{_ACTIVITY_TYPE_SQL} = ?"),
    ):
        if request.query_params.get(name):
            where.append(condition)
            values += [request.query_params[name]] * condition.count("?")
    if request.query_params.get("time_period") in TIME_PERIODS:
        where.append("at >= ?")
        values.append(time.time() - TIME_PERIODS[request.query_params["time_period"]])
    return where, values


def _parse_cursor(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(422, "Invalid cursor")
    return int(text)


def _serialize_activity(request: ApiRequest, repo: BareRepository, row: sqlite3.Row) -> JsonObject:
    return {
        "id": row["seq"],
        "node_id": common_json.node_id("Activity", f"{repo.id}.{row['seq']}"),
        "before": row["before"],
        "after": row["after"],
        "ref": row["ref"],
        "timestamp": common_json.format_iso_time(row["at"]),
        "activity_type": row["kind"],
        "actor": common_json.serialize_user(
            webhook_delivery.user_from_actor(row["actor"]), request.urls
        ),
    }
