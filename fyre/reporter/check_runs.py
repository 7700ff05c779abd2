"""Make check runs: what an App may show beside a commit's status, once a run has ended.

GitHub's facts: only Apps can make them; a summary and a text hold 65,535 characters each; the
Re-run button is GitHub's own and tells the App. One is made for each attempt, at its end, and it
reports nothing that the status does not: while a run is unfinished the status says so, for half
the writes.
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
from fyre.github.errors import NotFoundError, NotVisibleError, translate_errors
from fyre.github.rate_limit import RateLimitHeaders
from fyre.message import value_parsers
from fyre.runs import commit_status
from fyre.runs import policy as policies
from fyre.runs.policy import DAY, Policy
from fyre.runs.run import Repository, RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT

log = logging.getLogger(__name__)

TEXT_LENGTH_MAX = 60_000
"""Characters of a log's tail and of a command: with the text around them below GitHub's limit."""

LOG_READ_TIMEOUT = 5.0
"""Seconds for which a log is read; after them what was read will do."""

_LONGEST_FENCE = "`" * 99  # a longer fence would take the room of the text in it
_TOO_MANY_BACKTICKS = re.compile(f"{_LONGEST_FENCE}`+")
_TERMINAL_CODE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
)

_CONCLUSIONS = {RunState.SUCCEEDED: "success", RunState.CANCELLED: "cancelled"}


def check_run_body(record: RunRecord, page_url: str, log_tail: str = "") -> dict[str, Any]:
    """Return the check run of a run that has ended, in the form of GitHub's API. Pure."""
    description = commit_status.status_from_record(record, page_url).description
    duration = (
        ""
        if record.ended_at is None
        else value_parsers.format_duration(max(0.0, record.ended_at - _start_time(record)))
    )
    rows = [
        ("command", _format_code(value_parsers.replace_invalid_utf8(record.run.spec.command))),
        ("commit", f"`{record.run.sha}`"),
        ("outcome", _format_code(description)),
        *([("took", duration)] if duration else []),
        *([("page", f"<{page_url}>")] if page_url else []),
    ]
    summary = "\n\n".join(
        f"**{name}** {text}" if "\n" not in text else f"**{name}**\n\n{text}" for name, text in rows
    )
    output = {
        "title": description,
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
    """Return GitHub's word for how a run ended: never better than its status."""
    timed_out = record.state is RunState.FAILED and record.reason.startswith(TIMED_OUT)
    return "timed_out" if timed_out else _CONCLUSIONS.get(record.state, "failure")


def last_lines(chunks: Iterator[bytes], line_count: int) -> str:
    """Return the last lines of a log, as text that can be shown; "" for none."""
    if not line_count:
        return ""
    tail, deadline = b"", time.monotonic() + LOG_READ_TIMEOUT
    for chunk in chunks:
        tail = (tail + chunk)[-4 * TEXT_LENGTH_MAX :]
        if time.monotonic() > deadline:
            # The cluster still sends it, and statuses wait for their turn.
            break
    text = "".join(
        char if char.isprintable() or char in "\t\n" else "\ufffd"
        for char in _as_on_terminal(tail.decode(errors="replace"))
    )
    return "\n".join(text.rstrip("\n").split("\n")[-line_count:])[-TEXT_LENGTH_MAX:]


@dataclass
class CheckRunReporter:
    """The writer of check runs. ``StatusReporter`` decides when, and notes which were written."""

    forge: GitHubClient
    read_log: Callable[[str], Iterator[bytes]]  # of a run, by its key
    policy: Policy
    clock: Callable[[], float] = time.time
    _warned_repositories: set[int] = field(default_factory=set)
    """Ids of the repositories for which a refusal was logged already."""

    def applies_to(self, record: RunRecord) -> bool:
        """Return True if a run gets a check run: it has ended, and not long ago.

        So a new setting does not report old runs. If the outcome can't be read, the version that
        wrote it makes the check run.
        """
        is_recent = self.clock() - (record.ended_at or 0.0) < DAY
        return record.state.is_final and is_recent and not record.is_outcome_unreadable

    def already_exists(self, record: RunRecord) -> bool:
        """Return True if GitHub has a check run of ours for this very run."""
        own = self.list_own(record.run.repository, record.run.sha, record.run.context)
        return any(check["external_id"] == record.run.key for check in own)

    def list_own(self, repository: Repository, sha: str, name: str) -> list[dict[str, Any]]:
        """Return the newest 100 check runs of a name on a SHA, those of ours among them."""
        subject = f"the check runs of {sha} in {repository.name}"
        query = "filter=all&per_page=100&check_name=" + quote(name, safe="")
        path = f"/repos/{repository.name}/commits/{sha}/check-runs?{query}"
        with translate_errors(subject):
            check_runs = self.forge.get_json(subject, repository, path)["check_runs"]
            return [
                check
                for check in check_runs
                if self.forge.is_own_login(f"{check['app']['slug']}[bot]")
            ]

    def publish_check_run(self, record: RunRecord, page_url: str) -> RateLimitHeaders | None:
        """Make the check run of a run with one POST, as ``post`` does."""
        policy = policies.for_repository(self.policy, record.run.repository.name)
        log_tail = ""
        if policy.log_tail:
            log_tail = last_lines(self.read_log(record.run.key), policy.log_tail)
        return self.post(record.run.repository, check_run_body(record, page_url, log_tail))

    def post(self, repository: Repository, body: dict[str, Any]) -> RateLimitHeaders | None:
        """Make a check run with one POST; None where GitHub refuses it.

        A refusal is logged once for a repository. Raises ``TransientError``; ``NotFoundError`` if
        it does not know the commit.
        """
        try:
            return self.forge.create_check_run(repository, body)
        except UserError as error:  # the status has reported everything
            if isinstance(error, NotFoundError) and not isinstance(error, NotVisibleError):
                raise  # the commit is not known, or not yet
            if repository.id not in self._warned_repositories:
                self._warned_repositories.add(repository.id)
                log.warning("no check runs: %s; the App needs checks: write", error)
            return None


def _as_on_terminal(text: str) -> str:
    """Return a log as a terminal would leave it: the run's page shows it alike (``log_text.js``).

    There are no codes for colours, and of a line that was written over, as a progress bar is, the
    last state is left.
    """
    lines = _TERMINAL_CODE.sub("", text).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _start_time(record: RunRecord) -> float:
    return record.started_at or record.run.created_at


def _format_code(text: str) -> str:
    """Return what a person wrote as code that it can't leave.

    That is a span, or a block if the text has lines.
    """
    if any(char in text for char in "\n\r`"):  # Markdown ends a line at a carriage return too
        return _fence_block(text)
    return f"`{text[:TEXT_LENGTH_MAX]}`" if text.strip() else ""


def _fence_block(text: str) -> str:
    """Return a code block whose fence is longer than any in the text."""
    content = _TOO_MANY_BACKTICKS.sub(_LONGEST_FENCE, text[:TEXT_LENGTH_MAX])
    longest = max((len(ticks) for ticks in re.findall("`+", content)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}text\n{content}\n{fence}"
