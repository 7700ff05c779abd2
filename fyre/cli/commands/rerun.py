"""``fyre rerun``: run again what ran, as a new attempt on the same commit."""

from __future__ import annotations

from typing import Annotated

import typer

from fyre.cli import run_target
from fyre.cli.commands import cancel
from fyre.cli.run_target import NameOption, RemoteOption, RevArgument
from fyre.message import request

LatestOption = Annotated[
    bool, typer.Option("--latest", help="On what the image's tag means now, not on what ran.")
]


def main(
    rev: RevArgument = "",
    *,
    name: NameOption = "",
    remote: RemoteOption = "",
    latest: LatestOption = False,
) -> None:
    """Run the runs of a commit again, or the one of that name; also those that were refused or moved."""
    found = run_target.resolve_target(rev, remote)
    if not request.parse_message(
        found.message
    ).run_names:  # what it asks for runs again even where nothing was ever heard of it
        found.find_run_rows(name)
    cancel.post_comment_command(found, "rerun --latest" if latest else "rerun", name)
