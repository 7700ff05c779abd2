"""When the next write may go: held against a counter of sliding windows, and against each way of being refused."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from fyre.github import rate_limit
from fyre.github.rate_limit import Ceilings, Pace, Told

NOW = 1_767_323_045.0
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
COUNTED = Pace(counted=True)
SECONDARY = "You have exceeded a secondary rate limit"


def written(
    pace: Pace, count: int, leaving: int | None = None, now: float = 0.0
) -> tuple[Pace, list[float]]:
    """So many writes, each as early as it may go."""
    times = []
    for _ in range(count):
        now = max(now, pace.next_at(leaving))
        times.append(now)
        pace = pace.wrote(now)
    return pace, times


def most_within(times: list[float], span: float) -> int:
    return max(sum(at <= other < at + span for other in times) for at in times)


def test_a_forge_that_counts_nothing_has_no_pace() -> None:
    pace, times = written(Pace(), 1000)
    assert set(times) == {0.0}
    assert pace.heard(0.0, rate_limit.read(201, {"Date": DATE}, "", NOW)).next_at() == -math.inf


def test_an_answer_that_names_a_limit_sets_the_pace() -> None:
    pace = (
        Pace().wrote(5.0).heard(5.0, rate_limit.read(201, {"X-RateLimit-Limit": "5000"}, "", NOW))
    )
    assert 6.0 < pace.next_at() < 6.1


@pytest.mark.parametrize(
    "ceilings", [Ceilings(), Ceilings(0.2), Ceilings(0.0, ((7, 3.0), (20, 50.0)))]
)
def test_no_window_ever_holds_more_than_it_may(ceilings: Ceilings) -> None:
    pick = random.Random(4)
    pace, times, now = Pace(ceilings, counted=True), [], 0.0
    for _ in range(1200):
        now = max(now + pick.choice([0, 0, 0, 0, 40]) * pick.random(), pace.next_at())
        times.append(now)
        pace = pace.wrote(now)
    assert all(most_within(times, span) <= limit for limit, span in ceilings.windows)
    assert all(b - a >= ceilings.apart for a, b in itertools.pairwise(times))
    assert len(pace.sent) <= ceilings.windows[-1][0] + 1


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
    assert COUNTED.wrote(0.0).next_at(leaving=500) == math.inf
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
        (403, {"Date": DATE, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 100:.0f}"}, "", 101),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 100:.0f}"}, "", 101),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "", 1),
        (403, {"X-RateLimit-Remaining": "0"}, "", 60),
    ],
)  # fmt: skip
def test_a_refusal_is_waited_out(
    status: int, headers: dict[str, str], message: str, wait: float
) -> None:
    told = rate_limit.read(status, headers, message, NOW)
    assert told.refused
    assert COUNTED.heard(1000.0, told).next_at() == pytest.approx(1000 + wait, abs=0.1)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(403, {}), (401, {}), (422, {}), (404, {}), (403, {"X-RateLimit-Remaining": "12"})],
)
def test_a_missing_right_is_no_limit(status: int, headers: dict[str, str]) -> None:
    assert not rate_limit.read(
        status, headers, "Resource not accessible by integration", NOW
    ).refused


def test_clocks_that_disagree_do_not_matter() -> None:
    told = rate_limit.read(
        403,
        {"Date": DATE, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW:.0f}"},
        "",
        0.0,
    )
    assert told.reset == 1


def test_each_refusal_after_another_is_waited_out_twice_as_long_up_to_an_hour() -> None:
    pace, waits = COUNTED, []
    for _ in range(9):
        pace = pace.heard(0.0, Told(refused=True, retry_after=5))
        waits.append(round(pace.next_at()))
    assert waits == [5, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    again = pace.heard(9000.0, Told()).heard(9000.0, Told(refused=True, retry_after=5))
    assert again.next_at() == pytest.approx(9005, abs=0.1)


def test_after_a_refusal_writes_go_at_the_rate_that_lasts() -> None:
    refused = COUNTED.heard(0.0, Told(refused=True, retry_after=5))
    times = written(refused, 3)[1]
    assert times == pytest.approx([5, 12.2, 19.4], abs=0.3)


def test_after_the_primary_limit_writes_go_as_before() -> None:
    refused = COUNTED.heard(0.0, Told(refused=True, remaining=0, reset=100))
    assert written(refused, 3)[1] == pytest.approx([100, 101, 102], abs=0.3)


@pytest.mark.parametrize(("leaving", "room"), [(None, 100), (0, 75), (25, 75), (90, 10)])
def test_what_can_be_done_without_leaves_a_quarter_of_the_longest_window(
    leaving: int | None, room: int
) -> None:
    times = written(Pace(Ceilings(0.0, ((100, 50.0),)), counted=True), room + 1, leaving)[1]
    assert times[room - 1] < 10
    assert times[room] > 50


def test_where_that_rate_is_refused_too_it_gets_slower() -> None:
    pace = COUNTED
    for now in (0.0, 100.0):
        pace = pace.wrote(now).heard(now, Told(refused=True, retry_after=5)).heard(now + 6, Told())
    times = written(pace, 3, now=105.0)[1]
    assert times[2] - times[1] == pytest.approx(10.8, abs=0.1)
    much_later = pace.wrote(9000.0)
    assert much_later.next_at() == pytest.approx(9001, abs=0.1)


def test_the_last_request_closes_the_door_before_anything_is_refused() -> None:
    told = Told(limit=5000, remaining=0, reset=100)
    assert COUNTED.heard(0.0, told).next_at() == 100


def test_what_can_be_done_without_is_not_worth_one_of_the_last_requests() -> None:
    pace = COUNTED.heard(0.0, Told(limit=5000, remaining=499, reset=100))
    assert (pace.next_at(), pace.next_at(leaving=0)) == (-math.inf, 100)
    assert not Told(limit=5000, remaining=500).low
