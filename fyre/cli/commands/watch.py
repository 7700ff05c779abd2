"""``fyre watch``: follow the runs of a commit to their end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, run_target, table
from fyre.cli.run_target import CommitTarget, JsonOption, NameOption, RemoteOption, RevArgument
from fyre.client.events import RunEnded, StatusChanged
from fyre.client.follow import follow_run
from fyre.github.errors import NotFoundError
from fyre.message import request


def main(
    rev: RevArgument = "",
    *,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with the run's own code.")
    ] = False,
    name: NameOption = "",
    remote: RemoteOption = "",
    json: JsonOption = False,
) -> None:
    """Wait until every run of a commit has ended.

    With --exit-status, exits with the first exit code of a run that is not 0. Exits with 1 where
    the forge never answers for a minute, or, if it did before, for an hour.
    """
    commit_target = run_target.resolve_target(rev, remote)
    run_names = request.parse_message(commit_target.message).run_names or tuple(
        run.name for run in commit_target.find_runs()
    )
    names = [run_name for run_name in run_names if not name or run_name.lower() == name.lower()]
    if not names:
        raise commit_target.unknown_name_error(name, run_names)
    codes = []
    for run_name in names:
        try:
            codes.append(
                _watch_run(commit_target, run_name, exit_status=exit_status, prints_end=not json)
            )
        except NotFoundError as error:
            raise commit_target.missing_commit_error(error) from error
    if json:
        table.print_run_table(commit_target.find_runs(name), as_json=True)
    raise SystemExit(next((code for code in codes if code), 0))


def _watch_run(
    commit_target: CommitTarget, run_name: str, *, exit_status: bool, prints_end: bool
) -> int:
    """Wait for the end of a run; return its exit code with ``exit_status``, else 0."""
    sha = commit_target.sha
    ignored = follow.IgnoredFields()
    for event in follow_run(commit_target.client, sha, run_name, with_log=False):
        ignored.print_once(event)
        if not isinstance(event, RunEnded):  # the end was told when its status came
            follow.print_notice(event)
        if isinstance(event, StatusChanged) and event.is_final:
            if prints_end:
                _print_end(commit_target, run_name, event)
            if not exit_status:  # the status says it all: the run's page is not asked
                return 0
        elif isinstance(event, RunEnded):
            return event.outcome.exit_code
    return 0


def _print_end(commit_target: CommitTarget, run_name: str, event: StatusChanged) -> None:
    """Print how a run ended, and where more is to be found."""
    sha, status = commit_target.sha, event.posted.status
    sys.stdout.write(f"{sha[:7]}  {run_name}  {table.escape_unprintable(status.description)}\n")
    sys.stdout.flush()
    if status.target_url:
        sys.stderr.write(f"fyre: {table.escape_unprintable(status.target_url)}\n")
    follow.print_next_step(commit_target.client, sha, run_name, event.posted, event.text.state)
