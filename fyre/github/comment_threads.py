"""Read pull requests and the comments on commits, and reply to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from fyre.github.client import Comment, GitHubClient
from fyre.github.errors import translate_errors
from fyre.github.webhook import CommentEvent
from fyre.runs.run import Repository

THREAD_LOOKBACK = 86400.0
"""Seconds before a comment from which on a conversation is read."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request, as it is now."""

    number: int
    head_sha: str
    branch: str  # full: refs/heads/topic
    is_fork: bool  # true if the head is of another repository, or of one that is gone


def get_pull_request(forge: GitHubClient, repository: Repository, number: int) -> PullRequest:
    """Return the pull request of that number. Raises ``NotFoundError`` if there is none."""
    description = f"pull request {number} of {repository.name}"
    with translate_errors(description):
        data = forge.get_json(description, repository, f"/repos/{repository.name}/pulls/{number}")
        head = data["head"]
        is_fork = (head.get("repo") or {}).get("id") != repository.id
        return PullRequest(number, str(head["sha"]), f"refs/heads/{head['ref']}", is_fork)


def head_sha_at(
    forge: GitHubClient, repository: Repository, pull_request: PullRequest, moment: float
) -> str:
    """Return the head of a pull request's branch at a time; the present one if that is not known.

    It is known as far as the forge's activity goes back.
    """
    description = f"the activity of {pull_request.branch} in {repository.name}"
    with translate_errors(description):
        ref = quote(pull_request.branch, safe="")
        path = f"/repos/{repository.name}/activity?ref={ref}&per_page=100"
        entries = forge.get_json(description, repository, path)
        # If the two answers are not of the same time, the newer one is right.
        if not entries or entries[0]["after"] != pull_request.head_sha:
            return pull_request.head_sha
        earlier_heads = (
            entry["after"]
            for entry in entries
            if datetime.fromisoformat(entry["timestamp"]).timestamp() <= moment
        )
        return str(next(earlier_heads, pull_request.head_sha))


def list_thread(forge: GitHubClient, event: CommentEvent) -> list[Comment]:
    """Return the comments of the thread that a comment stands in, oldest first.

    For a pull request they begin a day before the comment.
    """
    if not event.pull_number:
        return forge.list_commit_comments(event.repository, event.sha)
    since = format_api_time(event.created_at - THREAD_LOOKBACK)
    description = f"the comments of pull request {event.pull_number} of {event.repository.name}"
    issue = f"/repos/{event.repository.name}/issues/{event.pull_number}"
    path = f"{issue}/comments?since={since}&per_page=100"
    with translate_errors(description):
        return [
            parse_comment(entry)
            for entry in forge.get_all_entries(description, event.repository, path)
        ]


def post_reply(forge: GitHubClient, event: CommentEvent, body: str) -> None:
    """Write a comment in the thread that another one stands in."""
    if event.pull_number:
        forge.create_issue_comment(event.repository, event.pull_number, body)
    else:
        forge.create_commit_comment(event.repository, event.sha, body)


def parse_comment(entry: dict[str, object]) -> Comment:
    """Return a comment from the API's JSON, of either kind."""
    user = entry.get("user")
    author = str(user["login"]) if isinstance(user, dict) else ""
    return Comment(
        int(str(entry["id"])),
        str(entry.get("commit_id") or ""),
        author,
        str(entry.get("body") or ""),
        datetime.fromisoformat(str(entry["created_at"])).timestamp(),
    )


def format_api_time(seconds: float) -> str:
    """Return a time as the API takes it: whole seconds, UTC."""
    return datetime.fromtimestamp(int(max(seconds, 0.0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
