"""``fyre cancel``: cancel runs, by a comment on the commit, which needs only repository rights."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fyre.cli import run_target, table
from fyre.cli.run_target import NameOption, RemoteOption, RevArgument
from fyre.errors import UserError
from fyre.github.errors import NotFoundError, NotVisibleError


def main(rev: RevArgument = "", *, name: NameOption = "", remote: RemoteOption = "") -> None:
    """Cancel the runs of a commit that have not ended, or the one of that name."""
    commit_target = run_target.resolve_target(rev, remote)
    runs = commit_target.find_runs(name)
    if all(run.state.is_final for run in runs):
        states = ", ".join(f"{run.name}: {run.state}" for run in runs)
        raise UserError(
            f"nothing to cancel: every run has ended ({states})",
            hint=f"fyre rerun{commit_target.remote_option()} runs it again",
        )
    pending = [run.name for run in runs if not run.state.is_final]
    post_comment_command(commit_target, "cancel", name, pending)
    place = f"{commit_target.sha[:7]}{remote and f' --remote {remote}'}"
    sys.stderr.write(f"the receiver ends {'it' if len(pending) == 1 else 'them'} now: ")
    sys.stderr.write(f"fyre status {place}\n")


def post_comment_command(
    commit_target: run_target.CommitTarget, command: str, run_name: str, meant: Sequence[str]
) -> None:
    """Post the ``/fyre`` comment that the receiver obeys; ``meant`` names the runs it is about."""
    text = f"/fyre {command} {run_name}".rstrip()
    try:
        client = commit_target.client
        client.forge.create_commit_comment(client.repository, commit_target.sha, text)
    except NotVisibleError:  # to a token that may read but not write, GitHub says no more than that
        raise
    except NotFoundError as error:
        raise commit_target.missing_commit_error(error) from error
    runs = "" if run_name else f" (runs: {', '.join(map(table.escape_unprintable, meant))})"
    sys.stderr.write(f"commented on {commit_target.sha[:7]}: {text}{runs}\n")
