"""Comments of pull requests, which GitHub keeps as comments of issues: in the API, as notes, told by a webhook."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fyre.local_forge.api import common_json, pull_api, pull_json
from fyre.local_forge.api.commit_comment_api import BODY_MAX
from fyre.local_forge.api.common_json import Json
from fyre.local_forge.api.rest import Answer, Call, invalid
from fyre.local_forge.storage.notes import Record
from fyre.local_forge.storage.stored_notes import pull_to_json
from fyre.local_forge.webhooks import webhook_delivery


def post_comment(call: Call) -> Answer:
    """``POST …/issues/{number}/comments``."""
    bare, who = call.bare, call.writer
    pull = pull_api.find(call.forge, bare, call.integer("number"))
    body = call.text("body", most=BODY_MAX)
    if not body or not body.strip():
        raise invalid("body", "body can't be blank")
    record: Record = {
        "pull": pull.number,
        "user": who.login,
        "body": body,
        "created_at": common_json.moment(time.time()),
    }
    record["id"] = call.forge.store.next_id()
    event = webhook_delivery.announce_comment(
        call.forge.store, bare, pull.blob, record, about=pull_to_json(pull)
    )
    with call.forge.turn(bare):
        call.forge.conversations.append(bare.git_dir, pull.blob, record, lambda _: None)
    webhook_delivery.release_comment(call.forge.store, event)
    call.forge.outbox.wake(bare.name)
    data = _shape(call, record)
    return Answer(data, 201, {"location": data["url"]})


def get_comments(call: Call) -> Answer:
    """``GET …/issues/{number}/comments?since=``, oldest first."""
    bare, since = call.bare, _since(call)
    pull = pull_api.find(call.forge, bare, call.integer("number"))
    found = call.forge.conversations.read(bare.git_dir, pull.blob)
    return call.page(
        [one for one in found if one["created_at"] >= since], lambda one: _shape(call, one)
    )


def list_comments(call: Call) -> Answer:
    """``GET …/issues/comments?since=&direction=``: those of all pull requests, oldest first unless asked otherwise."""
    bare, since = call.bare, _since(call)
    found = [
        one for _, one in call.forge.conversations.all(bare.git_dir) if one["created_at"] >= since
    ]
    newest_first = call.query.get("direction") == "desc"
    found.sort(key=lambda one: int(one["id"]), reverse=newest_first)
    return call.page(found, lambda one: _shape(call, one))


def _shape(call: Call, record: Record) -> Json:
    return pull_json.comment(call.bare, record, call.urls)


def _since(call: Call) -> str:
    """The date of the query as comments have theirs, which sort as texts; "" for none. Raises 422."""
    text = call.query.get("since", "")
    try:
        given = datetime.fromisoformat(text) if text else None
        return (
            common_json.moment(given.replace(tzinfo=given.tzinfo or UTC).timestamp())
            if given
            else ""
        )
    except (ValueError, OverflowError) as error:
        raise invalid("since", "since is not a date in ISO 8601") from error
