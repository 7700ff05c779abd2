"""``fyre log``: print the runs of a branch or a range, newest first."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import table
from fyre.cli.run_target import JsonOption, RemoteOption
from fyre.client.run_client import RunClient
from fyre.errors import UserError
from fyre.git import git_command, history
from fyre.workspace import remote as remotes
from fyre.workspace import worktree


def main(
    range_: Annotated[
        str, typer.Argument(metavar="[RANGE]", help="As for git log: main, v1..HEAD.")
    ] = "",
    *,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, help="Commits that are looked at.")
    ] = 20,
    remote: RemoteOption = "",
    json: JsonOption = False,
) -> None:
    """Print the runs of a branch or a range. Without RANGE: of HEAD and of your lab branch."""
    worktree.require_repository()
    remote_info = remotes.resolve_remote(name=remote or None)
    messages: dict[str, str] = {}
    missing_shas: set[str] = set()  # not pushed yet, or deleted
    for revision_range in [range_] if range_ else _default_ranges(remote_info.name):
        messages |= dict(history.find_run_commits(revision_range, limit))
    runs = RunClient.from_remote(remote_info).list_runs(
        list(messages.items())[: limit * 2], missing_shas
    )
    table.print_run_table(runs, as_json=json)
    if missing_shas:
        shas = ", ".join(sha[:7] for sha in messages if sha in missing_shas)
        sys.stderr.write(
            f"fyre: not in {remote_info.repository} on {remote_info.host}: {shas} "
            f"(git push {remote_info.name})\n"
        )


def _default_ranges(remote_name: str) -> list[str]:
    """Return HEAD, and the lab branches of this remote that this clone has pushed."""
    lab_refs = git_command.git_output(
        "for-each-ref", "--format=%(refname)", f"refs/fyre/lab/{remote_name}/"
    ).split()
    has_head = git_command.git_output_or_none("rev-parse", "--verify", "--quiet", "HEAD")
    if not has_head and not lab_refs:
        raise UserError("there is no commit yet", hint="fyre commit --run 'echo hello'")
    return [*lab_refs, "HEAD"] if has_head else lab_refs
