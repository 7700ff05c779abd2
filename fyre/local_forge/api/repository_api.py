"""Users, repositories, permissions and activity in the API."""

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
    f"case when after = '{ZERO_SHA}' then 'branch_deletion'"
    f" when before = '{ZERO_SHA}' then 'branch_creation'"
    " when forced then 'force_push' else 'push' end"
)

RATE_LIMIT = 5000
"""Requests an hour that GitHub allows; the local forge counts none."""


def get_user(request: ApiRequest) -> ApiResponse:
    """Handle ``GET /user``: the user that the token names."""
    user, epoch = request.authenticated_user, common_json.format_iso_time(0)
    unknown = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    return ApiResponse(
        {
            **common_json.serialize_user(user, request.urls),
            **unknown,
            **counts,
            "blog": "",
            "created_at": epoch,
            "updated_at": epoch,
        }
    )


def get_user_repos(request: ApiRequest) -> ApiResponse:
    """Handle ``GET /user/repos``: all repositories."""
    _ = request.authenticated_user
    permissions = {"permissions": common_json.ALL_PERMISSIONS}
    return request.paginate(
        list(request.forge.repositories),
        lambda repo: common_json.serialize_repo(repo, request.urls) | permissions,
    )


def get_repository(request: ApiRequest) -> ApiResponse:
    """Handle ``GET /repos/{owner}/{repo}``."""
    request.forge.outbox.collect_pushes(request.repo)  # the first push sets the default branch
    return ApiResponse(common_json.serialize_full_repo(request.repo, request.urls))


def get_permission(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/collaborators/{username}/permission``.

    Everybody who reaches the loopback is an admin.
    """
    _ = request.repo
    login = auth.valid_login(request.path_params["username"])
    if not login:
        raise ApiError(404, NOT_FOUND)
    user = {
        **common_json.serialize_user(User(login), request.urls),
        "permissions": common_json.ALL_PERMISSIONS,
        "role_name": "admin",
    }
    return ApiResponse({"permission": "admin", "role_name": "admin", "user": user})


def get_rate_limit(request: ApiRequest) -> ApiResponse:
    """Handle ``GET /rate_limit``: always the full limit."""
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
    """Handle ``GET …/activity``: updates of branches, newest first.

    ``before`` and ``after`` are cursors: an entry's id.
    """
    repo = request.repo
    request.forge.outbox.collect_pushes(repo)  # a push that git has accepted must be listed
    conditions, values = _activity_filters(request)
    backwards = bool(request.query_params.get("before"))
    older = (request.query_params.get("direction") != "asc") != backwards
    cursor = request.query_params.get("before") or request.query_params.get("after")
    if cursor:
        conditions.append("seq < ?" if older else "seq > ?")
        values.append(_parse_cursor(cursor))
    size = request.query_number("per_page", 30, 100)
    rows = request.forge.database.fetch_rows(
        f"select *, {_ACTIVITY_TYPE_SQL} as kind from events"  # noqa: S608 - our own text
        " where repo = ? and event = 'push' and ref like 'refs/heads/%'"
        f" {''.join(f' and {condition}' for condition in conditions)}"
        f" order by seq {'desc' if older else 'asc'} limit ?",
        repo.id,
        *values,
        size + 1,
    )
    page, has_more = rows[:size][::-1] if backwards else rows[:size], len(rows) > size
    links = {}
    if page and (backwards or has_more):
        links["next"] = {"after": str(page[-1]["seq"]), "before": ""}
    if page and (has_more if backwards else bool(cursor)):
        links["prev"] = {"before": str(page[0]["seq"]), "after": ""}
    activities = [_serialize_activity(request, repo, row) for row in page]
    return ApiResponse(activities, headers=request.link_header(links))


def _activity_filters(request: ApiRequest) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    for name, condition in (
        ("ref", "ref in (?, 'refs/heads/' || ?)"),
        ("actor", "actor = ?"),
        ("activity_type", f"{_ACTIVITY_TYPE_SQL} = ?"),
    ):
        if request.query_params.get(name):
            conditions.append(condition)
            values += [request.query_params[name]] * condition.count("?")
    if request.query_params.get("time_period") in TIME_PERIODS:
        conditions.append("at >= ?")
        values.append(time.time() - TIME_PERIODS[request.query_params["time_period"]])
    return conditions, values


def _parse_cursor(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(422, "Invalid cursor")
    return int(text)


def _serialize_activity(request: ApiRequest, repo: BareRepository, row: sqlite3.Row) -> JsonObject:
    actor = webhook_delivery.user_from_actor(row["actor"])
    return {
        "id": row["seq"],
        "node_id": common_json.node_id("Activity", f"{repo.id}.{row['seq']}"),
        "before": row["before"],
        "after": row["after"],
        "ref": row["ref"],
        "timestamp": common_json.format_iso_time(row["at"]),
        "activity_type": row["kind"],
        "actor": common_json.serialize_user(actor, request.urls),
    }
