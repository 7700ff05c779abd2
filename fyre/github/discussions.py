"""What the forge knows of pull requests and of what was said of a commit; and how something is said there."""

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
    head_sha: str  # SHA
    branch: str  # full: refs/heads/topic
    is_fork: bool  # whether the head is another repository's, or of one that is gone


def get_pull_request(forge: GitHubClient, repository: Repository, number: int) -> PullRequest:
    """The pull request of that number. Raises ``NotFoundError`` where there is none."""
    what = f"pull request {number} of {repository.name}"
    with translate_errors(what):
        data = forge.get_json(what, repository, f"/repos/{repository.name}/pulls/{number}")
        head = data["head"]
        fork = (head.get("repo") or {}).get("id") != repository.id
        return PullRequest(number, str(head["sha"]), f"refs/heads/{head['ref']}", fork)


def head_sha_at(
    forge: GitHubClient, repository: Repository, pull_request: PullRequest, moment: float
) -> str:
    """The head of a branch's pull request as it was at a time, as far as the forge's activity says; else as it is."""
    what = f"the activity of {pull_request.branch} in {repository.name}"
    with translate_errors(what):
        path = f"/repos/{repository.name}/activity?ref={quote(pull_request.branch, safe='')}&per_page=100"
        entries = forge.get_json(what, repository, path)
        if (
            not entries or entries[0]["after"] != pull_request.head_sha
        ):  # the two answers are not of one time: the newer is right
            return pull_request.head_sha
        then = (
            entry["after"]
            for entry in entries
            if datetime.fromisoformat(entry["timestamp"]).timestamp() <= moment
        )
        return str(next(then, pull_request.head_sha))


def list_thread(forge: GitHubClient, event: CommentEvent) -> list[Comment]:
    """What is said where a comment stands, oldest first; of a pull request, from a day before it on."""
    if not event.pull_number:
        return forge.list_commit_comments(event.repository, event.sha)
    since = format_api_time(event.created_at - THREAD_LOOKBACK)
    what = f"the comments of pull request {event.pull_number} of {event.repository.name}"
    path = f"/repos/{event.repository.name}/issues/{event.pull_number}/comments?since={since}&per_page=100"
    with translate_errors(what):
        return [
            parse_comment(entry) for entry in forge.get_all_entries(what, event.repository, path)
        ]


def post_reply(forge: GitHubClient, event: CommentEvent, body: str) -> None:
    """Write a comment where another one stands."""
    if event.pull_number:
        forge.create_issue_comment(event.repository, event.pull_number, body)
    else:
        forge.create_commit_comment(event.repository, event.sha, body)


def parse_comment(entry: dict[str, object]) -> Comment:
    """A comment as the API has it, of either kind."""
    user = entry.get("user")
    author = str(user["login"]) if isinstance(user, dict) else ""
    return Comment(
        int(str(entry["id"])),
        str(entry.get("commit_id") or ""),
        author,
        str(entry.get("body") or ""),
    )


def format_api_time(seconds: float) -> str:
    """A time as the API takes it: whole seconds, UTC."""
    return datetime.fromtimestamp(int(max(seconds, 0.0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
