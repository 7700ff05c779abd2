"""Follow a run to its end, as events: its commit status, and its log from the receiver.

The status is always there and decides. The receiver's page (the status's ``target_url``) says more,
and sooner, if it can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

from fyre.backoff import Backoff
from fyre.client import run_page
from fyre.client.events import (
    FollowEvent,
    ForgeInterrupted,
    LogCut,
    RunEnded,
    RunOutcome,
    RunWaits,
    StatusChanged,
    StatusMissing,
)
from fyre.client.log_reader import RESUME_PATIENCE, LogBrokenOffError, LogReader, resume_reading
from fyre.client.run_client import CONTEXT_PREFIX, RunClient
from fyre.errors import TransientError
from fyre.github.client import PostedStatus
from fyre.runs import commit_status
from fyre.runs.state import RunState

_POLL_INTERVALS = {True: Backoff(0.1, 1.0, factor=1.2), False: Backoff(2.0, 15.0, factor=1.2)}
"""Pauses between two polls; by True for a forge on this machine, False for others."""

_RESUME_PAUSES = Backoff(0.1, 3.0)
"""Pauses between two attempts to read a log that broke off."""

_QUEUE_PAUSES = Backoff(0.05, 2.0, factor=1.3)
"""Pauses between two looks at the page of a run that is queued."""

_WAITING_AFTER = 0.5
"""Seconds after which a queued run is said to wait."""

_FIRST_PATIENCE = 5.0
"""Seconds after the run's end for a log that could never be reached: not everybody may."""

STATUS_MISSING_AFTER = 20.0
"""Seconds without a status of the run before ``StatusMissing``."""


def follow_run(
    client: RunClient, sha: str, name: str, *, with_log: bool = True, log_offset: int = 0
) -> Iterator[FollowEvent]:
    """Yield what happens to a run until it has ended; the last event is ``RunEnded``.

    A run that has ended yields its log and its end. The log begins at the byte ``log_offset``;
    while it grows, the forge is not asked for statuses. Whoever follows may stop at any event; the
    run goes on.

    Raises ``UserError`` if the forge refuses to answer, ``NotFoundError`` if it does not have the
    commit.
    """
    first = None
    if with_log:
        first = yield from _poll_status(client, sha, name, until_final=False)
        waiting = _WaitingRun()
        while waiting.is_queued(first.status.target_url):
            yield from waiting.news()
            time.sleep(waiting.next_pause())
        yield from _stream_log(client, sha, name, first.status.target_url, log_offset)
    last = yield from _poll_status(client, sha, name, until_final=True, seen=first)
    facts = run_page.read_facts(last.status.target_url)
    yield RunEnded(last, RunOutcome.from_status(last, facts))


class _WaitingRun:
    """A run that may still be queued, and what was told of that."""

    def __init__(self) -> None:
        self._told = self._description = ""
        self._since = time.monotonic()
        self._pause = 0.0
        self._may_be_queued = True

    def is_queued(self, url: str) -> bool:
        """Return True if the run's page says so; it is not asked again once it does not."""
        if self._may_be_queued and url:
            facts = run_page.read_facts(url)
            self._may_be_queued = facts.get("state") is RunState.QUEUED
            self._description = facts.get("description", "")
        return self._may_be_queued and bool(url)

    def news(self) -> Iterator[RunWaits]:
        """Yield why it waits, if that is new, and not just a moment."""
        has_waited = time.monotonic() - self._since >= _WAITING_AFTER
        if has_waited and self._description != self._told:
            self._told = self._description
            yield RunWaits(self._description)

    def next_pause(self) -> float:
        """Return the seconds until the page is asked again."""
        self._pause = _QUEUE_PAUSES.after(self._pause)
        return self._pause


def _stream_log(
    client: RunClient, sha: str, name: str, url: str, offset: int
) -> Iterator[FollowEvent]:
    """Yield a run's log as it grows, until the run ends or the log can't be read.

    While the receiver is away it is asked again, for as long as the run has no final status, and a
    while longer.
    """
    if not url:
        return
    reader = LogReader(url, live=True, offset=offset)
    deadline: float | None = None

    def gives_up(error: LogBrokenOffError, is_first: bool, _: float) -> bool:  # noqa: FBT001 - as ``GivesUp`` has it
        nonlocal deadline
        if is_first:
            deadline = None
        if deadline is None and _has_ended(client, sha, name):
            patience = RESUME_PATIENCE if reader.was_reached else _FIRST_PATIENCE
            deadline = time.monotonic() + patience
        return error.is_permanent or (deadline is not None and time.monotonic() > deadline)

    try:
        yield from resume_reading(reader, _RESUME_PAUSES, gives_up)
    except LogBrokenOffError as error:
        yield LogCut(error.message, reader.offset)


def _has_ended(client: RunClient, sha: str, name: str) -> bool:
    """Return True if the run has a final status; False also where the forge does not answer."""
    try:
        posted = _find_status(client, sha, name)
    except TransientError:
        return False
    return posted is not None and StatusChanged.from_posted(posted).is_final


def _poll_status(
    client: RunClient, sha: str, name: str, *, until_final: bool, seen: PostedStatus | None = None
) -> Generator[FollowEvent, None, PostedStatus]:
    """Poll until a run has a status, or with ``until_final`` a final status; return that.

    ``seen`` is the status that was yielded already.
    """
    backoff = _POLL_INTERVALS[client.remote.is_local]
    pause = backoff.first
    missing_at = time.monotonic() + STATUS_MISSING_AFTER
    waiting = _WaitingRun()
    told_reasons: set[str] = set()  # one event each, even if the forge is away for an hour
    while True:
        posted = None
        try:
            posted = _find_status(client, sha, name)
        except TransientError as error:
            if str(error) not in told_reasons:
                yield ForgeInterrupted(str(error))
            told_reasons.add(str(error))
        if posted is not None:
            event = StatusChanged.from_posted(posted)
            if posted != seen:
                yield event
            seen = posted
            if event.is_final or not until_final:
                return posted
            if waiting.is_queued(posted.status.target_url):
                yield from waiting.news()
        elif time.monotonic() > missing_at:
            missing_at = float("inf")
            yield StatusMissing(sha, client.repository.name)
        time.sleep(pause)
        pause = backoff.after(pause)


def _find_status(client: RunClient, sha: str, name: str) -> PostedStatus | None:
    """Return the newest status of a run, or the one that says that it ran on another commit."""
    statuses = {posted.status.context.lower(): posted for posted in client.latest_statuses(sha)}
    return statuses.get(f"{CONTEXT_PREFIX}{name}".lower()) or statuses.get(
        commit_status.MOVED_CONTEXT
    )
