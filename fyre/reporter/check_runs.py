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
from fyre.github.client import GitHubClient
from fyre.github.errors import translate_errors
from fyre.github.rate_limit import RateLimitHeaders
from fyre.message import notation
from fyre.runs import commit_status
from fyre.runs import policy as policies
from fyre.runs.policy import DAY, Policy
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT

log = logging.getLogger(__name__)

TEXT_LENGTH_MAX = 60_000
"""Of a log's tail and of a command, at most: below GitHub's limit with what stands around them."""

LOG_READ_TIMEOUT = 5.0
"""Seconds that a log is read for; then what there is will do."""

_LONGEST_FENCE = "`" * 99  # a longer fence would take the room of what it is around
_TOO_MANY_BACKTICKS = re.compile(f"{_LONGEST_FENCE}`+")

_CONCLUSIONS = {RunState.SUCCEEDED: "success", RunState.CANCELLED: "cancelled"}


def check_run_body(record: RunRecord, page_url: str, log_tail: str = "") -> dict[str, Any]:
    """The check run of a run that has ended, as GitHub's API takes it. Pure."""
    shown = commit_status.status_from_record(record, page_url)
    took = (
        ""
        if record.ended_at is None
        else notation.format_duration(max(0.0, record.ended_at - _start_time(record)))
    )
    rows = [
        ("command", _format_code(notation.replace_invalid_utf8(record.run.spec.command))),
        ("commit", f"`{record.run.sha}`"),
        ("outcome", _format_code(shown.description)),
        *([("took", took)] if took else []),
        *([("page", f"<{page_url}>")] if page_url else []),
    ]
    summary = "\n\n".join(
        f"**{name}** {text}" if "\n" not in text else f"**{name}**\n\n{text}" for name, text in rows
    )
    output = {
        "title": shown.description,
        "summary": summary,
        **({"text": _fence_block(log_tail)} if log_tail else {}),
    }
    return {
        "name": record.run.context,
        "head_sha": record.run.sha,
        "external_id": record.run.key,
        "status": "completed",
        "conclusion": check_run_conclusion(record),
        "started_at": datetime.fromtimestamp(_start_time(record), UTC),
        "completed_at": datetime.fromtimestamp(record.ended_at or _start_time(record), UTC),
        "output": output,
        **({"details_url": page_url} if page_url else {}),
    }


def check_run_conclusion(record: RunRecord) -> str:
    """GitHub's word for how a run ended: never better than its status."""
    timed_out = record.state is RunState.FAILED and record.reason.startswith(TIMED_OUT)
    return "timed_out" if timed_out else _CONCLUSIONS.get(record.state, "failure")


def last_lines(chunks: Iterator[bytes], line_count: int) -> str:
    """The last lines of a log, as text that can be shown; "" for none."""
    if not line_count:
        return ""
    kept, until = b"", time.monotonic() + LOG_READ_TIMEOUT
    for piece in chunks:
        kept = (kept + piece)[-4 * TEXT_LENGTH_MAX :]
        if (
            time.monotonic() > until
        ):  # it still comes in from the cluster, and statuses wait for their turn
            break
    text = "".join(
        char if char.isprintable() or char in "\t\n" else "\ufffd"
        for char in kept.decode(errors="replace")
    )
    return "\n".join(text.rstrip("\n").split("\n")[-line_count:])[-TEXT_LENGTH_MAX:]


@dataclass
class CheckRunReporter:
    """Writes them, for the ledger: which gives the turns, and remembers what was written."""

    forge: GitHubClient
    read_log: Callable[[str], Iterator[bytes]]  # of a run, by its key
    policy: Policy
    clock: Callable[[], float] = time.time
    _warned_repositories: set[int] = field(
        default_factory=set
    )  # repositories where that was said already

    def applies_to(self, record: RunRecord) -> bool:
        """Whether a run gets one: it has ended, and not long ago, so that a new setting does not tell old stories."""
        return record.state.is_final and self.clock() - (record.ended_at or 0.0) < DAY

    def already_exists(self, record: RunRecord) -> bool:
        """Whether the forge has one of ours for this very run."""
        repository, sha = record.run.repository, record.run.sha
        what = f"the check runs of {sha} in {repository.name}"
        path = (
            f"/repos/{repository.name}/commits/{sha}/check-runs?filter=all&per_page=100&check_name="
        )
        with translate_errors(what):
            found = self.forge.get_json(
                what, repository, path + quote(record.run.context, safe="")
            )["check_runs"]
            mine = (one for one in found if one["external_id"] == record.run.key)
            return any(self.forge.is_own_login(f"{one['app']['slug']}[bot]") for one in mine)

    def publish_check_run(self, record: RunRecord, page_url: str) -> RateLimitHeaders | None:
        """One POST; None where the forge will not have it, which is said once for a repository.

        Raises ``TryAgainError``.
        """
        policy = policies.for_repository(self.policy, record.run.repository.name)
        shown = (
            last_lines(self.read_log(record.run.key), policy.log_tail) if policy.log_tail else ""
        )
        try:
            return self.forge.create_check_run(
                record.run.repository, check_run_body(record, page_url, shown)
            )
        except UserError as error:  # the status has said it all
            if record.run.repository.id not in self._warned_repositories:
                self._warned_repositories.add(record.run.repository.id)
                log.warning("no check runs: %s; the App needs checks: write", error)
            return None


def _start_time(record: RunRecord) -> float:
    return record.started_at or record.run.created_at


def _format_code(text: str) -> str:
    """What a person wrote, as it is: in a span that it can't leave, or in a block where it has lines."""
    if any(char in text for char in "\n\r`"):  # Markdown ends a line at a carriage return too
        return _fence_block(text)
    return f"`{text[:TEXT_LENGTH_MAX]}`" if text.strip() else ""


def _fence_block(text: str) -> str:
    """A code block whose fence is longer than any in it."""
    shown = _TOO_MANY_BACKTICKS.sub(_LONGEST_FENCE, text[:TEXT_LENGTH_MAX])
    longest = max((len(found) for found in re.findall("`+", shown)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}text\n{shown}\n{fence}"
