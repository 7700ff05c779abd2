"""Commit statuses in the API, kept as notes."""

from __future__ import annotations

import re
import time

from fyre.local_forge.api import commit_api, common_json
from fyre.local_forge.api.common_json import Json
from fyre.local_forge.api.rest import Answer, ApiError, Call, invalid
from fyre.local_forge.auth import User
from fyre.local_forge.storage.notes import Record
from fyre.local_forge.storage.repository_store import Bare

STATES = ("error", "failure", "pending", "success")
DESCRIPTION_MAX, CONTEXT_MAX = 140, 255
"""Characters; known from GitHub's refusals, not from its description."""

EACH_MAX = 1000
"""Statuses for one commit and context."""

_URL = re.compile(r"https?://\S+", re.ASCII)


def post_status(call: Call) -> Answer:
    """``POST …/statuses/{sha}``: once this is answered, the note is on disk."""
    bare, who, sha = call.bare, call.writer, call.path["sha"]
    record = _checked(call, who)
    if not commit_api.SHA.fullmatch(sha) or call.forge.objects.commit(bare.git_dir, sha) != sha:
        raise ApiError(422, f"No commit found for SHA: {sha[:100]}")

    def room(there: list[Record]) -> None:
        same = sum(_context(one) == _context(record) for one in there)
        if same >= EACH_MAX:
            raise ApiError(422, "Validation Failed", [_full()])
        record["id"] = (
            call.forge.store.next_id()
        )  # within the turn, so that ids and lines have one order

    with call.forge.turn(bare):
        call.forge.statuses.append(bare.git_dir, sha, record, room)
    where = f"{call.urls.repository(bare.name)}/commits/{sha}/statuses"
    return Answer(_shape(call, bare, sha, record), 201, {"location": where})


def get_statuses(call: Call) -> Answer:
    """``GET …/commits/{ref}/statuses``, newest first."""
    bare = call.bare
    sha = commit_api.resolved(call, bare, call.path["ref"])
    records = call.forge.statuses.read(bare.git_dir, sha)[::-1]
    return call.page(records, lambda one: _shape(call, bare, sha, one))


def get_combined(call: Call) -> Answer:
    """``GET …/commits/{ref}/status``: the newest of each context; ``pending`` also when there is none at all."""
    bare = call.bare
    sha = commit_api.resolved(call, bare, call.path["ref"])
    latest = {_context(one): one for one in call.forge.statuses.read(bare.git_dir, sha)}
    url = f"{call.urls.repository(bare.name)}/commits/{sha}"
    page = call.page(list(latest.values()), lambda one: _simple(call, bare, sha, one))
    combined = {
        "state": combine([one["state"] for one in latest.values()]),
        "statuses": page.data,
        "sha": sha,
        "total_count": len(latest),
        "repository": common_json.repository_lite(bare, call.urls),
        "commit_url": url,
        "url": f"{url}/status",
    }
    return Answer(combined, headers=page.headers)


def combine(states: list[str]) -> str:
    """GitHub's rule for all contexts together."""
    if any(state in ("error", "failure") for state in states):
        return "failure"
    return "success" if states and all(state == "success" for state in states) else "pending"


def _checked(call: Call, who: User) -> Record:
    state = call.text("state")
    if state not in STATES:
        raise invalid("state", f"state must be one of {', '.join(STATES)}")
    url = call.text("target_url") or None
    if url is not None and not _URL.fullmatch(url):
        raise invalid("target_url", "target_url must use http(s) scheme")
    description = call.text("description", most=DESCRIPTION_MAX)
    if any(
        ord(character) > 0xFFFF for character in description or ""
    ):  # as GitHub, whose database is older than them
        raise invalid("description", "description doesn't accept 4-byte Unicode")
    return {
        "id": 0,
        "state": state,
        "context": call.text("context", most=CONTEXT_MAX) or "default",
        "description": description,
        "target_url": url,
        "creator": who.login,
        "created_at": common_json.moment(time.time()),
    }


def _full() -> dict[str, str]:
    said = "This SHA and context has reached the maximum number of statuses."
    return {"resource": "Status", "code": "custom", "message": said}


def _context(record: Record) -> str:
    return str(record.get("context", "default")).lower()


def _simple(call: Call, bare: Bare, sha: str, record: Record) -> Json:
    creator = User(record.get("creator", ""))
    at = record.get("created_at", "")
    return {
        "url": f"{call.urls.repository(bare.name)}/statuses/{sha}",
        "avatar_url": f"{call.urls.base}/avatars/{creator.id}",
        "id": record.get("id", 0),
        "node_id": common_json.node_id("Status", record.get("id", 0)),
        **{key: record.get(key) for key in ("state", "description", "target_url", "context")},
        "created_at": at,
        "updated_at": at,
    }


def _shape(call: Call, bare: Bare, sha: str, record: Record) -> Json:
    return {
        **_simple(call, bare, sha, record),
        "creator": common_json.user(User(record.get("creator", "")), call.urls),
    }
