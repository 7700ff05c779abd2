"""The shape of a commit comment, in the API and in its webhook alike."""

from __future__ import annotations

from fyre.embedded import shapes
from fyre.embedded.notes import Record
from fyre.embedded.repositories import Bare
from fyre.embedded.shapes import Json, Urls
from fyre.embedded.tokens import User

COMMENTS = "refs/notes/fyre/comments"
"""Where they are kept, as notes."""


def shape(bare: Bare, sha: str, record: Record, urls: Urls) -> Json:
    """GitHub's ``commit-comment``."""
    number, at = record.get("id", 0), record.get("created_at", "")
    return {
        "url": f"{urls.repository(bare.name)}/comments/{number}",
        "html_url": f"{urls.web(bare.name)}/commit/{sha}#commitcomment-{number}",
        "id": number,
        "node_id": shapes.node_id("CommitComment", number),
        "user": shapes.user(User(record.get("user", "")), urls),
        "position": record.get("position"),
        "line": record.get("line"),
        "path": record.get("path"),
        "commit_id": sha,
        "body": record.get("body", ""),
        "author_association": "OWNER",
        "created_at": at,
        "updated_at": at,
    }
