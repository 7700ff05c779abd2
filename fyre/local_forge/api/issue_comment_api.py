"""Comments on pull requests, which GitHub treats as issue comments, in the API.

They are stored as notes and reported by a webhook.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fyre.local_forge.api import common_json, pull_api, pull_json
from fyre.local_forge.api.commit_comment_api import COMMENT_LENGTH_MAX
from fyre.local_forge.api.common_json import JsonObject
from fyre.local_forge.api.rest import ApiRequest, ApiResponse, unprocessable_field
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.local_forge.storage.note_forms import pull_to_json
from fyre.local_forge.webhooks import webhook_delivery


def post_issue_comment(request: ApiRequest) -> ApiResponse:
    """Handle ``POST …/issues/{number}/comments``."""
    repo, user = request.repo, request.authenticated_user
    pull = pull_api.find_pull_request(request.forge, repo, request.path_number("number"))
    body = request.body_text("body", max_length=COMMENT_LENGTH_MAX)
    if not body or not body.strip():
        raise unprocessable_field("body", "body can't be blank")
    record: NoteRecord = {
        "pull": pull.number,
        "user": user.login,
        "body": body,
        "created_at": common_json.format_iso_time(time.time()),
    }
    record["id"] = request.forge.database.next_id()
    event = webhook_delivery.reserve_comment_event(
        request.forge.database, repo, pull.blob, record, pull_request=pull_to_json(pull)
    )
    with request.forge.notes_lock(repo):
        request.forge.issue_comments.add_commit_note(
            repo.git_dir, pull.blob, record, lambda _: None
        )
    webhook_delivery.release_comment_event(request.forge.database, event)
    request.forge.outbox.schedule_repo(repo.name)
    data = _serialize_comment(request, record)
    return ApiResponse(data, 201, {"location": data["url"]})


def get_issue_comments(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/issues/{number}/comments?since=``, oldest first."""
    repo, since = request.repo, _parse_since(request)
    pull = pull_api.find_pull_request(request.forge, repo, request.path_number("number"))
    records = request.forge.issue_comments.read_commit_notes(repo.git_dir, pull.blob)
    return request.paginate(
        [record for record in records if record["created_at"] >= since],
        lambda record: _serialize_comment(request, record),
    )


def list_issue_comments(request: ApiRequest) -> ApiResponse:
    """Handle ``GET …/issues/comments?since=&direction=``: the comments on all pull requests.

    Oldest first, unless ``direction`` is ``desc``.
    """
    repo, since = request.repo, _parse_since(request)
    records = [
        record
        for _, record in request.forge.issue_comments.iter_notes(repo.git_dir)
        if record["created_at"] >= since
    ]
    newest_first = request.query_params.get("direction") == "desc"
    records.sort(key=lambda record: int(record["id"]), reverse=newest_first)
    return request.paginate(records, lambda record: _serialize_comment(request, record))


def _serialize_comment(request: ApiRequest, record: NoteRecord) -> JsonObject:
    return pull_json.serialize_issue_comment(request.repo, record, request.urls)


def _parse_since(request: ApiRequest) -> str:
    """Return the query's date in the form of ``created_at``, which sorts as text.

    Returns "" if there is none. Raises 422.
    """
    text = request.query_params.get("since", "")
    if not text:
        return ""
    try:
        date = datetime.fromisoformat(text)
        return common_json.format_iso_time(date.replace(tzinfo=date.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise unprocessable_field("since", "since is not a date in ISO 8601") from error
