"""Check runs in the API, stored as notes.

The Re-run button is a request too, and is reported by a webhook.
"""

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
from fyre.local_forge.storage.git_notes import NoteRecord
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
    """Handle ``POST …/check-runs``, which only Apps may send."""
    repo, user = request.repo, request.authenticated_user
    if user.type != "Bot":
        raise ApiError(403, _APPS_ONLY_MESSAGE)
    record = {
        **_validate_check_run(request),
        "id": request.forge.database.next_id(),
        "app": user.login.partition("[")[0],
    }
    sha = request.body_text("head_sha") or ""
    commit_api.require_commit(request, repo, sha)
    with request.forge.notes_lock(repo):
        request.forge.check_runs.add_commit_note(repo.git_dir, sha, record, lambda _: None)
    return ApiResponse(serialize_check_run(repo, sha, record, request.urls), 201)


def get_check_runs(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits/{ref}/check-runs``: the latest of each name, or all, by ``filter``."""
    repo = request.repo
    sha = commit_api.require_ref(request, repo, request.path_params["ref"])
    name = request.query_params.get("check_name")
    records = request.forge.check_runs.read_commit_notes(repo.git_dir, sha)[::-1]
    records = [record for record in records if name in (None, record["name"])]
    if request.query_params.get("filter", "latest") == "latest":
        records = list({record["name"]: record for record in reversed(records)}.values())
    page = request.paginate(
        records, lambda record: serialize_check_run(repo, sha, record, request.urls)
    )
    return ApiResponse({"total_count": len(records), "check_runs": page.data}, headers=page.headers)


def post_check_run_rerequest(request: ApiRequest) -> ApiResponse:
    """Handle ``POST …/check-runs/{id}/rerequest``, the Re-run button: notify the App by webhook."""
    repo, user, number = request.repo, request.authenticated_user, request.path_number("id")
    for sha, record in request.forge.check_runs.iter_notes(repo.git_dir):
        if record.get("id") == number:
            database = request.forge.database
            webhook_delivery.add_rerequest_event(database, repo, sha, record, user.login)
            request.forge.outbox.schedule_repo(repo.name)
            return ApiResponse({}, 201)
    raise ApiError(404, NOT_FOUND)


def _validate_check_run(request: ApiRequest) -> NoteRecord:
    name, conclusion = request.body_text("name") or "", request.body_text("conclusion")
    if not name:
        raise unprocessable_field("name", "name can't be blank")
    if conclusion not in CONCLUSIONS:
        message = f"conclusion must be one of {', '.join(CONCLUSIONS)}"
        raise unprocessable_field("conclusion", message)
    output = request.body.get("output")
    required = ("title", "summary")
    if not isinstance(output, dict) or not all(isinstance(output.get(k), str) for k in required):
        raise unprocessable_field("output", "output needs a title and a summary")
    if any(len(output.get(key) or "") > OUTPUT_LENGTH_MAX for key in ("summary", "text")):
        message = f"summary and text hold {OUTPUT_LENGTH_MAX} characters at most"
        raise unprocessable_field("output", message)
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
