"""``fyre logs``: print the output of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from fyre.cli import follow, run_target
from fyre.cli.run_target import AttemptOption, NameOption, RemoteOption, RevArgument
from fyre.client import log_reader
from fyre.client.follow import follow_log
from fyre.errors import UserError


def main(
    rev: RevArgument = "",
    *,
    follow_on: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the run ends.")
    ] = False,
    name: NameOption = "",
    attempt: AttemptOption = 0,
    remote: RemoteOption = "",
) -> None:
    """Print the output of a commit's run, as it came."""
    commit_target = run_target.resolve_target(rev, remote)
    runs = commit_target.find_runs(name, attempt)
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"there are several runs: {names}", hint=f"fyre logs --name {runs[0].name}")
    if not runs[0].log_url:
        raise UserError(f"this run has no log: {runs[0].description}")
    output = follow.stdout_sink()
    events = (
        follow_log(commit_target.client, runs[0])
        if follow_on
        else log_reader.read_log(runs[0].log_url, live=False)
    )
    for event in events:
        follow.print_log_event(event, output)
        follow.print_notice(event)
