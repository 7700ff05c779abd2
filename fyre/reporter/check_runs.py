"""Check runs: what an App may show beside a commit's status, once a run has ended; they report nothing new.

GitHub's facts: Apps alone make them; a summary and a text hold 65,535 characters each; the Re-run button is GitHub's
own and tells the App. One is made for each attempt, at its end: what goes on is the status's to say, for half the
writes.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fyre.errors import UserError
from fyre.github.client import Forge
from fyre.github.errors import translated
from fyre.github.rate_limit import Told
from fyre.message import notation
from fyre.runs import commit_status
from fyre.runs import policy as policies
from fyre.runs.policy import DAY, Policy
from fyre.runs.run import Record
from fyre.runs.state import State
from fyre.runs.status_text import TIMED_OUT

log = logging.getLogger(__name__)

CHARACTERS = 60_000
"""Of a log's tail and of a command, at most: below GitHub's limit with what stands around them."""

PATIENCE = 5.0
"""Seconds that a log is read for; then what there is will do."""

_TICKS = "`" * 99  # a longer fence would take the room of what it is around
_TOO_MANY = re.compile(f"{_TICKS}`+")

_CONCLUSIONS = {State.SUCCEEDED: "success", State.CANCELLED: "cancelled"}


def body(record: Record, url: str, tail: str = "") -> dict[str, Any]:
    """The check run of a run that has ended, as GitHub's API takes it. Pure."""
    shown = commit_status.of(record, url)
    took = (
        ""
        if record.ended_at is None
        else notation.text_of(max(0.0, record.ended_at - _began(record)))
    )
    rows = [
        ("command", _code(notation.legible(record.run.spec.command))),
        ("commit", f"`{record.run.sha}`"),
        ("outcome", _code(shown.description)),
        *([("took", took)] if took else []),
        *([("page", f"<{url}>")] if url else []),
    ]
    summary = "\n\n".join(
        f"**{name}** {text}" if "\n" not in text else f"**{name}**\n\n{text}" for name, text in rows
    )
    output = {
        "title": shown.description,
        "summary": summary,
        **({"text": _fenced(tail)} if tail else {}),
    }
    return {
        "name": record.run.context,
        "head_sha": record.run.sha,
        "external_id": record.run.key,
        "status": "completed",
        "conclusion": conclusion(record),
        "started_at": datetime.fromtimestamp(_began(record), UTC),
        "completed_at": datetime.fromtimestamp(record.ended_at or _began(record), UTC),
        "output": output,
        **({"details_url": url} if url else {}),
    }


def conclusion(record: Record) -> str:
    """GitHub's word for how a run ended: never better than its status."""
    timed_out = record.state is State.FAILED and record.reason.startswith(TIMED_OUT)
    return "timed_out" if timed_out else _CONCLUSIONS.get(record.state, "failure")


def tail(pieces: Iterator[bytes], lines: int) -> str:
    """The last lines of a log, as text that can be shown; "" for none."""
    if not lines:
        return ""
    kept, until = b"", time.monotonic() + PATIENCE
    for piece in pieces:
        kept = (kept + piece)[-4 * CHARACTERS :]
        if (
            time.monotonic() > until
        ):  # it still comes in from the cluster, and statuses wait for their turn
            break
    text = "".join(
        char if char.isprintable() or char in "\t\n" else "\ufffd"
        for char in kept.decode(errors="replace")
    )
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])[-CHARACTERS:]


@dataclass
class CheckRuns:
    """Writes them, for the ledger: which gives the turns, and remembers what was written."""

    forge: Forge
    log: Callable[[str], Iterator[bytes]]  # of a run, by its key
    policy: Policy
    clock: Callable[[], float] = time.time
    _refused: set[int] = field(default_factory=set)  # repositories where that was said already

    def fits(self, record: Record) -> bool:
        """Whether a run gets one: it has ended, and not long ago, so that a new setting does not tell old stories."""
        return record.state.final and self.clock() - (record.ended_at or 0.0) < DAY

    def is_there(self, record: Record) -> bool:
        """Whether the forge has one of ours for this very run."""
        repository, sha = record.run.repository, record.run.sha
        what = f"the check runs of {sha} in {repository.name}"
        path = (
            f"/repos/{repository.name}/commits/{sha}/check-runs?filter=all&per_page=100&check_name="
        )
        with translated(what):
            found = self.forge.get(what, repository, path + quote(record.run.context, safe=""))[
                "check_runs"
            ]
            mine = (one for one in found if one["external_id"] == record.run.key)
            return any(self.forge.is_me(f"{one['app']['slug']}[bot]") for one in mine)

    def write(self, record: Record, url: str) -> Told | None:
        """One POST; None where the forge will not have it, which is said once for a repository.

        Raises ``TryAgainError``.
        """
        policy = policies.of(self.policy, record.run.repository.name)
        shown = tail(self.log(record.run.key), policy.log_tail) if policy.log_tail else ""
        try:
            return self.forge.check(record.run.repository, body(record, url, shown))
        except UserError as error:  # the status has said it all
            if record.run.repository.id not in self._refused:
                self._refused.add(record.run.repository.id)
                log.warning("no check runs: %s; the App needs checks: write", error)
            return None


def _began(record: Record) -> float:
    return record.started_at or record.run.created_at


def _code(text: str) -> str:
    """What a person wrote, as it is: in a span that it can't leave, or in a block where it has lines."""
    if any(char in text for char in "\n\r`"):  # Markdown ends a line at a carriage return too
        return _fenced(text)
    return f"`{text[:CHARACTERS]}`" if text.strip() else ""


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in it."""
    shown = _TOO_MANY.sub(_TICKS, text[:CHARACTERS])
    longest = max((len(found) for found in re.findall("`+", shown)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}text\n{shown}\n{fence}"
