"""``fyre watch``: follow the runs of a commit to their end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fyre.cli import follow, run_target, table
from fyre.cli.run_target import CommitTarget, JsonOption, NameOption, RemoteOption, RevArgument
from fyre.client.events import RunEnded, StatusChanged
from fyre.client.follow import follow_run
from fyre.errors import UserError
from fyre.github.errors import NotFoundError
from fyre.message import request
from fyre.runs.state import RunState


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

    With --exit-status, exits with the first exit code of a run that is not 0.
    """
    commit_target = run_target.resolve_target(rev, remote)
    run_names = request.parse_message(commit_target.message).run_names or tuple(
        run.name for run in commit_target.find_runs()
    )
    names = [run_name for run_name in run_names if not name or run_name.lower() == name.lower()]
    if not names:
        raise UserError(
            f"{commit_target.sha[:7]} asks for no run named {name!r}",
            hint=f"it has {', '.join(run_names)}",
        )
    codes = []
    for run_name in names:
        try:
            codes.append(
                _watch_run(commit_target, run_name, exit_status=exit_status, prints_end=not json)
            )
        except NotFoundError as error:
            raise commit_target.missing_commit_error() from error
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
        # A success was told when its status came.
        if not (isinstance(event, RunEnded) and event.outcome.state is RunState.SUCCEEDED):
            follow.print_notice(event)
        if isinstance(event, StatusChanged) and event.is_final:
            if prints_end:
                description = table.escape_unprintable(event.posted.status.description)
                sys.stdout.write(f"{sha[:7]}  {run_name}  {description}\n")
                sys.stdout.flush()
                if event.posted.status.target_url:
                    url = table.escape_unprintable(event.posted.status.target_url)
                    sys.stderr.write(f"fyre: {url}\n")
            if not exit_status:  # the status says it all: the run's page is not asked
                return 0
        elif isinstance(event, RunEnded):
            return event.outcome.exit_code
    return 0
