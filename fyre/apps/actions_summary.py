"""Render what a workflow job reports: a summary for people, outputs for later steps. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from fyre.reporter import markdown
from fyre.runs.run import RunRecord

NotRun = Sequence[tuple[str, str, str]]
"""Failed requests that are no runs of the job: SHA, name and status description of each."""

REPORTED_LATER_NOTE = (
    "\nThis job does not wait for their ends: the scheduled workflow that runs"
    " `fyre dispatch --reconcile` (action/reconcile.yml) posts them as statuses on the commits.\n"
)
"""Note below the table if there are runs that have not ended."""


def render_summary(
    records: list[RunRecord],
    describe: Callable[[RunRecord], str],
    empty_text: str,
    not_run: NotRun = (),
) -> str:
    """Return the job's summary in Markdown; ``empty_text`` if there is nothing to report.

    Text that people wrote is in code spans, out of which it can't break.
    """
    rows = [
        f"| {_state_icon(record)} | `{record.run.sha[:7]}` | {_code_span(record.run.name)} "
        f"| {_code_span(record.run.spec.command)} | {_code_span(describe(record))} |"
        for record in records
    ]
    rows += [
        f"| ❌ | `{sha[:7]}` | {_code_span(name)} | | {_code_span(description)} |"
        for sha, name, description in not_run
    ]
    if not rows:
        return f"{empty_text}\n"
    table = "\n".join(
        ["| | commit | run | command | outcome |", "| --- | --- | --- | --- | --- |", *rows, ""]
    )
    return (
        table if all(record.state.is_final for record in records) else table + REPORTED_LATER_NOTE
    )


def render_outputs(records: list[RunRecord], not_run: NotRun = ()) -> str:
    """Return the outputs of the workflow step, one line each; ``runs`` is JSON."""
    runs = [
        {
            "sha": record.run.sha,
            "name": record.run.name,
            "key": record.run.key,
            "state": str(record.state),
            "exit_code": record.exit_code,
        }
        for record in records
    ]
    return f"runs={json.dumps(runs)}\noutcome={overall_outcome(records, not_run)}\n"


def overall_outcome(records: list[RunRecord], not_run: NotRun = ()) -> str:
    """Return the outcome of all runs: none, failure, pending or success.

    It is failure as soon as one run failed, else pending until all have ended.
    """
    if not_run or any(record.state.is_final and not _has_succeeded(record) for record in records):
        return "failure"
    if not all(record.state.is_final for record in records):
        return "pending"
    return "success" if records else "none"


def _has_succeeded(record: RunRecord) -> bool:
    return record.state == "succeeded"


def _state_icon(record: RunRecord) -> str:
    if not record.state.is_final:
        return "⏳"
    return "✅" if _has_succeeded(record) else "❌"


def _code_span(text: str) -> str:
    return markdown.code_span(text, max_length=200)
