"""Commit comments in the API, stored as notes and reported by a webhook."""

from __future__ import annotations

import time

from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.commit_comment_json import serialize_commit_comment
from fyre.local_forge.api.rest import (
    NOT_FOUND,
    ApiError,
    ApiRequest,
    ApiResponse,
    unprocessable_field,
)
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.local_forge.webhooks import webhook_delivery

COMMENT_LENGTH_MAX = 65_536
"""Characters of a comment."""


def post_commit_comment(request: ApiRequest) -> ApiResponse:
    """Handle ``POST …/commits/{sha}/comments``."""
    repo, user = request.repo, request.authenticated_user
    sha = commit_api.require_ref(request, repo, request.path_params["ref"])
    record = {
        **_validate_comment(request),
        "id": request.forge.database.next_id(),
        "user": user.login,
    }
    event = webhook_delivery.reserve_comment_event(request.forge.database, repo, sha, record)
    with request.forge.notes_lock(repo):
        request.forge.commit_comments.add_commit_note(repo.git_dir, sha, record, lambda _: None)
    webhook_delivery.release_comment_event(request.forge.database, event)
    request.forge.outbox.schedule_repo(repo.name)
    data = serialize_commit_comment(repo, sha, record, request.urls)
    return ApiResponse(data, 201, {"location": data["url"]})


def get_commit_comments(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/commits/{sha}/comments``, oldest first."""
    repo = request.repo
    sha = commit_api.require_ref(request, repo, request.path_params["ref"])
    return request.paginate(
        request.forge.commit_comments.read_commit_notes(repo.git_dir, sha),
        lambda record: serialize_commit_comment(repo, sha, record, request.urls),
    )


def list_repo_comments(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/comments``: the comments on all commits, oldest first."""
    repo = request.repo
    comments = sorted(
        request.forge.commit_comments.iter_notes(repo.git_dir),
        key=lambda pair: int(pair[1].get("id", 0)),
    )
    return request.paginate(
        comments, lambda pair: serialize_commit_comment(repo, pair[0], pair[1], request.urls)
    )


def get_commit_comment(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/comments/{id}``."""
    repo, number = request.repo, request.path_number("id")
    for sha, record in request.forge.commit_comments.iter_notes(repo.git_dir):
        if record.get("id") == number:
            return ApiResponse(serialize_commit_comment(repo, sha, record, request.urls))
    raise ApiError(404, NOT_FOUND)


def _validate_comment(request: ApiRequest) -> NoteRecord:
    body = request.body_text("body", max_length=COMMENT_LENGTH_MAX)
    if not body or not body.strip():
        raise unprocessable_field("body", "body can't be blank")
    position, line = request.body.get("position"), request.body.get("line")
    for name, value in (("position", position), ("line", line)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise unprocessable_field(name, f"{name} is not an integer")
    return {
        "body": body,
        "path": request.body_text("path"),
        "position": position,
        "line": line,
        "created_at": common_json.format_iso_time(time.time()),
    }
