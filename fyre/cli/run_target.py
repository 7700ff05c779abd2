"""Find the commit and the runs that a verb is about: by revision, run name and remote."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from fyre.cli import table
from fyre.client.run_client import CONTEXT_PREFIX, RunClient, RunSummary
from fyre.errors import UserError
from fyre.git import git_command
from fyre.github.errors import NotFoundError, NotVisibleError
from fyre.message import request
from fyre.runs.commit_status import MOVED_CONTEXT
from fyre.workspace import lab_branch, remote, worktree

RevArgument = Annotated[
    str,
    typer.Argument(
        help="A commit: a SHA, a branch, a tag. Without it: HEAD; but if `fyre run` started "
        "something after HEAD was made, that.",
        show_default=False,
    ),
]
NameOption = Annotated[str, typer.Option("--name", help="The run of that name only.")]
AttemptOption = Annotated[
    int | None,
    typer.Option(
        "--attempt", min=1, show_default=False, help="Attempt N instead of the newest.", metavar="N"
    ),
]
RemoteOption = Annotated[str, typer.Option("--remote", help="The remote whose forge is asked.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


_LIST_COMMITS = "`git log --oneline --all` lists the commits, `git fetch` brings new ones"


class UnknownRevisionError(UserError):
    """A revision that names no commit of this clone, and no branch of the remote."""


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """A commit, and the client of the repository that has its statuses."""

    client: RunClient
    sha: str
    message: str

    def find_runs(self, run_name: str = "", attempt: int | None = None) -> list[RunSummary]:
        """Return the commit's runs as its message has them, or the run of that name.

        Without ``attempt`` it is the newest attempt. Raises ``UserError`` if there is none.
        """
        runs = self.list_runs(attempt or 0)
        matching = [run for run in runs if not run_name or run.name.lower() == run_name.lower()]
        if not matching:
            raise self._no_run_error(run_name, attempt, runs)
        return matching

    def list_runs(self, attempt: int = 0) -> list[RunSummary]:
        """Return the commit's runs as its message has them; 0 for the newest attempt of each.

        Raises ``UserError`` if the forge does not have the commit.
        """
        try:
            runs = self.client.list_runs([(self.sha, self.message)], attempt=attempt)
        except NotFoundError as error:
            raise self.missing_commit_error(error) from error
        return sort_as_written(runs, self.message)

    def known_run_names(self, runs: Sequence[RunSummary]) -> list[str]:
        """Return the names of the runs that the message asks for, then of others that ran.

        ``runs`` are those of ``list_runs``.
        """
        names = [*request.parse_message(self.message).run_names]
        known = {name.lower() for name in names}
        known.add(MOVED_CONTEXT.removeprefix(CONTEXT_PREFIX))  # which is about the others
        return [*names, *(run.name for run in runs if run.name.lower() not in known)]

    def remote_option(self) -> str:
        """Return the option that a hint needs to name this forge; "" where it needs none."""
        return remote.option_for(self.client.remote.name)

    def unknown_name_error(self, run_name: str, names: Sequence[str]) -> UserError:
        """Return the error for a name that no run of the commit has."""
        shown = ", ".join(map(table.escape_unprintable, names))
        return UserError(
            f"{self.sha[:7]} has no run named {run_name!r}", hint=f"its runs are: {shown}"
        )

    def _no_run_error(
        self, run_name: str, attempt: int | None, runs: Sequence[RunSummary]
    ) -> UserError:
        """Return the error that says why no run of the commit was found."""
        newest = self.list_runs() if attempt else runs
        if run_name and newest:
            names = [run.name for run in newest]
            if run_name.lower() not in map(str.lower, names):
                return self.unknown_name_error(run_name, names)
            newest = [run for run in newest if run.name.lower() == run_name.lower()]
        if newest:
            count = max(run.attempt for run in newest)
            hint = f"there are {count} attempts" if count > 1 else "there is 1 attempt"
            return UserError(f"{self.sha[:7]} has no runs of attempt {attempt}", hint=hint)
        run_request = request.parse_message(self.message)
        if run_request.asks_nothing:
            return UserError(
                f"{self.sha[:7]} has no runs: its message asks for none",
                hint="`fyre log` lists what ran; `fyre commit --run CMD` asks for a run",
            )
        repository, doctor = self.client.remote.repository, f"fyre doctor{self.remote_option()}"
        return UserError(
            f"{self.sha[:7]} has no runs yet, though it is in {repository}",
            hint=f"wait a moment; else `{doctor}`: does a receiver hear of {repository}?",
        )

    def missing_commit_error(self, error: NotFoundError | None = None) -> UserError:
        """Return the error for a commit that the forge does not have, or for its whole repository.

        A forge hides a repository from those who may not see it.
        """
        remote_info = self.client.remote
        message = f"{self.sha[:7]} is not in {remote_info.repository} on {remote_info.host}"
        if isinstance(error, NotVisibleError):
            missing = missing_repository_error(remote_info)
            return UserError(f"{message}: {missing.message}", hint=missing.hint)
        return UserError(message, hint=f"push it: git push {remote_info.name}")


def missing_repository_error(remote_info: remote.Remote) -> UserError:
    """Return the error for a repository that the forge does not have, or hides from this person."""
    return UserError(
        f"there is no repository {remote_info.repository} on {remote_info.host} that you may see",
        hint=f"is it the right one? git remote get-url {remote_info.name}; "
        f"a new repository begins with git push {remote_info.name}",
    )


def sort_as_written(runs: Iterable[RunSummary], message: str) -> list[RunSummary]:
    """Return a commit's runs as its message has them; others, such as a comment's, come last."""
    names = [name.lower() for name in request.parse_message(message).run_names]
    return sorted(
        runs, key=lambda run: names.index(run.name.lower()) if run.name.lower() in names else 2**20
    )


def resolve_target(rev: str, remote_name: str = "") -> CommitTarget:
    """Return the commit that a revision names, and its forge.

    Without a revision it is HEAD, if that asks for runs and is newer than what ``fyre run`` started
    last in this clone, else that start. Raises ``UserError`` if there is no such commit or remote.
    """
    worktree.require_repository()
    head = "" if rev else find_commit("HEAD")
    if not (rev or head):
        raise UserError("there is no commit yet", hint="fyre commit --run 'echo hello' --push")
    remote_info = remote.resolve_remote(name=remote_name or None)
    if rev:
        sha = find_branch(rev, remote_info.name)
    else:
        sha = _newer_of_head_and_last_start(head, remote_info.name)
    if not sha:
        raise UnknownRevisionError(f"{rev!r} names no commit here", hint=_LIST_COMMITS)
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
    if branch.startswith("fyre/"):  # of a person's name as of the branch's: fyre/ünal
        user = lab_branch.sanitise_user(branch.removeprefix("fyre/"))
        branch = f"fyre/{user}" if user else branch
        if sha := find_commit(f"refs/fyre/lab/{remote_name}/{user}"):
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
