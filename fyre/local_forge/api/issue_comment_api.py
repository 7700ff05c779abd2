"""Comments of pull requests, which GitHub keeps as comments of issues: in the API, as notes, told by a webhook."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fyre.local_forge.api import common_json, pull_api, pull_json
from fyre.local_forge.api.commit_comment_api import COMMENT_LENGTH_MAX
from fyre.local_forge.api.common_json import JsonObject
from fyre.local_forge.api.rest import ApiRequest, ApiResponse, unprocessable_field
from fyre.local_forge.storage.notes import NoteRecord
from fyre.local_forge.storage.stored_notes import pull_to_json
from fyre.local_forge.webhooks import webhook_delivery


def post_issue_comment(request: ApiRequest) -> ApiResponse:
    """``POST …/issues/{number}/comments``."""
    bare, who = request.repo, request.authenticated_user
    pull = pull_api.find_pull_request(request.forge, bare, request.path_number("number"))
    body = request.body_text("body", max_length=COMMENT_LENGTH_MAX)
    if not body or not body.strip():
        raise unprocessable_field("body", "body can't be blank")
    record: NoteRecord = {
        "pull": pull.number,
        "user": who.login,
        "body": body,
        "created_at": common_json.format_iso_time(time.time()),
    }
    record["id"] = request.forge.database.next_id()
    event = webhook_delivery.reserve_comment_event(
        request.forge.database, bare, pull.blob, record, pull_request=pull_to_json(pull)
    )
    with request.forge.notes_lock(bare):
        request.forge.issue_comments.add_commit_note(
            bare.git_dir, pull.blob, record, lambda _: None
        )
    webhook_delivery.release_comment_event(request.forge.database, event)
    request.forge.outbox.schedule_repo(bare.name)
    data = _serialize_comment(request, record)
    return ApiResponse(data, 201, {"location": data["url"]})


def get_issue_comments(request: ApiRequest) -> ApiResponse:
    """``GET …/issues/{number}/comments?since=``, oldest first."""
    bare, since = request.repo, _parse_since(request)
    pull = pull_api.find_pull_request(request.forge, bare, request.path_number("number"))
    found = request.forge.issue_comments.read_commit_notes(bare.git_dir, pull.blob)
    return request.paginate(
        [one for one in found if one["created_at"] >= since],
        lambda one: _serialize_comment(request, one),
    )


def list_issue_comments(request: ApiRequest) -> ApiResponse:
    """``GET …/issues/comments?since=&direction=``: those of all pull requests, oldest first unless asked otherwise."""
    bare, since = request.repo, _parse_since(request)
    found = [
        one
        for _, one in request.forge.issue_comments.iter_notes(bare.git_dir)
        if one["created_at"] >= since
    ]
    newest_first = request.query_params.get("direction") == "desc"
    found.sort(key=lambda one: int(one["id"]), reverse=newest_first)
    return request.paginate(found, lambda one: _serialize_comment(request, one))


def _serialize_comment(request: ApiRequest, record: NoteRecord) -> JsonObject:
    return pull_json.serialize_issue_comment(request.repo, record, request.urls)


def _parse_since(request: ApiRequest) -> str:
    """The date of the query as comments have theirs, which sort as texts; "" for none. Raises 422."""
    text = request.query_params.get("since", "")
    try:
        given = datetime.fromisoformat(text) if text else None
        return (
            common_json.format_iso_time(given.replace(tzinfo=given.tzinfo or UTC).timestamp())
            if given
            else ""
        )
    except (ValueError, OverflowError) as error:
        raise unprocessable_field("since", "since is not a date in ISO 8601") from error
