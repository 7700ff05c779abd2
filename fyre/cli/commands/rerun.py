"""``fyre rerun``: run a commit's runs again, as new attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fyre.cli import run_target
from fyre.cli.commands import cancel
from fyre.cli.run_target import NameOption, RemoteOption, RevArgument
from fyre.client.run_client import RunSummary
from fyre.errors import UserError

LatestOption = Annotated[
    bool,
    typer.Option(
        "--latest", help="Pull the image's tag anew; else the same image runs as the last time."
    ),
]


def main(
    rev: RevArgument = "",
    *,
    name: NameOption = "",
    remote: RemoteOption = "",
    latest: LatestOption = False,
) -> None:
    """Run the runs of a commit again, or the one of that name.

    Runs that were refused run too, if that is allowed now. So do those whose commit has the status
    fyre/moved: it was rebased, and its runs were started on other code.
    """
    commit_target = run_target.resolve_target(rev, remote)
    # runs that the message requests can be run again even if they have no status
    runs = commit_target.list_runs()
    names = commit_target.known_run_names(runs)
    if not names:
        commit_target.find_runs()
    if name and name.lower() not in map(str.lower, names):
        raise commit_target.unknown_name_error(name, names)
    meant = [run for run in runs if name.lower() in ("", run.name.lower())]
    _reject_unfinished(meant, f"`fyre cancel{commit_target.remote_option()}` ends it")
    command = "rerun --latest" if latest else "rerun"
    cancel.post_comment_command(commit_target, command, name, names)


def _reject_unfinished(runs: Sequence[RunSummary], hint: str) -> None:
    """Raise ``UserError`` if none of the runs that are meant has ended.

    What has no status yet is none of them: it is started.
    """
    if runs and not any(run.state.is_final for run in runs):
        states = ", ".join(f"{run.name} is {run.state}" for run in runs)
        raise UserError(f"nothing to run again yet: {states}", hint=hint)
