"""What a workflow's job tells of its runs: the summary for people, the outputs for the steps after it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from fyre.reporter import markdown
from fyre.runs.run import RunRecord

NotRun = Sequence[tuple[str, str, str]]
"""What was asked for and stands badly, but is no run of these: SHA, name and what the status says."""

REPORTED_LATER_NOTE = (
    "\nThis job does not wait for their ends: the scheduled workflow that runs `fyre dispatch --reconcile`"
    " (action/reconcile.yml) posts them as statuses on the commits.\n"
)
"""What stands below the table where there are runs that go on."""


def render_summary(
    records: list[RunRecord],
    describe: Callable[[RunRecord], str],
    empty_text: str,
    not_run: NotRun = (),
) -> str:
    """The job's summary, in Markdown; what people wrote is in code spans that it can't leave. ``nothing`` is said where
    there is nothing to tell.
    """
    rows = [
        f"| {_state_icon(record)} | `{record.run.sha[:7]}` | {_code_span(record.run.name)} | {_code_span(record.run.spec.command)} "
        f"| {_code_span(describe(record))} |"
        for record in records
    ]
    rows += [
        f"| ❌ | `{sha[:7]}` | {_code_span(name)} | | {_code_span(said)} |"
        for sha, name, said in not_run
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
    """The step's outputs: all on one line each, as JSON has it."""
    runs = [
        {
            "sha": r.run.sha,
            "name": r.run.name,
            "key": r.run.key,
            "state": str(r.state),
            "exit_code": r.exit_code,
        }
        for r in records
    ]
    return f"runs={json.dumps(runs)}\noutcome={overall_outcome(records, not_run)}\n"


def overall_outcome(records: list[RunRecord], not_run: NotRun = ()) -> str:
    """In a word: none, failure as soon as one did badly, else pending while one goes on, else success."""
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
