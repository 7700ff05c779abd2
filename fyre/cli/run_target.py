"""Find the commit and the runs that a verb is about: by revision, run name and remote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fyre.client.run_client import RunClient, RunSummary
from fyre.errors import UserError
from fyre.git import git_command
from fyre.github.errors import NotFoundError
from fyre.workspace import remote, worktree

RevArgument = Annotated[
    str, typer.Argument(help="A commit: a SHA, a branch, a tag.", show_default=False)
]
NameOption = Annotated[str, typer.Option("--name", help="The run of that name only.")]
RemoteOption = Annotated[str, typer.Option("--remote", help="The remote whose forge is asked.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """A commit, and the client of the repository that has its statuses."""

    client: RunClient
    sha: str
    message: str

    def find_runs(self, run_name: str = "") -> list[RunSummary]:
        """Return the commit's runs, or the run of that name.

        Raises ``UserError`` if there is none.
        """
        try:
            runs = self.client.list_runs([(self.sha, self.message)])
        except NotFoundError as error:
            raise self.missing_commit_error() from error
        matching = [run for run in runs if not run_name or run.name.lower() == run_name.lower()]
        if not matching:
            missing = f"no run named {run_name!r}" if run_name and runs else "no runs"
            raise UserError(
                f"{self.sha[:7]} has {missing}",
                hint=f"is it pushed? git push {self.client.remote.name}",
            )
        return matching

    def missing_commit_error(self) -> UserError:
        """Return the error for a commit that the forge does not have."""
        remote_info = self.client.remote
        message = f"{self.sha[:7]} is not in {remote_info.repository} on {remote_info.host}"
        return UserError(message, hint=f"push it: git push {remote_info.name}")


def resolve_target(rev: str, remote_name: str = "") -> CommitTarget:
    """Return the commit that a revision names in this clone (default: HEAD), and its forge.

    Raises ``UserError`` if there is no such commit or remote.
    """
    worktree.require_repository()
    sha = git_command.git_output_or_none(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev or 'HEAD'}^{{commit}}"
    )
    if not sha:
        problem = f"{rev!r} names no commit here" if rev else "there is no commit yet"
        raise UserError(problem, hint="git log --oneline --all")
    remote_info = remote.resolve_remote(name=remote_name or None)
    message = git_command.git_output("log", "-1", "--encoding=UTF-8", "--format=%B", sha)
    return CommitTarget(RunClient.from_remote(remote_info), sha, message)
