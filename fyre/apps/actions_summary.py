"""What a workflow's job tells of its runs: the summary for people, the outputs for the steps after it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from fyre.reporter import markdown
from fyre.runs.run import Record

Undone = Sequence[tuple[str, str, str]]
"""What was asked for and stands badly, but is no run of these: SHA, name and what the status says."""

LATER = (
    "\nThis job does not wait for their ends: the scheduled workflow that runs `fyre dispatch --reconcile`"
    " (action/reconcile.yml) posts them as statuses on the commits.\n"
)
"""What stands below the table where there are runs that go on."""


def summary(
    records: list[Record], describe: Callable[[Record], str], nothing: str, undone: Undone = ()
) -> str:
    """The job's summary, in Markdown; what people wrote is in code spans that it can't leave. ``nothing`` is said where
    there is nothing to tell.
    """
    rows = [
        f"| {_mark(record)} | `{record.run.sha[:7]}` | {_code(record.run.name)} | {_code(record.run.spec.command)} "
        f"| {_code(describe(record))} |"
        for record in records
    ]
    rows += [
        f"| ❌ | `{sha[:7]}` | {_code(name)} | | {_code(said)} |" for sha, name, said in undone
    ]
    if not rows:
        return f"{nothing}\n"
    table = "\n".join(
        ["| | commit | run | command | outcome |", "| --- | --- | --- | --- | --- |", *rows, ""]
    )
    return table if all(record.state.final for record in records) else table + LATER


def outputs(records: list[Record], undone: Undone = ()) -> str:
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
    return f"runs={json.dumps(runs)}\noutcome={outcome(records, undone)}\n"


def outcome(records: list[Record], undone: Undone = ()) -> str:
    """In a word: none, failure as soon as one did badly, else pending while one goes on, else success."""
    if undone or any(record.state.final and not _good(record) for record in records):
        return "failure"
    if not all(record.state.final for record in records):
        return "pending"
    return "success" if records else "none"


def _good(record: Record) -> bool:
    return record.state == "succeeded"


def _mark(record: Record) -> str:
    if not record.state.final:
        return "⏳"
    return "✅" if _good(record) else "❌"


def _code(text: str) -> str:
    return markdown.code(text, most=200)
