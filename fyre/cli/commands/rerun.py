"""``fyre rerun``: run again what ran, as a new attempt on the same commit."""

from __future__ import annotations

from typing import Annotated

import typer

from fyre.cli import run_target
from fyre.cli.commands import cancel
from fyre.cli.run_target import Name, RemoteName, Rev
from fyre.message import request

Latest = Annotated[
    bool, typer.Option("--latest", help="On what the image's tag means now, not on what ran.")
]


def main(
    rev: Rev = "", *, name: Name = "", remote: RemoteName = "", latest: Latest = False
) -> None:
    """Run the runs of a commit again, or the one of that name; also those that were refused or moved."""
    found = run_target.of(rev, remote)
    if not request.read(
        found.message
    ).names:  # what it asks for runs again even where nothing was ever heard of it
        found.rows(name)
    cancel.ask(found, "rerun --latest" if latest else "rerun", name)
