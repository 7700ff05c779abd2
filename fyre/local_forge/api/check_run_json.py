"""Check runs as GitHub's JSON."""

from __future__ import annotations

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.auth import User
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.local_forge.storage.repository_store import BareRepository

CHECK_RUNS_REF = "refs/notes/fyre/checks"


def serialize_check_run(
    repo: BareRepository, sha: str, record: NoteRecord, urls: ForgeUrls
) -> JsonObject:
    """Return GitHub's ``check-run``."""
    url = f"{urls.repo_api_url(repo.name)}/check-runs/{record['id']}"
    page = f"{urls.repo_page_url(repo.name)}/runs/{record['id']}"
    stored = ("id", "name", "external_id", "conclusion", "started_at", "completed_at")
    return {
        **{key: record.get(key) for key in stored},
        "node_id": common_json.node_id("CheckRun", record["id"]),
        "head_sha": sha,
        "status": "completed",
        "url": url,
        "html_url": page,
        "details_url": record.get("details_url") or page,
        "output": {
            **record["output"],
            "annotations_count": 0,
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": _serialize_check_suite(repo, sha, record, urls),
        "app": _serialize_app(record, urls),
        "pull_requests": [],
    }


def _serialize_check_suite(
    repo: BareRepository, sha: str, record: NoteRecord, urls: ForgeUrls
) -> JsonObject:
    """Return GitHub's ``check-suite``: all check runs of an App on a commit.

    Nothing is stored for it.
    """
    number, completed_at = int(sha[:12], 16), record["completed_at"]
    return {
        "id": number,
        "node_id": common_json.node_id("CheckSuite", number),
        "head_branch": repo.default_branch,
        "head_sha": sha,
        "status": "completed",
        "conclusion": record["conclusion"],
        "url": f"{urls.repo_api_url(repo.name)}/check-suites/{number}",
        "before": None,
        "after": sha,
        "pull_requests": [],
        "app": _serialize_app(record, urls),
        "created_at": completed_at,
        "updated_at": completed_at,
    }


def _serialize_app(record: NoteRecord, urls: ForgeUrls) -> JsonObject:
    user, completed_at = User(f"{record['app']}[bot]"), record["completed_at"]
    return {
        "id": user.id,
        "slug": record["app"],
        "node_id": common_json.node_id("App", user.id),
        "owner": common_json.serialize_user(user, urls),
        "name": record["app"],
        "description": "",
        "external_url": urls.base_url,
        "html_url": f"{urls.base_url}/apps/{record['app']}",
        "created_at": completed_at,
        "updated_at": completed_at,
        "permissions": {
            "checks": "write",
            "contents": "read",
            "metadata": "read",
            "statuses": "write",
        },
        "events": ["check_run", "push"],
    }
