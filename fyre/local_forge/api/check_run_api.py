"""Check runs in the API, kept as notes; the Re-run button is a request, told by a webhook."""

from __future__ import annotations

import time

from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.check_run_json import shape
from fyre.local_forge.api.rest import NOT_FOUND, Answer, ApiError, Call, invalid
from fyre.local_forge.storage.notes import Record
from fyre.local_forge.webhooks import webhook_delivery

TEXT_MAX = 65_535
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
_APPS_ALONE = "You must authenticate via a GitHub App."


def post_check(call: Call) -> Answer:
    """``POST …/check-runs``, for Apps alone."""
    bare, who = call.bare, call.writer
    if who.type != "Bot":
        raise ApiError(403, _APPS_ALONE)
    record = {
        **_checked(call),
        "id": call.forge.store.next_id(),
        "app": who.login.partition("[")[0],
    }
    sha = call.text("head_sha") or ""
    if not commit_api.SHA.fullmatch(sha) or call.forge.objects.commit(bare.git_dir, sha) != sha:
        raise ApiError(422, f"No commit found for SHA: {sha[:100]}")
    with call.forge.turn(bare):
        call.forge.checks.append(bare.git_dir, sha, record, lambda _: None)
    return Answer(shape(bare, sha, record, call.urls), 201)


def get_checks(call: Call) -> Answer:
    """``GET …/commits/{ref}/check-runs``: the newest of each name, or all of them, by ``filter``."""
    bare = call.bare
    sha = commit_api.resolved(call, bare, call.path["ref"])
    name, which = call.query.get("check_name"), call.query.get("filter", "latest")
    found = [
        one
        for one in call.forge.checks.read(bare.git_dir, sha)[::-1]
        if name in (None, one["name"])
    ]
    if which == "latest":
        found = list({one["name"]: one for one in reversed(found)}.values())
    page = call.page(found, lambda one: shape(bare, sha, one, call.urls))
    return Answer({"total_count": len(found), "check_runs": page.data}, headers=page.headers)


def post_rerequest(call: Call) -> Answer:
    """``POST …/check-runs/{id}/rerequest``: what the Re-run button does; whoever made it is told."""
    bare, who, number = call.bare, call.writer, call.integer("id")
    for sha, record in call.forge.checks.all(bare.git_dir):
        if record.get("id") == number:
            webhook_delivery.announce_click(call.forge.store, bare, sha, record, who.login)
            call.forge.outbox.wake(bare.name)
            return Answer({}, 201)
    raise ApiError(404, NOT_FOUND)


def _checked(call: Call) -> Record:
    name, conclusion = call.text("name") or "", call.text("conclusion")
    if not name:
        raise invalid("name", "name can't be blank")
    if conclusion not in CONCLUSIONS:
        raise invalid("conclusion", f"conclusion must be one of {', '.join(CONCLUSIONS)}")
    output = call.body.get("output")
    if not isinstance(output, dict) or not all(
        isinstance(output.get(key), str) for key in ("title", "summary")
    ):
        raise invalid("output", "output needs a title and a summary")
    if any(len(output.get(key) or "") > TEXT_MAX for key in ("summary", "text")):
        raise invalid("output", f"summary and text hold {TEXT_MAX} characters at most")
    now = common_json.moment(time.time())
    return {
        "name": name,
        "conclusion": conclusion,
        "external_id": call.text("external_id") or "",
        "details_url": call.text("details_url"),
        "started_at": call.text("started_at") or now,
        "completed_at": call.text("completed_at") or now,
        "output": {key: output.get(key) for key in ("title", "summary", "text")},
    }
