"""The retry queue by its own clock: pauses double, and after a day an event is given up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from fyre.controller.events import RunEndEvent, SweepEvent
from fyre.controller.retry_queue import RETRY_PERIOD, RetryItem, RetryQueue
from fyre.errors import TransientError
from fyre.github.errors import DeniedError, RateLimitError
from fyre.github.rate_limit import DEFAULT_WAIT, WAIT_MAX, RateLimitHeaders
from fyre.github.webhook import PushEvent
from fyre.runs.run import Repository

AWAY, DENIED = TransientError("the forge is away"), DeniedError("the token may not")
REPOSITORY = Repository("http://forge", 1, "ada/engine")
OTHER = RunEndEvent(REPOSITORY, "a" * 40, "key")


@dataclass
class Time:
    now: float = 1000.0
    queue: RetryQueue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = RetryQueue(clock=lambda: self.now)

    def failures(self, item: RetryItem, error: Exception) -> Iterator[float]:
        """Yield the seconds until each try, of which every one fails, until it is given up."""
        while True:
            self.queue.push(item, error)
            if not self.queue:
                return
            pause = self.queue.next_due - self.now
            self.now = self.queue.next_due
            item = self.queue.pop()
            yield pause


@pytest.mark.parametrize(("error", "most"), [(AWAY, 60.0), (DENIED, 600.0)])
def test_what_nobody_mends_is_given_up_after_a_day(
    error: Exception, most: float, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    pauses = list(time.failures(RetryItem(SweepEvent()), error))
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == most
    assert RETRY_PERIOD == 24 * 3600
    # The last try is the first one after a day.
    assert RETRY_PERIOD <= time.now - 1000.0 < RETRY_PERIOD + most
    assert time.queue.last_dropped is error
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert warnings == [f"tried again later: {error}", f"given up after 24 h: {error}"]


def test_what_somebody_must_mend_may_have_less_time() -> None:
    time = Time()
    time.queue.max_age_operator = 0.0
    assert list(time.failures(RetryItem(SweepEvent()), DENIED)) == []
    assert time.queue.last_dropped is DENIED
    assert len(list(time.failures(RetryItem(SweepEvent()), AWAY))) > 1000


def test_an_event_that_waits_is_not_added_again() -> None:
    time = Time()
    for item in (RetryItem(SweepEvent()), RetryItem(SweepEvent(), at=5.0), RetryItem(OTHER)):
        time.queue.push(item, AWAY)
    assert len(time.queue) == 2
    assert [time.queue.pop().event for _ in range(2)] == [SweepEvent(), OTHER]


@pytest.mark.parametrize(
    ("told", "pause"),
    [
        (RateLimitHeaders(refused=True, retry_after=90.0), 90.0),
        (RateLimitHeaders(refused=True, retry_after=0.1), 0.5),
        (RateLimitHeaders(refused=True, remaining=0, reset_after=120.0), 120.0),
        (RateLimitHeaders(refused=True, remaining=5, reset_after=120.0), DEFAULT_WAIT),
        (RateLimitHeaders(refused=True), DEFAULT_WAIT),
        (RateLimitHeaders(refused=True, retry_after=1e9), WAIT_MAX),
    ],
)
def test_nothing_is_asked_before_a_limit_ends(told: RateLimitHeaders, pause: float) -> None:
    time = Time()
    time.queue.push(RetryItem(SweepEvent()), RateLimitError("too many requests", told))
    assert time.queue.next_due - time.now == pause


def test_9_26_of_the_ends_of_a_commits_runs_one_is_tried_again() -> None:
    """Each would plan the commit again and again, and ask the forge, while one is refused."""
    time = Time()
    for item in (OTHER, RunEndEvent(REPOSITORY, "a" * 40, "b"), RunEndEvent(REPOSITORY, "b", "c")):
        time.queue.push(RetryItem(item), AWAY)
    assert [time.queue.pop().event.sha for _ in range(len(time.queue))] == ["a" * 40, "b"]


def test_a_push_is_the_same_whoever_tells_of_it_and_another_persons_is_not() -> None:
    push = PushEvent(REPOSITORY, "refs/heads/main", "a" * 40, "b" * 40, "ada", ("b" * 40,))
    swept = PushEvent(REPOSITORY, "refs/heads/main", "a" * 40, "b" * 40, "ada", ())
    others = PushEvent(REPOSITORY, "refs/heads/main", "a" * 40, "b" * 40, "bob", ())
    assert RetryItem(push).ident == RetryItem(swept).ident != RetryItem(others).ident
