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
    """Wait until every run of a commit has ended; --exit-status gives the first code of theirs that is not 0."""
    found = run_target.resolve_target(rev, remote)
    wanted = request.parse_message(found.message).run_names or tuple(
        row["name"] for row in found.find_run_rows()
    )
    names = [one for one in wanted if not name or one.lower() == name.lower()]
    if not names:
        raise UserError(
            f"{found.sha[:7]} asks for no run named {name!r}", hint=f"it has {', '.join(wanted)}"
        )
    codes = []
    for one in names:
        try:
            last = follow.wait_for_status(
                found.remote,
                found.forge,
                found.repository,
                found.sha,
                f"fyre/{one}",
                until_final=True,
            )
        except NotFoundError as error:
            raise found.missing_commit_error() from error
        if not json:
            sys.stdout.write(
                f"{found.sha[:7]}  {one}  {table.escape_unprintable(last.status.description)}\n"
            )
            sys.stdout.flush()
        codes.append(follow.exit_code_of_status(last) if exit_status else 0)
    if json:
        table.print_run_table(found.find_run_rows(name), as_json=True)
    raise SystemExit(next((code for code in codes if code), 0))
