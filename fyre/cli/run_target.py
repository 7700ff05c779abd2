"""Find the commit and the runs that a verb is about: by revision, run name and remote."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from fyre.cli import table
from fyre.client.run_client import RunClient, RunSummary
from fyre.errors import UserError
from fyre.git import git_command
from fyre.github.errors import NotFoundError
from fyre.message import request
from fyre.workspace import lab_branch, remote, worktree

RevArgument = Annotated[
    str,
    typer.Argument(
        help="A commit: a SHA, a branch, a tag. Without it: HEAD, or what was started since.",
        show_default=False,
    ),
]
NameOption = Annotated[str, typer.Option("--name", help="The run of that name only.")]
AttemptOption = Annotated[
    int, typer.Option("--attempt", min=0, show_default=False, help="Not the newest attempt.")
]
RemoteOption = Annotated[str, typer.Option("--remote", help="The remote whose forge is asked.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """A commit, and the client of the repository that has its statuses."""

    client: RunClient
    sha: str
    message: str

    def find_runs(self, run_name: str = "", attempt: int = 0) -> list[RunSummary]:
        """Return the commit's runs, or the run of that name; 0 for the newest attempt.

        Raises ``UserError`` if there is none.
        """
        try:
            runs = self.client.list_runs([(self.sha, self.message)], attempt=attempt)
        except NotFoundError as error:
            raise self.missing_commit_error() from error
        matching = [run for run in runs if not run_name or run.name.lower() == run_name.lower()]
        if not matching:
            if run_name and runs:
                names = ", ".join(table.escape_unprintable(run.name) for run in runs)
                raise UserError(
                    f"{self.sha[:7]} has no run named {run_name!r}", hint=f"it has {names}"
                )
            of_attempt = f" of attempt {attempt}" if attempt else ""
            raise UserError(
                f"{self.sha[:7]} has no runs{of_attempt}",
                hint=f"is it pushed? git push {self.client.remote.name}",
            )
        return matching

    def missing_commit_error(self) -> UserError:
        """Return the error for a commit that the forge does not have."""
        remote_info = self.client.remote
        message = f"{self.sha[:7]} is not in {remote_info.repository} on {remote_info.host}"
        return UserError(message, hint=f"push it: git push {remote_info.name}")


def resolve_target(rev: str, remote_name: str = "") -> CommitTarget:
    """Return the commit that a revision names, and its forge.

    Without a revision it is HEAD, if that asks for runs and is newer than what ``fyre run`` started
    last in this clone, else that start. Raises ``UserError`` if there is no such commit or remote.
    """
    worktree.require_repository()
    head = "" if rev else find_commit("HEAD")
    if not (rev or head):
        raise UserError("there is no commit yet", hint="git log --oneline --all")
    remote_info = remote.resolve_remote(name=remote_name or None)
    if rev:
        sha = find_branch(rev, remote_info.name)
    else:
        sha = _newer_of_head_and_last_start(head, remote_info.name)
    if not sha:
        raise UserError(f"{rev!r} names no commit here", hint="git log --oneline --all")
    message = git_command.git_output("log", "-1", "--encoding=UTF-8", "--format=%B", sha)
    return CommitTarget(RunClient.from_remote(remote_info), sha, message)


def find_commit(rev: str) -> str:
    """Return the SHA of the commit that a revision names in this clone; "" if there is none."""
    return (
        git_command.git_output_or_none(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"
        )
        or ""
    )


def find_branch(branch: str, remote_name: str) -> str:
    """Return the commit of a revision, or the tip of a branch of the remote; "" for neither.

    The branch is taken as this clone knows it, else as the remote does.
    """
    if sha := find_commit(branch):
        return sha
    if branch.startswith("fyre/") and (
        sha := find_commit(f"refs/fyre/lab/{remote_name}/{branch.removeprefix('fyre/')}")
    ):
        return sha
    if sha := find_commit(f"refs/remotes/{remote_name}/{branch}"):
        return sha
    if git_command.git_output_or_none("check-ref-format", f"refs/heads/{branch}") is None:
        return ""
    listed = git_command.git_output_or_none("ls-remote", remote_name, f"refs/heads/{branch}")
    sha = (listed or "").partition("\t")[0]
    if sha and not find_commit(sha):
        git_command.git_output_or_none("fetch", *lab_branch.FETCH_OPTIONS, remote_name, sha)
    return find_commit(sha) if sha else ""


def _newer_of_head_and_last_start(head: str, remote_name: str) -> str:
    """Return HEAD or what was started last from this clone; say which on stderr."""
    started = git_command.git_output(
        "for-each-ref",
        "--count=1",
        "--sort=-committerdate",
        "--format=%(objectname) %(refname:lstrip=4)",
        f"refs/fyre/lab/{remote_name}/",
    )
    if not started:
        return head
    start, _, user = started.partition(" ")
    is_head = _asks_for_runs(head) and _is_newer(head, start)
    place = "HEAD" if is_head else f"fyre/{user}, started last"
    subject = git_command.git_output(
        "log", "-1", "--encoding=UTF-8", "--format=%s", head if is_head else start
    )
    shown = table.escape_unprintable(subject)
    sys.stderr.write(f"fyre: {(head if is_head else start)[:7]} ({place}): {shown}\n")
    return head if is_head else start


def _asks_for_runs(sha: str) -> bool:
    message = git_command.git_output("log", "-1", "--encoding=UTF-8", "--format=%B", sha)
    return bool(request.parse_message(message).run_names)


def _is_newer(head: str, start: str) -> bool:
    """Return True if HEAD was committed after the start, which holds the HEAD of its time."""
    if git_command.git_output_or_none("merge-base", "--is-ancestor", head, start) is not None:
        return False
    times = git_command.git_output("log", "--no-walk=unsorted", "--format=%ct", head, start)
    head_time, start_time = map(int, times.split())
    return head_time >= start_time
