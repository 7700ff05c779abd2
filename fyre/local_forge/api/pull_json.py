"""Pull requests, their issues and their comments as GitHub's JSON."""

from __future__ import annotations

from dataclasses import dataclass

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.auth import User
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.local_forge.storage.repository_store import BareRepository

ISSUE_COMMENTS_REF = "refs/notes/fyre/conversations"
"""Ref of the notes that hold comments on pull requests; each note is on a pull request's blob."""


@dataclass(frozen=True, slots=True)
class StoredPullRequest:
    """One pull request, which stays open. Its comments are notes on the object ``blob``."""

    number: int
    title: str
    body: str | None
    user: str
    repository: str  # owner/repo of the head; another one if it is in a fork
    ref: str  # branch of the head
    base: str  # branch of the base
    created_at: str
    blob: str = ""


def serialize_shared_fields(
    repo: BareRepository, pull: StoredPullRequest, urls: ForgeUrls
) -> JsonObject:
    """Return the fields that a pull request and its issue have in common."""
    page = f"{urls.repo_page_url(repo.name)}/pull/{pull.number}"
    return {
        "id": repo.id * 1000 + pull.number,
        "node_id": common_json.node_id("PullRequest", f"{repo.id}.{pull.number}"),
        "number": pull.number,
        "state": "open",
        "locked": False,
        "title": pull.title,
        "body": pull.body,
        "user": common_json.serialize_user(User(pull.user), urls),
        "labels": [],
        "milestone": None,
        "assignee": None,
        "assignees": [],
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "created_at": pull.created_at,
        "updated_at": pull.created_at,
        "closed_at": None,
        "merged_at": None,
        "author_association": "OWNER",
        "active_lock_reason": None,
        "draft": False,
    }


def serialize_issue(repo: BareRepository, pull: StoredPullRequest, urls: ForgeUrls) -> JsonObject:
    """Return the issue that GitHub keeps for each pull request, as a webhook shows it."""
    shared = serialize_shared_fields(repo, pull, urls)
    url = f"{urls.repo_api_url(repo.name)}/issues/{pull.number}"
    pull_only = ("diff_url", "patch_url", "merged_at")
    return {
        **{key: value for key, value in shared.items() if key not in pull_only},
        "url": url,
        "repository_url": urls.repo_api_url(repo.name),
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "comments": 0,
        "reactions": _serialize_reactions(url),
        "performed_via_github_app": None,
        "pull_request": {
            "url": f"{urls.repo_api_url(repo.name)}/pulls/{pull.number}",
            **{key: shared[key] for key in ("html_url", *pull_only)},
        },
    }


def serialize_issue_comment(
    repo: BareRepository, record: NoteRecord, urls: ForgeUrls
) -> JsonObject:
    """Return GitHub's ``issue-comment``."""
    number, created_at = record.get("id", 0), record.get("created_at", "")
    issues_url = f"{urls.repo_api_url(repo.name)}/issues"
    url = f"{issues_url}/comments/{number}"
    return {
        "url": url,
        "html_url": f"{urls.repo_page_url(repo.name)}/pull/{record['pull']}#issuecomment-{number}",
        "issue_url": f"{issues_url}/{record['pull']}",
        "id": number,
        "node_id": common_json.node_id("IssueComment", number),
        "user": common_json.serialize_user(User(record.get("user", "")), urls),
        "body": record.get("body", ""),
        "author_association": "OWNER",
        "created_at": created_at,
        "updated_at": created_at,
        "performed_via_github_app": None,
        "reactions": _serialize_reactions(url),
    }


def _serialize_reactions(url: str) -> JsonObject:
    kinds = ("total_count", "+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
    return {"url": f"{url}/reactions", **dict.fromkeys(kinds, 0)}
