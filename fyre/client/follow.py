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
    LogInterrupted,
    RunEnded,
    RunOutcome,
    StatusChanged,
    StatusMissing,
)
from fyre.client.run_client import CONTEXT_PREFIX, RunClient
from fyre.errors import TransientError, UserError
from fyre.github.client import PostedStatus
from fyre.runs import commit_status

_POLL_INTERVALS = {True: Backoff(0.1, 1.0, factor=1.2), False: Backoff(2.0, 15.0, factor=1.2)}
"""Pauses between two polls; by True for a forge on this machine, False for others."""

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
        yield from _stream_log(first.status.target_url, log_offset)
    last = yield from _poll_status(client, sha, name, until_final=True, seen=first)
    facts = run_page.read_facts(last.status.target_url)
    yield RunEnded(last, RunOutcome.from_status(last, facts))


def _stream_log(url: str, offset: int) -> Iterator[FollowEvent]:
    """Yield a run's log as it grows, until the run ends or the log can't be read."""
    if not url:
        return
    try:
        for chunk in run_page.read_log(url, live=True, offset=offset):
            yield chunk
            offset = chunk.end_offset
    except UserError as error:
        yield LogInterrupted(error.message, offset)


def _poll_status(
    client: RunClient, sha: str, name: str, *, until_final: bool, seen: PostedStatus | None = None
) -> Generator[FollowEvent, None, PostedStatus]:
    """Poll until a run has a status, or with ``until_final`` a final status; return that.

    ``seen`` is the status that was yielded already.
    """
    backoff = _POLL_INTERVALS[client.remote.is_local]
    pause = backoff.first
    missing_at = time.monotonic() + STATUS_MISSING_AFTER
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
