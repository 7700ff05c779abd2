"""What Fyre answers to a comment, and how an answer says which comment it is for. Pure.

An answer ends with an HTML comment that nobody sees and that names the comment: so what was answered is derived from
the forge, over restarts and redeliveries, and several receivers know it alike. What stands before it may be a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fyre.github.webhook import Said
from fyre.reporter import markdown
from fyre.runs.commit_status import Status

ROWS_MAX = 100
"""Runs that one answer lists."""

CHARACTERS = 60_000
"""Of an answer's text, at most: GitHub takes 65,536, and what it does not take is no answer."""

_MARK = re.compile(
    r"<!-- fyre: answer to ((?:commit )?comment \d+)(?:, a refusal of (\S+))? -->\s*\Z"
)
_SIGNS = {"success": "✅", "pending": "⏳"}


def name(said: Said) -> str:
    """What makes a comment this one: the two kinds are numbered apart."""
    return f"{'' if said.pull else 'commit '}comment {said.comment_id}"


def marked(said: Said, text: str, *, refused: bool = False) -> str:
    """An answer as it is posted; it is cut where the forge has no room for more."""
    shown = text if len(text) <= CHARACTERS else text[:CHARACTERS].rsplit(" ", 1)[0] + " …"
    return f"{shown}\n\n<!-- fyre: answer to {name(said)}{f', a refusal of {said.actor}' if refused else ''} -->"


def is_one(body: str) -> bool:
    """Whether a comment of ours is an answer: whose token it is may write others."""
    return _MARK.search(body) is not None


def answered(bodies: Iterable[str]) -> frozenset[str]:
    """The names of the comments that these are answers to; only our own may be given."""
    return frozenset(mark[1] for body in bodies for mark in _MARK.finditer(body))


def refused(bodies: Iterable[str]) -> frozenset[str]:
    """Whom these refused, in lower case."""
    return frozenset(mark[2].lower() for body in bodies for mark in _MARK.finditer(body) if mark[2])


def on(sha: str, text: str) -> str:
    """An answer in a pull request, where nobody else says which commit is meant."""
    return f"On {sha}:\n\n{text}"


def table(statuses: Mapping[str, Status]) -> str:
    """The runs of a commit, each with its outcome and its page."""
    rows = [
        f"| {_SIGNS.get(one.state, '❌')} | {f'[{text}]({one.target_url})' if one.target_url else text} "
        f"| {markdown.code(one.description)} |"
        for one in list(statuses.values())[:ROWS_MAX]
        if (text := markdown.code(one.context.removeprefix("fyre/")))
    ]
    more = [f"| | | and {len(statuses) - ROWS_MAX} more |"] if len(statuses) > ROWS_MAX else []
    return "\n".join(["| | run | outcome |", "| --- | --- | --- |", *rows, *more])
