"""``fyre watch``: follow the runs of a commit to their end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, run_target, table
from fyre.cli.run_target import AsJson, Name, RemoteName, Rev
from fyre.errors import UserError
from fyre.github.errors import NotFoundError
from fyre.message import request


def main(
    rev: Rev = "",
    *,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with the run's own code.")
    ] = False,
    name: Name = "",
    remote: RemoteName = "",
    json: AsJson = False,
) -> None:
    """Wait until every run of a commit has ended; --exit-status gives the first code of theirs that is not 0."""
    found = run_target.of(rev, remote)
    wanted = request.read(found.message).names or tuple(row["name"] for row in found.rows())
    names = [one for one in wanted if not name or one.lower() == name.lower()]
    if not names:
        raise UserError(
            f"{found.sha[:7]} asks for no run named {name!r}", hint=f"it has {', '.join(wanted)}"
        )
    codes = []
    for one in names:
        try:
            last = follow.wait(
                found.remote,
                found.forge,
                found.repository,
                found.sha,
                f"fyre/{one}",
                until_final=True,
            )
        except NotFoundError as error:
            raise found.absent() from error
        if not json:
            sys.stdout.write(
                f"{found.sha[:7]}  {one}  {table.printable(last.status.description)}\n"
            )
            sys.stdout.flush()
        codes.append(follow.code_of(last) if exit_status else 0)
    if json:
        table.show(found.rows(name), as_json=True)
    raise SystemExit(next((code for code in codes if code), 0))
