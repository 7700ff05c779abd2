"""``fyre watch``: follow the runs of a commit to their end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, run_target, table
from fyre.cli.run_target import JsonOption, NameOption, RemoteOption, RevArgument
from fyre.errors import UserError
from fyre.github.errors import NotFoundError
from fyre.message import request


def main(
    rev: RevArgument = "",
    *,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with the run's own code.")
    ] = False,
    name: NameOption = "",
    remote: RemoteOption = "",
    json: JsonOption = False,
) -> None:
    """Wait until every run of a commit has ended.

    With --exit-status, exits with the first exit code of a run that is not 0.
    """
    commit_target = run_target.resolve_target(rev, remote)
    run_names = request.parse_message(commit_target.message).run_names or tuple(
        row["name"] for row in commit_target.find_run_rows()
    )
    names = [run_name for run_name in run_names if not name or run_name.lower() == name.lower()]
    if not names:
        raise UserError(
            f"{commit_target.sha[:7]} asks for no run named {name!r}",
            hint=f"it has {', '.join(run_names)}",
        )
    codes = []
    for run_name in names:
        try:
            last = follow.wait_for_status(
                commit_target.remote,
                commit_target.forge,
                commit_target.repository,
                commit_target.sha,
                f"fyre/{run_name}",
                until_final=True,
            )
        except NotFoundError as error:
            raise commit_target.missing_commit_error() from error
        if not json:
            description = table.escape_unprintable(last.status.description)
            sys.stdout.write(f"{commit_target.sha[:7]}  {run_name}  {description}\n")
            sys.stdout.flush()
        codes.append(follow.exit_code_of_status(last) if exit_status else 0)
    if json:
        table.print_run_table(commit_target.find_run_rows(name), as_json=True)
    raise SystemExit(next((code for code in codes if code), 0))
