"""Which run a verb means: a revision of this repository, a name, the forge behind a remote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from fyre.cli import follow
from fyre.errors import UserError
from fyre.git import git_command
from fyre.github.client import GitHubClient
from fyre.github.errors import NotFoundError
from fyre.runs.run import Repository
from fyre.workspace import remote, worktree
from fyre.workspace.remote import Remote

RevArgument = Annotated[
    str, typer.Argument(help="A commit: a SHA, a branch, a tag.", show_default=False)
]
NameOption = Annotated[str, typer.Option("--name", help="The run of that name only.")]
RemoteOption = Annotated[str, typer.Option("--remote", help="The remote whose forge is asked.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """A commit and the forge that knows of its runs."""

    remote: Remote
    forge: GitHubClient
    repository: Repository
    sha: str
    message: str

    def find_run_rows(self, run_name: str = "") -> list[dict[str, Any]]:
        """Its runs, or the one of that name. Raises ``UserError`` when there is none."""
        try:
            found = follow.run_rows(self.forge, self.repository, [(self.sha, self.message)])
        except NotFoundError as error:
            raise self.missing_commit_error() from error
        named = [row for row in found if not run_name or row["name"].lower() == run_name.lower()]
        if not named:
            what = f"no run named {run_name!r}" if run_name and found else "no runs"
            raise UserError(
                f"{self.sha[:7]} has {what}", hint=f"is it pushed? git push {self.remote.name}"
            )
        return named

    def missing_commit_error(self) -> UserError:
        """What to say where the forge does not have the commit."""
        what = f"{self.sha[:7]} is not in {self.repository.name} on {self.remote.host}"
        return UserError(what, hint=f"push it: git push {self.remote.name}")


def resolve_target(rev: str, remote_name: str = "") -> CommitTarget:
    """The commit that a revision names here; a lab commit when none is given and the newest run was made there."""
    worktree.require_repository()
    found = git_command.git_output_or_none(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev or 'HEAD'}^{{commit}}"
    )
    if not found:
        what = f"{rev!r} names no commit here" if rev else "there is no commit yet"
        raise UserError(what, hint="git log --oneline --all")
    where = remote.resolve_remote(name=remote_name or None)
    message = git_command.git_output("log", "-1", "--format=%B", found)
    return CommitTarget(
        where, where.create_client(), follow.repository_by_name(where), found, message
    )
