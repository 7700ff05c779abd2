"""``fyre logs``: print the output of a run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, run_target
from fyre.cli.run_target import NameOption, RemoteOption, RevArgument
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
    rows = run_target.resolve_target(rev, remote).find_run_rows(name)
    if len(rows) > 1:
        names = ", ".join(row["name"] for row in rows)
        raise UserError(
            f"there are several runs: {names}", hint=f"fyre logs --name {rows[0]['name']}"
        )
    if not rows[0]["log_url"]:
        raise UserError(f"this run has no log: {rows[0]['description']}")
    for chunk in follow.read_log_chunks(rows[0]["log_url"], live=follow_on):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
