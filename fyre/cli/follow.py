"""Print the events of a run on the terminal: its log on stdout, what interrupts it on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fyre.cli import table
from fyre.client.events import (
    FollowEvent,
    ForgeInterrupted,
    LogChunk,
    LogCut,
    LogGap,
    LogInterrupted,
    LogResumed,
    RunEnded,
    RunNotStarted,
    StatusChanged,
    StatusMissing,
)
from fyre.client.follow import follow_run
from fyre.client.run_client import RunClient
from fyre.github.client import PostedStatus
from fyre.runs.state import RunState
from fyre.runs.status_text import NOT_HONOURED
from fyre.workspace import remote

if TYPE_CHECKING:  # loads the engines
    from fyre.apps.local_run import OutputSink


def print_run(client: RunClient, sha: str, name: str, output: OutputSink | None = None) -> int:
    """Wait for a run, copy its log to ``output`` (stdout), and return the command's exit code.

    It is 128 + n for a signal, and 124 for a timeout. It is 1, with the reason on stderr, for a run
    that was not launched, or whose outcome is not the command's own.
    """
    output = output or stdout_sink()
    exit_code, is_cut, is_log_missing, last_byte = 1, False, False, b""
    ignored = IgnoredFields(before_log=True)
    for event in follow_run(client, sha, name):
        ignored.print_once(event)
        print_log_event(event, output)
        if isinstance(event, LogChunk):
            last_byte = event.data[-1:] or last_byte
        elif isinstance(event, LogCut):
            is_cut = event.offset > 0  # a log that was never reached is not half a log
            is_log_missing = True
        elif isinstance(event, RunEnded):
            exit_code = event.outcome.exit_code
            if last_byte not in {b"", b"\n"}:
                from fyre.apps.local_run import end_output_line  # loads the engines

                end_output_line(last_byte)
        print_notice(event)
        if isinstance(event, RunEnded) and (last_byte or is_log_missing):
            print_next_step(client, sha, name, event.posted, event.outcome.state)
    return exit_code or int(is_cut)


def wait_for_end(client: RunClient, sha: str, name: str) -> int:
    """Wait for a run without printing anything; return the exit code as ``print_run`` does."""
    events = follow_run(client, sha, name, with_log=False)
    return next(event.outcome.exit_code for event in events if isinstance(event, RunEnded))


def print_log_event(event: FollowEvent, output: OutputSink) -> None:
    """Write a piece of the log as it came, and a line for a part that the receiver has not kept."""
    data = b""
    if isinstance(event, LogChunk):
        data = event.data
    elif isinstance(event, LogGap):
        data = event.marker
    if data:
        output.write(data)
        output.flush()


def print_next_step(
    client: RunClient, sha: str, name: str, posted: PostedStatus, state: RunState
) -> None:
    """Print to stderr how to read the output of a run that did not succeed."""
    if state is not RunState.SUCCEEDED and posted.status.target_url:
        option = remote.option_for(client.remote.name)
        sys.stderr.write(f"fyre: its output: fyre logs {sha[:12]} --name {name}{option}\n")


def stdout_sink() -> OutputSink:
    """Return what takes the bytes of a log and shows them on stdout, whatever stream that is."""
    if hasattr(sys.stdout, "buffer"):
        return sys.stdout.buffer
    from fyre.apps.local_run import TextSink  # a notebook's stream; this loads the engines

    return TextSink(sys.stdout)


class IgnoredFields:
    """The printer of what an engine can't do for a run: once, before its end.

    ``before_log`` is True where the log comes first, also of a run that has ended.
    """

    def __init__(self, *, before_log: bool = False) -> None:
        self._is_told, self._before_log = False, before_log

    def print_once(self, event: FollowEvent) -> None:
        """Print it to stderr as soon as a status says it; the end is printed anyway."""
        if self._is_told or not isinstance(event, StatusChanged):
            return
        is_first, self._before_log = self._before_log, False
        _, mark, names = event.posted.status.description.partition(NOT_HONOURED)
        if mark and (is_first or not event.is_final):
            self._is_told = True
            sys.stderr.write(f"fyre: {mark}{table.escape_unprintable(names)}\n")


def print_notice(event: FollowEvent) -> None:
    """Print to stderr what a person should know of an event.

    That is an interruption, why a run has not started, or how it ended.
    """
    match event:
        case ForgeInterrupted(reason=reason, hint=hint):
            notice = f"{reason}; trying again{hint and ': '}{hint}"
        case LogInterrupted(reason=reason):
            notice = f"{reason}: interrupted; trying again"
        case LogResumed():
            notice = "the log goes on where it was interrupted"
        case LogCut(reason=reason, offset=0):
            notice = f"{reason}; waiting for the status alone"
        case LogCut(reason=reason, offset=offset):
            notice = f"{reason}: the log is cut after {offset:,} bytes"
        case StatusMissing(sha=sha, repository_name=repository_name):
            notice = f"no status on {sha[:7]} yet: waiting for it; does a receiver hear of "
            notice += f"{repository_name}?"
        case RunNotStarted(description=description):
            notice = table.escape_unprintable(description)
        case RunEnded(outcome=outcome, posted=posted):
            notice = table.escape_unprintable(outcome.description)
            if posted.status.target_url:
                notice += f" · {table.escape_unprintable(posted.status.target_url)}"
        case _:
            return
    sys.stderr.write(f"fyre: {notice}\n")
