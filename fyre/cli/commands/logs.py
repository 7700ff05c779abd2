"""``fyre logs``: print the output of a run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, run_target, table
from fyre.cli.run_target import AttemptOption, NameOption, RemoteOption, RevArgument
from fyre.client import log_reader
from fyre.client.follow import follow_log
from fyre.client.run_client import RunSummary
from fyre.errors import UserError
from fyre.runs.state import RunState


def main(
    rev: RevArgument = "",
    *,
    follow_on: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the run ends.")
    ] = False,
    name: NameOption = "",
    attempt: AttemptOption = None,
    remote: RemoteOption = "",
) -> None:
    """Print the output of a commit's run, as it came."""
    commit_target = run_target.resolve_target(rev, remote)
    runs = commit_target.find_runs(name, attempt)
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs)
        hint = f"fyre logs --name {runs[0].name}{commit_target.remote_option()}"
        raise UserError(f"there are several runs: {names}", hint=hint)
    if not runs[0].log_url:
        raise UserError(f"this run has no log: {runs[0].description}")
    output, is_empty = follow.stdout_sink(), True
    events = (
        follow_log(commit_target.client, runs[0])
        if follow_on
        else log_reader.read_log(runs[0].log_url, live=False)
    )
    for event in events:
        is_empty = False
        follow.print_log_event(event, output)
        follow.print_notice(event)
    if is_empty or follow_on:
        _explain_end(commit_target.find_runs(runs[0].name, attempt)[0], is_empty=is_empty)


def _explain_end(run: RunSummary, *, is_empty: bool) -> None:
    """Say why there is no output, or no more of it.

    Raises ``UserError`` for a run that ended and never started.
    """
    description = table.escape_unprintable(run.description)
    if not is_empty:
        if run.state.is_final and run.state is not RunState.SUCCEEDED:
            sys.stderr.write(f"fyre: {run.name}: {description}\n")
    elif not run.state.is_final:
        sys.stderr.write(f"fyre: no output yet: {description}\n")
    elif run.started_at:
        sys.stderr.write(f"fyre: there is no output of {run.name}: {description}\n")
    else:
        raise UserError(f"there is no output, because {run.name} never started: {description}")
