"""``fyre log``: the runs of a branch or a range, newest first."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, table
from fyre.cli.run_target import JsonOption, RemoteOption
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
    """The runs of a branch or a range of commits. Without RANGE: of HEAD and of your lab notebook."""
    worktree.require_repository()
    where = remotes.resolve_remote(name=remote or None)
    seen: dict[str, str] = {}
    absent: set[str] = set()  # not pushed yet, or not there any more
    for part in [range_] if range_ else _default_ranges(where.name):
        seen |= dict(history.find_run_commits(part, limit))
    rows = follow.run_rows(
        where.create_client(),
        follow.repository_by_name(where),
        list(seen.items())[: limit * 2],
        absent,
    )
    table.print_run_table(rows, as_json=json)
    if absent:
        shas = ", ".join(sha[:7] for sha in seen if sha in absent)
        sys.stderr.write(
            f"fyre: not in {where.repository} on {where.host}: {shas} (git push {where.name})\n"
        )


def _default_ranges(remote_name: str) -> list[str]:
    """HEAD, and the lab notebooks of this remote that were written here."""
    labs = git_command.git_output(
        "for-each-ref", "--format=%(refname)", f"refs/fyre/lab/{remote_name}/"
    ).split()
    head = (
        ["HEAD"]
        if git_command.git_output_or_none("rev-parse", "--verify", "--quiet", "HEAD")
        else []
    )
    if not head and not labs:
        raise UserError("there is no commit yet", hint="fyre commit --run 'echo hello'")
    return labs + head
