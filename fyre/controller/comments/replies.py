"""Render the replies to comments, and read from a reply which comment it answers. Pure.

A reply ends with a hidden HTML comment that names the comment it answers. So GitHub itself tells
which comments are answered, over restarts and redeliveries, and to several receivers alike. The
text before that marker may be a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fyre.github.webhook import CommentEvent
from fyre.reporter import markdown
from fyre.runs.commit_status import CommitStatus

TABLE_ROWS_MAX = 100
"""The most runs that one reply lists."""

REPLY_LENGTH_MAX = 60_000
"""Characters of a reply at most: GitHub accepts 65,536, and rejects longer ones."""

_MARKER = re.compile(
    r"<!-- fyre: answer to ((?:commit )?comment \d+)(?:, a refusal of (\S+))? -->\s*\Z"
)
_DELAY_MARKER = re.compile(r"<!-- fyre: ((?:commit )?comment \d+) is tried again -->\s*\Z")
_STATE_ICONS = {"success": "✅", "pending": "⏳"}


def comment_key(comment: CommentEvent) -> str:
    """Return what identifies a comment: the two kinds are numbered separately."""
    return f"{'' if comment.pull_number else 'commit '}comment {comment.comment_id}"


def render_reply(comment: CommentEvent, text: str, *, is_refusal: bool = False) -> str:
    """Return a reply as it is posted, cut where GitHub has no room for more."""
    if len(text) > REPLY_LENGTH_MAX:
        text = text[:REPLY_LENGTH_MAX].rsplit(" ", 1)[0] + " …"
    refusal = f", a refusal of {comment.actor}" if is_refusal else ""
    return f"{text}\n\n<!-- fyre: answer to {comment_key(comment)}{refusal} -->"


def render_delay(comment: CommentEvent, text: str) -> str:
    """Return a note that a comment's command is not done yet: its reply comes later."""
    return f"{text}\n\n<!-- fyre: {comment_key(comment)} is tried again -->"


def delayed_comments(bodies: Iterable[str]) -> frozenset[str]:
    """Return the keys of the comments that have such a note. Pass only our own bodies."""
    return frozenset(marker[1] for body in bodies for marker in _DELAY_MARKER.finditer(body))


def is_reply(body: str) -> bool:
    """Return True if a comment of ours is a reply: the token's owner may write others."""
    return _MARKER.search(body) is not None


def answered_comments(bodies: Iterable[str]) -> frozenset[str]:
    """Return the keys of the comments that these bodies answer. Pass only our own bodies."""
    return frozenset(marker[1] for body in bodies for marker in _MARKER.finditer(body))


def refused_logins(bodies: Iterable[str]) -> frozenset[str]:
    """Return the logins that these bodies refused, in lower case. Pass only our own bodies."""
    markers = (marker for body in bodies for marker in _MARKER.finditer(body))
    return frozenset(marker[2].lower() for marker in markers if marker[2])


def with_sha(sha: str, text: str) -> str:
    """Return a reply in a pull request, where nothing else says which commit is meant."""
    return f"On {sha}:\n\n{text}"


def render_status_table(statuses: Mapping[str, CommitStatus]) -> str:
    """Return a table of the runs of a commit, each with its outcome and its page."""
    rows = [_render_row(status) for status in list(statuses.values())[:TABLE_ROWS_MAX]]
    more = len(statuses) - TABLE_ROWS_MAX
    if more > 0:
        rows.append(f"| | | and {more} more |")
    return "\n".join(["| | run | outcome |", "| --- | --- | --- |", *rows])


def _render_row(status: CommitStatus) -> str:
    icon = _STATE_ICONS.get(status.state, "❌")
    name = markdown.code_span(status.context.removeprefix("fyre/"))
    run = f"[{name}]({status.target_url})" if status.target_url else name
    return f"| {icon} | {run} | {markdown.code_span(status.description)} |"
