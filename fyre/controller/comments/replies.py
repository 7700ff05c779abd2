"""What Fyre answers to a comment, and how an answer says which comment it is for. Pure.

An answer ends with an HTML comment that nobody sees and that names the comment: so what was answered is derived from
the forge, over restarts and redeliveries, and several receivers know it alike. What stands before it may be a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fyre.github.webhook import CommentEvent
from fyre.reporter import markdown
from fyre.runs.commit_status import CommitStatus

TABLE_ROWS_MAX = 100
"""Runs that one answer lists."""

REPLY_LENGTH_MAX = 60_000
"""Of an answer's text, at most: GitHub takes 65,536, and what it does not take is no answer."""

_MARKER = re.compile(
    r"<!-- fyre: answer to ((?:commit )?comment \d+)(?:, a refusal of (\S+))? -->\s*\Z"
)
_STATE_ICONS = {"success": "✅", "pending": "⏳"}


def comment_key(comment: CommentEvent) -> str:
    """What makes a comment this one: the two kinds are numbered apart."""
    return f"{'' if comment.pull_number else 'commit '}comment {comment.comment_id}"


def render_reply(comment: CommentEvent, text: str, *, is_refusal: bool = False) -> str:
    """An answer as it is posted; it is cut where the forge has no room for more."""
    shown = (
        text if len(text) <= REPLY_LENGTH_MAX else text[:REPLY_LENGTH_MAX].rsplit(" ", 1)[0] + " …"
    )
    return f"{shown}\n\n<!-- fyre: answer to {comment_key(comment)}{f', a refusal of {comment.actor}' if is_refusal else ''} -->"


def is_reply(body: str) -> bool:
    """Whether a comment of ours is an answer: whose token it is may write others."""
    return _MARKER.search(body) is not None


def answered_comments(bodies: Iterable[str]) -> frozenset[str]:
    """The names of the comments that these are answers to; only our own may be given."""
    return frozenset(mark[1] for body in bodies for mark in _MARKER.finditer(body))


def refused_logins(bodies: Iterable[str]) -> frozenset[str]:
    """Whom these refused, in lower case."""
    return frozenset(
        mark[2].lower() for body in bodies for mark in _MARKER.finditer(body) if mark[2]
    )


def with_sha(sha: str, text: str) -> str:
    """An answer in a pull request, where nobody else says which commit is meant."""
    return f"On {sha}:\n\n{text}"


def render_status_table(statuses: Mapping[str, CommitStatus]) -> str:
    """The runs of a commit, each with its outcome and its page."""
    rows = [
        f"| {_STATE_ICONS.get(one.state, '❌')} | {f'[{text}]({one.target_url})' if one.target_url else text} "
        f"| {markdown.code_span(one.description)} |"
        for one in list(statuses.values())[:TABLE_ROWS_MAX]
        if (text := markdown.code_span(one.context.removeprefix("fyre/")))
    ]
    more = (
        [f"| | | and {len(statuses) - TABLE_ROWS_MAX} more |"]
        if len(statuses) > TABLE_ROWS_MAX
        else []
    )
    return "\n".join(["| | run | outcome |", "| --- | --- | --- |", *rows, *more])
