"""A commit comment as GitHub's JSON, the same in the API and in the webhook."""

from __future__ import annotations

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.auth import User
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.local_forge.storage.repository_store import BareRepository

COMMIT_COMMENTS_REF = "refs/notes/fyre/comments"
"""Ref of the notes that hold them."""


def serialize_commit_comment(
    repo: BareRepository, sha: str, record: NoteRecord, urls: ForgeUrls
) -> JsonObject:
    """Return GitHub's ``commit-comment``."""
    number, created_at = record.get("id", 0), record.get("created_at", "")
    return {
        "url": f"{urls.repo_api_url(repo.name)}/comments/{number}",
        "html_url": f"{urls.repo_page_url(repo.name)}/commit/{sha}#commitcomment-{number}",
        "id": number,
        "node_id": common_json.node_id("CommitComment", number),
        "user": common_json.serialize_user(User(record.get("user", "")), urls),
        "position": record.get("position"),
        "line": record.get("line"),
        "path": record.get("path"),
        "commit_id": sha,
        "body": record.get("body", ""),
        "author_association": "OWNER",
        "created_at": created_at,
        "updated_at": created_at,
    }
