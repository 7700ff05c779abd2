"""Commit comments in the API, kept as notes and told by a webhook."""

from __future__ import annotations

import time

from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.commit_comment_json import shape
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call, invalid
from fyre.local_forge.storage.notes import Record
from fyre.local_forge.webhooks import webhook_delivery

BODY_MAX = 65_536
"""Characters of a comment."""


def post_comment(call: Call) -> Answer:
    """``POST …/commits/{sha}/comments``."""
    bare, who = call.bare, call.writer
    sha = commit_api.resolved(call, bare, call.path["ref"])
    record = {**_checked(call), "id": call.forge.store.next_id(), "user": who.login}
    event = webhook_delivery.announce_comment(call.forge.store, bare, sha, record)
    with call.forge.turn(bare):
        call.forge.comments.append(bare.git_dir, sha, record, lambda _: None)
    webhook_delivery.release_comment(call.forge.store, event)
    call.forge.outbox.wake(bare.name)
    data = shape(bare, sha, record, call.urls)
    return Answer(data, 201, {"location": data["url"]})


def get_comments(call: Call) -> Answer:
    """``GET …/commits/{sha}/comments``, oldest first."""
    bare = call.bare
    sha = commit_api.resolved(call, bare, call.path["ref"])
    return call.page(
        call.forge.comments.read(bare.git_dir, sha), lambda one: shape(bare, sha, one, call.urls)
    )


def list_comments(call: Call) -> Answer:
    """``GET …/comments``: those of all commits, oldest first."""
    bare = call.bare
    found = sorted(
        call.forge.comments.all(bare.git_dir), key=lambda pair: int(pair[1].get("id", 0))
    )
    return call.page(found, lambda pair: shape(bare, pair[0], pair[1], call.urls))


def get_comment(call: Call) -> Answer:
    """``GET …/comments/{id}``."""
    bare, number = call.bare, call.integer("id")
    for sha, record in call.forge.comments.all(bare.git_dir):
        if record.get("id") == number:
            return Answer(shape(bare, sha, record, call.urls))
    raise ApiError(404, NOT_FOUND)


def _checked(call: Call) -> Record:
    body = call.text("body", most=BODY_MAX)
    if not body or not body.strip():
        raise invalid("body", "body can't be blank")
    position, line = call.body.get("position"), call.body.get("line")
    for name, value in (("position", position), ("line", line)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise invalid(name, f"{name} is not an integer")
    at = common_json.moment(time.time())
    return {
        "body": body,
        "path": call.text("path"),
        "position": position,
        "line": line,
        "created_at": at,
    }
