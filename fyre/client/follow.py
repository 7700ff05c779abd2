"""Follow a run to its end, as events: its commit status, and its log from the receiver.

The status is always there and decides. The receiver's page (the status's ``target_url``) says more,
and sooner, if it can be reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import suppress

from fyre.backoff import Backoff
from fyre.client import run_page
from fyre.client.events import (
    FollowEvent,
    ForgeInterrupted,
    LogCut,
    LogEvent,
    RunEnded,
    RunNotStarted,
    RunOutcome,
    StatusChanged,
    StatusMissing,
)
from fyre.client.log_reader import (
    RESUME_PATIENCE,
    LogBrokenOffError,
    LogReader,
    Patience,
    read_log,
    resume_reading,
)
from fyre.client.run_client import CONTEXT_PREFIX, RunClient, RunSummary
from fyre.errors import TransientError, UserError
from fyre.github.client import PostedStatus
from fyre.github.errors import RateLimitError
from fyre.message import value_parsers
from fyre.runs import commit_status
from fyre.runs.state import UNSTARTED_STATES, RunState
from fyre.workspace import remote

_POLL_INTERVALS = {True: Backoff(0.1, 1.0, factor=1.2), False: Backoff(2.0, 15.0, factor=1.2)}
"""Pauses between two polls; by True for a forge on this machine, False for others."""

_RESUME_PAUSES = Backoff(0.1, 3.0)
"""Pauses between two attempts to read a log that broke off."""

_START_PAUSES = Backoff(0.05, 2.0, factor=1.3)
"""Pauses between two looks at the page of a run that has not started."""

_TOLD_AFTER = 0.5
"""Seconds after which it is told why a run has not started."""

_BEFORE_COMMAND = UNSTARTED_STATES | {RunState.STARTING}
"""The states of a run whose command has not begun: it waits, or its setup is under way."""

_FIRST_PATIENCE = 5.0
"""Seconds after the run's end for a log that could never be reached: not everybody may."""

STATUS_MISSING_AFTER = 20.0
"""Seconds without a status of the run before ``StatusMissing``."""

WATCHED_MISSING_AFTER = 2.0
"""The same where only the end is waited for: seldom was that run pushed just now."""

FORGE_FIRST_PATIENCE = 60.0
"""Seconds after which a forge is given up that never answered: its address may be wrong."""

FORGE_PATIENCE = 3600.0
"""Seconds after which a forge is given up that answered before: it may be under repair."""


def follow_run(
    client: RunClient, sha: str, name: str, *, with_log: bool = True, log_offset: int = 0
) -> Iterator[FollowEvent]:
    """Yield what happens to a run until it has ended; the last event is ``RunEnded``.

    A run that has ended yields its log and its end. The log begins at the byte ``log_offset``;
    while it grows, the forge is not asked for statuses. Whoever follows may stop at any event; the
    run goes on.

    Raises ``UserError`` if the forge refuses to answer, or does not answer for too long,
    ``NotFoundError`` if it does not have the commit.
    """
    first, statuses = None, _RunStatuses(client, sha, name)
    if with_log:
        first = yield from _poll_status(statuses, until_final=False)
        seen = StatusChanged.from_posted(first)
        started = yield from _await_start(statuses, seen)
        url = started.posted.status.target_url
        log_offset = yield from _stream_setup(url, log_offset)
        yield from _stream_log(statuses, url, log_offset)
    last = yield from _poll_status(statuses, until_final=True, seen=first)
    facts = run_page.read_facts(last.status.target_url)
    yield RunEnded(last, RunOutcome.from_status(last, facts))


def follow_log(client: RunClient, run: RunSummary) -> Iterator[RunNotStarted | LogEvent]:
    """Yield why a run has not started, until it has, then its log, until it ends.

    Raises ``UserError`` if the log can't be read on.
    """

    log_url = run.log_url
    if run.state in UNSTARTED_STATES:
        statuses = _RunStatuses(client, run.sha, run.name)
        status = statuses.current(run.attempt)
        if status is not None:
            started = yield from _await_start(statuses, status)
            log_url = started.posted.status.target_url or log_url
    yield from read_log(log_url, live=True)


class _RunStatuses:
    """The statuses of one run on its forge, which is given up once it is away for too long."""

    def __init__(self, client: RunClient, sha: str, name: str) -> None:
        self.client, self.sha, self.name = client, sha, name
        self._patience = FORGE_FIRST_PATIENCE
        self._away_since: float | None = None
        self._limit: RateLimitError | None = None
        self._limit_ends_at = 0.0

    def find(self, attempt: int = 0) -> PostedStatus | None:
        """Return the newest status of the run, or the one that says that it ran elsewhere.

        Raises ``TransientError`` where the forge does not answer, ``UserError`` once that has
        lasted for too long. A rate limit is an answer: until it ends the forge is not asked.
        """
        if self._limit is not None and time.monotonic() < self._limit_ends_at:
            raise self._limit
        try:
            latest = self.client.latest_statuses(self.sha, attempt)
        except RateLimitError as error:
            self._away_since, self._patience = None, FORGE_PATIENCE
            self._limit, self._limit_ends_at = error, time.monotonic() + error.headers.wait
            raise
        except TransientError as error:
            now = time.monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since >= self._patience:
                raise UserError(
                    f"{error}, for {value_parsers.format_duration(self._patience)} now: given up",
                    hint="a run that has begun goes on; once the forge answers: "
                    f"fyre watch {self.sha[:12]}{remote.option_for(self.client.remote.name)}",
                ) from error
            raise
        self._away_since, self._patience = None, FORGE_PATIENCE
        statuses = {posted.status.context.lower(): posted for posted in latest}
        return statuses.get(f"{CONTEXT_PREFIX}{self.name}".lower()) or statuses.get(
            commit_status.MOVED_CONTEXT
        )

    def current(self, attempt: int = 0) -> StatusChanged | None:
        """Return the newest status; None also where the forge does not answer.

        Raises ``UserError`` once that has lasted for too long.
        """
        try:
            posted = self.find(attempt)
        except TransientError:
            return None
        return None if posted is None else StatusChanged.from_posted(posted)

    def has_ended(self) -> bool:
        """Return True if the run has a final status; False also where the forge does not answer.

        Raises ``UserError`` once that has lasted for too long.
        """
        status = self.current()
        return status is not None and status.is_final


def _await_start(
    statuses: _RunStatuses, status: StatusChanged
) -> Generator[RunNotStarted, None, StatusChanged]:
    """Yield why a run has not started, until it has; return the status that is known then.

    The forge is asked only while the run's page can't be read. A run that the engine did not take
    yet has none.
    """
    unstarted = _UnstartedRun()
    attempt, pause = status.text.attempt, 0.0
    while unstarted.is_confirmed(status):
        yield from unstarted.news()
        is_local = statuses.client.remote.is_local
        pauses = _START_PAUSES if unstarted.has_page else _POLL_INTERVALS[is_local]
        pause = pauses.after(pause)
        time.sleep(pause)
        if not unstarted.has_page:
            status = statuses.current(attempt) or status
    return status


def _stream_setup(url: str, offset: int) -> Generator[FollowEvent, None, int]:
    """Yield what a run's setup does and writes, as long as it lasts; return the log's offset then.

    Its steps are on the run's page, and many of them write nothing for minutes.
    """
    news, pause = _News(), 0.0
    while (facts := run_page.read_facts(url)).get("state") is RunState.STARTING:
        yield from news.tell(facts.get("description", ""))
        reader = LogReader(url, live=False, has_ended=lambda: False, offset=offset)
        with suppress(LogBrokenOffError):  # whoever reads on says so
            yield from reader.read_available()
        offset = reader.offset
        pause = _START_PAUSES.after(pause)
        time.sleep(pause)
    return offset


class _News:
    """Why a run's command has not begun, and what was told of that."""

    def __init__(self) -> None:
        self._told = ""
        self._since = time.monotonic()

    def tell(self, description: str) -> Iterator[RunNotStarted]:
        """Yield the reason, if that is new, and the run has waited for more than a moment."""
        is_lasting = time.monotonic() - self._since >= _TOLD_AFTER
        if is_lasting and description != self._told:
            self._told = description
            yield RunNotStarted(description)


class _UnstartedRun:
    """A run in one of these states, and what was told of that."""

    def __init__(self, states: frozenset[RunState] = UNSTARTED_STATES) -> None:
        self._states = states
        self.has_page = True
        """True if its page could be read the last time."""

        self._description = ""
        self._news = _News()
        self._has_started = False

    def is_confirmed(self, status: StatusChanged) -> bool:
        """Return True if it has not started: so says its page, or else its status.

        Once it has started, the page is not asked again.
        """
        if self._has_started or status.text.state not in self._states:
            return False
        posted = status.posted.status
        facts = run_page.read_facts(posted.target_url)
        self.has_page = "state" in facts
        self._has_started = facts.get("state", status.text.state) not in self._states
        self._description = facts.get("description", posted.description)
        return not self._has_started

    def news(self) -> Iterator[RunNotStarted]:
        """Yield why, if that is new, and has been so for more than a moment."""
        return self._news.tell(self._description)


class _EndPatience(Patience):
    """The patience with a log of which more may come until its run has ended, and a while after."""

    def __init__(self, reader: LogReader) -> None:
        super().__init__(reader, RESUME_PATIENCE)
        self._reader = reader
        self._deadline: float | None = None

    def renew(self) -> None:
        """Begin anew: something was read."""
        self._deadline = None

    def is_over(self, error: LogBrokenOffError) -> bool:
        """Return True if the log is given up after this error."""
        if self._deadline is None and self._reader.has_ended():
            patience = RESUME_PATIENCE if self._reader.was_reached else _FIRST_PATIENCE
            self._deadline = time.monotonic() + patience
        is_late = self._deadline is not None and time.monotonic() > self._deadline
        return error.is_permanent or is_late


def _stream_log(statuses: _RunStatuses, url: str, offset: int) -> Iterator[FollowEvent]:
    """Yield a run's log as it grows, until the run ends or the log can't be read.

    While the receiver is away it is asked again, for as long as the run has no final status, and a
    while longer.
    """
    if not url:
        return
    reader = LogReader(url, live=True, has_ended=statuses.has_ended, offset=offset)
    try:
        yield from resume_reading(reader, _RESUME_PAUSES, _EndPatience(reader))
    except LogBrokenOffError as error:
        yield LogCut(error.message, reader.offset)


def _poll_status(
    statuses: _RunStatuses, *, until_final: bool, seen: PostedStatus | None = None
) -> Generator[FollowEvent, None, PostedStatus]:
    """Poll until a run has a status, or with ``until_final`` a final status; return that.

    ``seen`` is the status that was yielded already.
    """
    client = statuses.client
    backoff = _POLL_INTERVALS[client.remote.is_local]
    pause = backoff.first
    patience = min(STATUS_MISSING_AFTER, WATCHED_MISSING_AFTER if until_final else math.inf)
    missing_at: float | None = time.monotonic() + patience
    unstarted = _UnstartedRun(_BEFORE_COMMAND)
    told_reasons: set[str] = set()  # one event each, even if the forge is away for an hour
    while True:
        posted = None
        try:
            posted = statuses.find()
        except TransientError as error:
            if str(error) not in told_reasons:
                hint = getattr(error, "hint", "") if client.remote.is_local else ""
                yield ForgeInterrupted(str(error), hint)
            told_reasons.add(str(error))
            missing_at = missing_at and time.monotonic() + patience
        if posted is not None:
            event = StatusChanged.from_posted(posted)
            if posted != seen:
                yield event
            seen = posted
            if event.is_final or not until_final:
                return posted
            if unstarted.is_confirmed(event):
                yield from unstarted.news()
        elif missing_at is not None and time.monotonic() > missing_at:
            missing_at = None
            yield StatusMissing(statuses.sha, client.repository.name)
        time.sleep(pause)
        pause = backoff.after(pause)
