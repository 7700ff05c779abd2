"""Commit statuses in the API, stored as notes."""

from __future__ import annotations

import re
import time

from fyre.local_forge import machine_trouble
from fyre.local_forge.api import commit_api, common_json, rest
from fyre.local_forge.api.common_json import JsonObject
from fyre.local_forge.api.rest import ApiError, ApiRequest, ApiResponse, unprocessable_field
from fyre.local_forge.auth import User
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.local_forge.storage.repository_store import BareRepository

STATES = ("error", "failure", "pending", "success")
DESCRIPTION_MAX, CONTEXT_MAX = 140, 255
"""Characters; known from GitHub's error responses, not from its documentation."""

STATUSES_PER_CONTEXT_MAX = 1000
"""Statuses for one commit and context."""

_HTTP_URL = re.compile(r"https?://\S+", re.ASCII)


def post_status(request: ApiRequest) -> ApiResponse:
    """Handle ``POST …/statuses/{sha}``: the note is on disk before the response is sent."""
    repo, sha = request.repo, request.path_params["sha"]
    record = _validate_status(request, request.authenticated_user)
    commit_api.require_commit(request, repo, sha)

    def check_limit(existing: list[NoteRecord]) -> None:
        context = _context_key(record)
        same = sum(_context_key(each) == context for each in existing)
        if same >= STATUSES_PER_CONTEXT_MAX:
            raise ApiError(422, "Validation Failed", [_limit_error()])
        # Under the lock, so that ids and lines are in the same order.
        record["id"] = request.forge.database.next_id()

    with request.forge.notes_lock(repo):
        request.forge.statuses.add_commit_note(repo.git_dir, sha, record, check_limit)
    location = f"{request.urls.repo_api_url(repo.name)}/commits/{sha}/statuses"
    return ApiResponse(_serialize_status(request, repo, sha, record), 201, {"location": location})


def get_statuses(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits/{ref}/statuses``, newest first."""
    repo = request.repo
    sha = commit_api.require_ref(request, repo, request.path_params["ref"])
    records = _read_statuses(request, repo, sha)[::-1]
    return request.paginate(records, lambda record: _serialize_status(request, repo, sha, record))


def get_combined_status(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits/{ref}/status``: the newest status of each context.

    The combined state is ``pending`` also if there is no status at all.
    """
    repo = request.repo
    sha = commit_api.require_ref(request, repo, request.path_params["ref"])
    records = _read_statuses(request, repo, sha)
    latest = {_context_key(record): record for record in records}
    url = f"{request.urls.repo_api_url(repo.name)}/commits/{sha}"
    page = request.paginate(
        list(latest.values()), lambda record: _serialize_simple_status(request, repo, sha, record)
    )
    combined = {
        "state": combine_states([record["state"] for record in latest.values()]),
        "statuses": page.data,
        "sha": sha,
        "total_count": len(latest),
        "repository": common_json.serialize_minimal_repo(repo, request.urls),
        "commit_url": url,
        "url": f"{url}/status",
    }
    return ApiResponse(combined, headers=page.headers)


def _read_statuses(request: ApiRequest, repo: BareRepository, sha: str) -> list[NoteRecord]:
    """Return the statuses of a commit.

    Raises 507 if there are none, and none could be written now: whoever waits for one is told why.
    """
    records = request.forge.statuses.read_commit_notes(repo.git_dir, sha)
    if not records and machine_trouble.is_disk_full(request.forge.root):
        raise rest.disk_full_error()
    return records


def combine_states(states: list[str]) -> str:
    """Return the combined state of all contexts, by GitHub's rule."""
    if any(state in ("error", "failure") for state in states):
        return "failure"
    return "success" if states and all(state == "success" for state in states) else "pending"


def _validate_status(request: ApiRequest, creator: User) -> NoteRecord:
    state = request.body_text("state")
    if state not in STATES:
        raise unprocessable_field("state", f"state must be one of {', '.join(STATES)}")
    url = request.body_text("target_url") or None
    if url is not None and not _HTTP_URL.fullmatch(url):
        raise unprocessable_field("target_url", "target_url must use http(s) scheme")
    description = request.body_text("description", max_length=DESCRIPTION_MAX)
    # Like GitHub, whose database is older than these characters.
    if any(ord(character) > 0xFFFF for character in description or ""):
        raise unprocessable_field("description", "description doesn't accept 4-byte Unicode")
    return {
        "id": 0,
        "state": state,
        "context": request.body_text("context", max_length=CONTEXT_MAX) or "default",
        "description": description,
        "target_url": url,
        "creator": creator.login,
        "created_at": common_json.format_iso_time(time.time()),
    }


def _limit_error() -> dict[str, str]:
    message = "This SHA and context has reached the maximum number of statuses."
    return {"resource": "Status", "code": "custom", "message": message}


def _context_key(record: NoteRecord) -> str:
    return str(record.get("context", "default")).lower()


def _serialize_simple_status(
    request: ApiRequest, repo: BareRepository, sha: str, record: NoteRecord
) -> JsonObject:
    creator = User(record.get("creator", ""))
    created_at = record.get("created_at", "")
    return {
        "url": f"{request.urls.repo_api_url(repo.name)}/statuses/{sha}",
        "avatar_url": f"{request.urls.base_url}/avatars/{creator.id}",
        "id": record.get("id", 0),
        "node_id": common_json.node_id("Status", record.get("id", 0)),
        **{key: record.get(key) for key in ("state", "description", "target_url", "context")},
        "created_at": created_at,
        "updated_at": created_at,
    }


def _serialize_status(
    request: ApiRequest, repo: BareRepository, sha: str, record: NoteRecord
) -> JsonObject:
    return {
        **_serialize_simple_status(request, repo, sha, record),
        "creator": common_json.serialize_user(User(record.get("creator", "")), request.urls),
    }
