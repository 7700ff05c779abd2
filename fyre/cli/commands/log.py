"""``fyre log``: the runs of a branch or a range, newest first."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, table
from fyre.cli.run_target import AsJson, RemoteName
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
    remote: RemoteName = "",
    json: AsJson = False,
) -> None:
    """The runs of a branch or a range of commits. Without RANGE: of HEAD and of your lab notebook."""
    worktree.required()
    where = remotes.of(name=remote or None)
    seen: dict[str, str] = {}
    absent: set[str] = set()  # not pushed yet, or not there any more
    for part in [range_] if range_ else _usual(where.name):
        seen |= dict(history.commits(part, limit))
    rows = follow.rows(
        where.forge(), follow.repository_of(where), list(seen.items())[: limit * 2], absent
    )
    table.show(rows, as_json=json)
    if absent:
        shas = ", ".join(sha[:7] for sha in seen if sha in absent)
        sys.stderr.write(
            f"fyre: not in {where.repository} on {where.host}: {shas} (git push {where.name})\n"
        )


def _usual(remote: str) -> list[str]:
    """HEAD, and the lab notebooks of this remote that were written here."""
    labs = git_command.out(
        "for-each-ref", "--format=%(refname)", f"refs/fyre/lab/{remote}/"
    ).split()
    head = ["HEAD"] if git_command.ask("rev-parse", "--verify", "--quiet", "HEAD") else []
    if not head and not labs:
        raise UserError("there is no commit yet", hint="fyre commit --run 'echo hello'")
    return labs + head
