"""Check runs in the API, kept as notes; the Re-run button is a request, told by a webhook."""

from __future__ import annotations

import time

from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.check_run_json import serialize_check_run
from fyre.local_forge.api.rest import (
    NOT_FOUND,
    ApiError,
    ApiRequest,
    ApiResponse,
    unprocessable_field,
)
from fyre.local_forge.storage.notes import NoteRecord
from fyre.local_forge.webhooks import webhook_delivery

OUTPUT_LENGTH_MAX = 65_535
"""Characters of a summary, and of a text."""

CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "skipped",
    "stale",
    "success",
    "timed_out",
)
_APPS_ONLY_MESSAGE = "You must authenticate via a GitHub App."


def post_check_run(request: ApiRequest) -> ApiResponse:
    """``POST …/check-runs``, for Apps alone."""
    bare, who = request.repo, request.authenticated_user
    if who.type != "Bot":
        raise ApiError(403, _APPS_ONLY_MESSAGE)
    record = {
        **_validate_check_run(request),
        "id": request.forge.database.next_id(),
        "app": who.login.partition("[")[0],
    }
    sha = request.body_text("head_sha") or ""
    if (
        not commit_api.FULL_SHA.fullmatch(sha)
        or request.forge.objects.find_commit_sha(bare.git_dir, sha) != sha
    ):
        raise ApiError(422, f"No commit found for SHA: {sha[:100]}")
    with request.forge.notes_lock(bare):
        request.forge.check_runs.add_commit_note(bare.git_dir, sha, record, lambda _: None)
    return ApiResponse(serialize_check_run(bare, sha, record, request.urls), 201)


def get_check_runs(request: ApiRequest) -> ApiResponse:
    """``GET …/commits/{ref}/check-runs``: the newest of each name, or all of them, by ``filter``."""
    bare = request.repo
    sha = commit_api.require_ref(request, bare, request.path_params["ref"])
    name, which = (
        request.query_params.get("check_name"),
        request.query_params.get("filter", "latest"),
    )
    found = [
        one
        for one in request.forge.check_runs.read_commit_notes(bare.git_dir, sha)[::-1]
        if name in (None, one["name"])
    ]
    if which == "latest":
        found = list({one["name"]: one for one in reversed(found)}.values())
    page = request.paginate(found, lambda one: serialize_check_run(bare, sha, one, request.urls))
    return ApiResponse({"total_count": len(found), "check_runs": page.data}, headers=page.headers)


def post_check_run_rerequest(request: ApiRequest) -> ApiResponse:
    """``POST …/check-runs/{id}/rerequest``: what the Re-run button does; whoever made it is told."""
    bare, who, number = request.repo, request.authenticated_user, request.path_number("id")
    for sha, record in request.forge.check_runs.iter_notes(bare.git_dir):
        if record.get("id") == number:
            webhook_delivery.add_rerequest_event(
                request.forge.database, bare, sha, record, who.login
            )
            request.forge.outbox.schedule_repo(bare.name)
            return ApiResponse({}, 201)
    raise ApiError(404, NOT_FOUND)


def _validate_check_run(request: ApiRequest) -> NoteRecord:
    name, conclusion = request.body_text("name") or "", request.body_text("conclusion")
    if not name:
        raise unprocessable_field("name", "name can't be blank")
    if conclusion not in CONCLUSIONS:
        raise unprocessable_field(
            "conclusion", f"conclusion must be one of {', '.join(CONCLUSIONS)}"
        )
    output = request.body.get("output")
    if not isinstance(output, dict) or not all(
        isinstance(output.get(key), str) for key in ("title", "summary")
    ):
        raise unprocessable_field("output", "output needs a title and a summary")
    if any(len(output.get(key) or "") > OUTPUT_LENGTH_MAX for key in ("summary", "text")):
        raise unprocessable_field(
            "output", f"summary and text hold {OUTPUT_LENGTH_MAX} characters at most"
        )
    now = common_json.format_iso_time(time.time())
    return {
        "name": name,
        "conclusion": conclusion,
        "external_id": request.body_text("external_id") or "",
        "details_url": request.body_text("details_url"),
        "started_at": request.body_text("started_at") or now,
        "completed_at": request.body_text("completed_at") or now,
        "output": {key: output.get(key) for key in ("title", "summary", "text")},
    }
