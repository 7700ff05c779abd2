"""``fyre rerun``: run a commit's runs again, as new attempts."""

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
    """Run the runs of a commit again, or the one of that name; also refused or moved ones."""
    commit_target = run_target.resolve_target(rev, remote)
    # runs that the message requests can be run again even if they have no status
    if not request.parse_message(commit_target.message).run_names:
        commit_target.find_runs(name)
    cancel.post_comment_command(commit_target, "rerun --latest" if latest else "rerun", name)
