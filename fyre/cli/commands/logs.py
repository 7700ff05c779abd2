"""``fyre logs``: print the output of a run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import run_target
from fyre.cli.run_target import NameOption, RemoteOption, RevArgument
from fyre.client import run_page
from fyre.errors import UserError


def main(
    rev: RevArgument = "",
    *,
    follow_on: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the run ends.")
    ] = False,
    name: NameOption = "",
    remote: RemoteOption = "",
) -> None:
    """Print the output of a commit's run, as it came."""
    runs = run_target.resolve_target(rev, remote).find_runs(name)
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"there are several runs: {names}", hint=f"fyre logs --name {runs[0].name}")
    if not runs[0].log_url:
        raise UserError(f"this run has no log: {runs[0].description}")
    for chunk in run_page.read_log(runs[0].log_url, live=follow_on):
        sys.stdout.buffer.write(chunk.data)
        sys.stdout.buffer.flush()
