"""Commit statuses in the API, kept as notes."""

from __future__ import annotations

import re
import time

from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.common_json import JsonObject
from fyre.local_forge.api.rest import ApiError, ApiRequest, ApiResponse, unprocessable_field
from fyre.local_forge.auth import User
from fyre.local_forge.storage.notes import NoteRecord
from fyre.local_forge.storage.repository_store import BareRepository

STATES = ("error", "failure", "pending", "success")
DESCRIPTION_MAX, CONTEXT_MAX = 140, 255
"""Characters; known from GitHub's refusals, not from its description."""

STATUSES_PER_CONTEXT_MAX = 1000
"""Statuses for one commit and context."""

_HTTP_URL = re.compile(r"https?://\S+", re.ASCII)


def post_status(request: ApiRequest) -> ApiResponse:
    """``POST …/statuses/{sha}``: once this is answered, the note is on disk."""
    bare, who, sha = request.repo, request.authenticated_user, request.path_params["sha"]
    record = _validate_status(request, who)
    if (
        not commit_api.FULL_SHA.fullmatch(sha)
        or request.forge.objects.find_commit_sha(bare.git_dir, sha) != sha
    ):
        raise ApiError(422, f"No commit found for SHA: {sha[:100]}")

    def check_limit(existing: list[NoteRecord]) -> None:
        same = sum(_context_key(one) == _context_key(record) for one in existing)
        if same >= STATUSES_PER_CONTEXT_MAX:
            raise ApiError(422, "Validation Failed", [_limit_error()])
        record["id"] = (
            request.forge.database.next_id()
        )  # within the turn, so that ids and lines have one order

    with request.forge.notes_lock(bare):
        request.forge.statuses.add_commit_note(bare.git_dir, sha, record, check_limit)
    where = f"{request.urls.repo_api_url(bare.name)}/commits/{sha}/statuses"
    return ApiResponse(_serialize_status(request, bare, sha, record), 201, {"location": where})


def get_statuses(request: ApiRequest) -> ApiResponse:
    """``GET …/commits/{ref}/statuses``, newest first."""
    bare = request.repo
    sha = commit_api.require_ref(request, bare, request.path_params["ref"])
    records = request.forge.statuses.read_commit_notes(bare.git_dir, sha)[::-1]
    return request.paginate(records, lambda one: _serialize_status(request, bare, sha, one))


def get_combined_status(request: ApiRequest) -> ApiResponse:
    """``GET …/commits/{ref}/status``: the newest of each context; ``pending`` also when there is none at all."""
    bare = request.repo
    sha = commit_api.require_ref(request, bare, request.path_params["ref"])
    latest = {
        _context_key(one): one
        for one in request.forge.statuses.read_commit_notes(bare.git_dir, sha)
    }
    url = f"{request.urls.repo_api_url(bare.name)}/commits/{sha}"
    page = request.paginate(
        list(latest.values()), lambda one: _serialize_simple_status(request, bare, sha, one)
    )
    combined = {
        "state": combine_states([one["state"] for one in latest.values()]),
        "statuses": page.data,
        "sha": sha,
        "total_count": len(latest),
        "repository": common_json.serialize_minimal_repo(bare, request.urls),
        "commit_url": url,
        "url": f"{url}/status",
    }
    return ApiResponse(combined, headers=page.headers)


def combine_states(states: list[str]) -> str:
    """GitHub's rule for all contexts together."""
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
    if any(
        ord(character) > 0xFFFF for character in description or ""
    ):  # as GitHub, whose database is older than them
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
    said = "This SHA and context has reached the maximum number of statuses."
    return {"resource": "Status", "code": "custom", "message": said}


def _context_key(record: NoteRecord) -> str:
    return str(record.get("context", "default")).lower()


def _serialize_simple_status(
    request: ApiRequest, repo: BareRepository, sha: str, record: NoteRecord
) -> JsonObject:
    creator = User(record.get("creator", ""))
    at = record.get("created_at", "")
    return {
        "url": f"{request.urls.repo_api_url(repo.name)}/statuses/{sha}",
        "avatar_url": f"{request.urls.base_url}/avatars/{creator.id}",
        "id": record.get("id", 0),
        "node_id": common_json.node_id("Status", record.get("id", 0)),
        **{key: record.get(key) for key in ("state", "description", "target_url", "context")},
        "created_at": at,
        "updated_at": at,
    }


def _serialize_status(
    request: ApiRequest, repo: BareRepository, sha: str, record: NoteRecord
) -> JsonObject:
    return {
        **_serialize_simple_status(request, repo, sha, record),
        "creator": common_json.serialize_user(User(record.get("creator", "")), request.urls),
    }
