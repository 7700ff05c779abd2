"""Print the events of a run on the terminal: its log on stdout, what interrupts it on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fyre.cli import table
from fyre.client.events import (
    FollowEvent,
    ForgeInterrupted,
    LogChunk,
    LogInterrupted,
    RunEnded,
    StatusMissing,
)
from fyre.client.follow import follow_run
from fyre.client.run_client import RunClient
from fyre.runs.state import RunState

if TYPE_CHECKING:  # loads the engines
    from fyre.apps.local_run import OutputSink


def print_run(client: RunClient, sha: str, name: str, output: OutputSink | None = None) -> int:
    """Wait for a run, copy its log to ``output`` (stdout), and return the command's exit code.

    It is 128 + n for a signal, and 124 for a timeout. It is 1, with the reason on stderr, for a run
    that was not launched, or whose outcome is not the command's own.
    """
    output = output or sys.stdout.buffer
    exit_code = 1
    for event in follow_run(client, sha, name):
        if isinstance(event, LogChunk):
            output.write(event.data)
            output.flush()
        elif isinstance(event, RunEnded):
            exit_code = event.outcome.exit_code
        print_notice(event)
    return exit_code


def print_notice(event: FollowEvent) -> None:
    """Print to stderr what a person should know of an event.

    That is an interruption, or why a run did not succeed.
    """
    match event:
        case ForgeInterrupted(reason=reason):
            notice = f"{reason}; trying again"
        case LogInterrupted(reason=reason):
            notice = f"{reason}; waiting for the status alone"
        case StatusMissing(sha=sha, repository_name=repository_name):
            notice = f"no status on {sha[:7]} yet; does a receiver hear of {repository_name}?"
        case RunEnded(outcome=outcome) if outcome.state is not RunState.SUCCEEDED:
            notice = table.escape_unprintable(outcome.description)
        case _:
            return
    sys.stderr.write(f"fyre: {notice}\n")
