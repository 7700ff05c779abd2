"""The shape of a commit comment, in the API and in its webhook alike."""

from __future__ import annotations

from fyre.local_forge.api import common_json
from fyre.local_forge.api.common_json import Json, Urls
from fyre.local_forge.auth import User
from fyre.local_forge.storage.notes import Record
from fyre.local_forge.storage.repository_store import Bare

COMMENTS = "refs/notes/fyre/comments"
"""Where they are kept, as notes."""


def shape(bare: Bare, sha: str, record: Record, urls: Urls) -> Json:
    """GitHub's ``commit-comment``."""
    number, at = record.get("id", 0), record.get("created_at", "")
    return {
        "url": f"{urls.repository(bare.name)}/comments/{number}",
        "html_url": f"{urls.web(bare.name)}/commit/{sha}#commitcomment-{number}",
        "id": number,
        "node_id": common_json.node_id("CommitComment", number),
        "user": common_json.user(User(record.get("user", "")), urls),
        "position": record.get("position"),
        "line": record.get("line"),
        "path": record.get("path"),
        "commit_id": sha,
        "body": record.get("body", ""),
        "author_association": "OWNER",
        "created_at": at,
        "updated_at": at,
    }
