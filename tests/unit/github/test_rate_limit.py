"""When the next write may go: held against a counter of sliding windows, and against each way of
being refused.
"""

from __future__ import annotations

import itertools
import math
import random

import pytest

from fyre.github import rate_limit
from fyre.github.rate_limit import RateLimitHeaders, RateLimits, WriteBudget

NOW = 1_767_323_045.0
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
COUNTED = WriteBudget(is_limited=True)
SECONDARY = "You have exceeded a secondary rate limit"


def written(
    pace: WriteBudget, count: int, leaving: int | None = None, now: float = 0.0
) -> tuple[WriteBudget, list[float]]:
    """So many writes, each as early as it may go."""
    times = []
    for _ in range(count):
        now = max(now, pace.next_write_at(leaving))
        times.append(now)
        pace = pace.after_write(now)
    return pace, times


def most_within(times: list[float], span: float) -> int:
    return max(sum(at <= other < at + span for other in times) for at in times)


def test_a_forge_that_counts_nothing_has_no_pace() -> None:
    pace, times = written(WriteBudget(), 1000)
    assert set(times) == {0.0}
    assert (
        pace.after_response(
            0.0, rate_limit.parse_rate_limit_headers(201, {"Date": DATE}, "", NOW)
        ).next_write_at()
        == -math.inf
    )


def test_an_answer_that_names_a_limit_sets_the_pace() -> None:
    pace = (
        WriteBudget()
        .after_write(5.0)
        .after_response(
            5.0, rate_limit.parse_rate_limit_headers(201, {"X-RateLimit-Limit": "5000"}, "", NOW)
        )
    )
    assert 6.0 < pace.next_write_at() < 6.1


@pytest.mark.parametrize(
    "ceilings", [RateLimits(), RateLimits(0.2), RateLimits(0.0, ((7, 3.0), (20, 50.0)))]
)
def test_no_window_ever_holds_more_than_it_may(ceilings: RateLimits) -> None:
    pick = random.Random(4)
    pace, times, now = WriteBudget(ceilings, is_limited=True), [], 0.0
    for _ in range(1200):
        now = max(now + pick.choice([0, 0, 0, 0, 40]) * pick.random(), pace.next_write_at())
        times.append(now)
        pace = pace.after_write(now)
    assert all(most_within(times, span) <= limit for limit, span in ceilings.windows)
    assert all(b - a >= ceilings.min_interval for a, b in itertools.pairwise(times))
    assert len(pace.sent_times) <= ceilings.windows[-1][0] + 1


def test_five_hundred_go_at_a_second_each_and_the_next_waits_for_the_first_to_be_an_hour_old() -> (
    None
):
    _, times = written(COUNTED, 501)
    assert times[499] < 530
    assert 3600 < times[500] < 3601


def test_what_can_be_done_without_leaves_room_for_what_can_not() -> None:
    _, times = written(COUNTED, 201, leaving=300)
    assert times[199] < 220
    assert times[200] > 3600
    assert COUNTED.after_write(0.0).next_write_at(reserve=500) == math.inf
    assert written(COUNTED, 376, leaving=0)[1][375] > 3600, "a quarter is always left"


@pytest.mark.parametrize(
    ("status", "headers", "message", "wait"),
    [
        (403, {"Retry-After": "30"}, SECONDARY, 30),
        (429, {"retry-after": "30"}, "", 30),
        (429, {"Date": DATE, "Retry-After": "Fri, 02 Jan 2026 03:05:05 GMT"}, "", 60),
        (403, {}, SECONDARY, 60),
        (429, {}, "Too many", 60),
        (429, {"Date": DATE, "Retry-After": "Fri, 02 Jan 2026 03:03:05 GMT"}, "", 0),
        (429, {"Retry-After": "soon"}, "", 60),
        (429, {"Retry-After": "-1"}, "", 60),
        (429, {"Retry-After": "999999999"}, "", 3600),
        (403, {"Date": DATE, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 100:.0f}"},
         "", 101),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 100:.0f}"}, "", 101),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "", 1),
        (403, {"X-RateLimit-Remaining": "0"}, "", 60),
    ],
)  # fmt: skip
def test_a_refusal_is_waited_out(
    status: int, headers: dict[str, str], message: str, wait: float
) -> None:
    told = rate_limit.parse_rate_limit_headers(status, headers, message, NOW)
    assert told.refused
    assert COUNTED.after_response(1000.0, told).next_write_at() == pytest.approx(
        1000 + wait, abs=0.1
    )


@pytest.mark.parametrize(
    ("status", "headers"),
    [(403, {}), (401, {}), (422, {}), (404, {}), (403, {"X-RateLimit-Remaining": "12"})],
)
def test_a_missing_right_is_no_limit(status: int, headers: dict[str, str]) -> None:
    assert not rate_limit.parse_rate_limit_headers(
        status, headers, "Resource not accessible by integration", NOW
    ).refused


def test_clocks_that_disagree_do_not_matter() -> None:
    told = rate_limit.parse_rate_limit_headers(
        403,
        {"Date": DATE, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW:.0f}"},
        "",
        0.0,
    )
    assert told.reset_after == 1


def test_each_refusal_after_another_is_waited_out_twice_as_long_up_to_an_hour() -> None:
    pace, waits = COUNTED, []
    for _ in range(9):
        pace = pace.after_response(0.0, RateLimitHeaders(refused=True, retry_after=5))
        waits.append(round(pace.next_write_at()))
    assert waits == [5, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    again = pace.after_response(9000.0, RateLimitHeaders()).after_response(
        9000.0, RateLimitHeaders(refused=True, retry_after=5)
    )
    assert again.next_write_at() == pytest.approx(9005, abs=0.1)


def test_after_a_refusal_writes_go_at_the_rate_that_lasts() -> None:
    refused = COUNTED.after_response(0.0, RateLimitHeaders(refused=True, retry_after=5))
    times = written(refused, 3)[1]
    assert times == pytest.approx([5, 12.2, 19.4], abs=0.3)


def test_after_the_primary_limit_writes_go_as_before() -> None:
    refused = COUNTED.after_response(
        0.0, RateLimitHeaders(refused=True, remaining=0, reset_after=100)
    )
    assert written(refused, 3)[1] == pytest.approx([100, 101, 102], abs=0.3)


@pytest.mark.parametrize(("leaving", "room"), [(None, 100), (0, 75), (25, 75), (90, 10)])
def test_what_can_be_done_without_leaves_a_quarter_of_the_longest_window(
    leaving: int | None, room: int
) -> None:
    times = written(
        WriteBudget(RateLimits(0.0, ((100, 50.0),)), is_limited=True), room + 1, leaving
    )[1]
    assert times[room - 1] < 10
    assert times[room] > 50


def test_where_that_rate_is_refused_too_it_gets_slower() -> None:
    pace = COUNTED
    for now in (0.0, 100.0):
        pace = (
            pace.after_write(now)
            .after_response(now, RateLimitHeaders(refused=True, retry_after=5))
            .after_response(now + 6, RateLimitHeaders())
        )
    times = written(pace, 3, now=105.0)[1]
    assert times[2] - times[1] == pytest.approx(10.8, abs=0.1)
    much_later = pace.after_write(9000.0)
    assert much_later.next_write_at() == pytest.approx(9001, abs=0.1)


def test_the_last_request_closes_the_door_before_anything_is_refused() -> None:
    told = RateLimitHeaders(limit=5000, remaining=0, reset_after=100)
    assert COUNTED.after_response(0.0, told).next_write_at() == 100


def test_what_can_be_done_without_is_not_worth_one_of_the_last_requests() -> None:
    pace = COUNTED.after_response(0.0, RateLimitHeaders(limit=5000, remaining=499, reset_after=100))
    assert (pace.next_write_at(), pace.next_write_at(reserve=0)) == (-math.inf, 100)
    assert not RateLimitHeaders(limit=5000, remaining=500).is_low
