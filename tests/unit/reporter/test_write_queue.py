"""The order of writes: final states first; nobody waits for a repository that fails."""

from __future__ import annotations

import threading

import pytest

from fyre.backoff import Backoff
from fyre.github.rate_limit import RateLimitHeaders, RateLimits, WriteBudget
from fyre.reporter.write_identity import (
    CheckRunWrite,
    CommentWrite,
    RecordStatusWrite,
    UnrecordedStatusWrite,
    WriteId,
)
from fyre.reporter.write_queue import Priority, WriteQueue


class Time:
    """A clock that waiting moves."""

    now = 0.0

    def read(self) -> float:
        return self.now

    def wait(self, _: threading.Condition, seconds: float | None) -> None:
        assert seconds is not None, "nothing would ever end this"
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def turns(time: Time) -> WriteQueue:
    """Four writes within 100 s."""
    return WriteQueue(
        time.read, time.wait, WriteBudget(RateLimits(1.0, ((4, 100.0),)), is_limited=True)
    )


def write(turns: WriteQueue, due: float = 1e9) -> str | None:
    """The next one, written."""
    turn = turns.pop(due)
    if turn is None:
        return None
    turns.budget = turns.budget.after_write(turns.clock())
    return name_of(turn[0])


def name_of(write_id: WriteId) -> str:
    """What the test calls a write: a run's key or a context."""
    assert not isinstance(write_id, CommentWrite)
    return write_id.context if isinstance(write_id, UnrecordedStatusWrite) else write_id.run_key


def test_ends_go_first_then_what_nobody_remembers_then_what_goes_on(turns: WriteQueue) -> None:
    turns.push(Priority.OPTIONAL, RecordStatusWrite("runs"), 1)
    turns.push(Priority.UNRECORDED, UnrecordedStatusWrite(1, "sha", "refused"), 1)
    turns.push(Priority.FINAL, RecordStatusWrite("ended"), 1)
    assert [write(turns) for _ in range(3)] == ["ended", "refused", "runs"]
    assert write(turns, due=turns.clock()) is None


def test_no_wait_is_longer_than_it_must_be(time: Time) -> None:
    turns = WriteQueue(
        time.read, time.wait, WriteBudget(RateLimits(0.1, ((100, 100.0),)), is_limited=True)
    )
    for name in "abc":
        turns.push(Priority.FINAL, RecordStatusWrite(name), 1)
    assert [write(turns) for _ in range(3)] == ["a", "b", "c"]
    assert 0.2 <= time.now < 0.4


def test_what_goes_on_leaves_room_for_the_ends_to_come(turns: WriteQueue, time: Time) -> None:
    for name in "abc":
        turns.push(Priority.OPTIONAL, RecordStatusWrite(name), 1)
    assert write(turns) == "a"
    assert write(turns, due=50) is None, "three ends need the room that is left"
    for name in "abc":
        turns.push(Priority.FINAL, RecordStatusWrite(name), 1)
    assert [write(turns) for _ in range(4)] == ["a", "b", "c", None]


def test_a_run_that_ends_before_its_turn_is_written_once(turns: WriteQueue) -> None:
    turns.push(Priority.OPTIONAL, RecordStatusWrite("a"), 1)
    turns.push(Priority.FINAL, RecordStatusWrite("a"), 1)
    assert [write(turns), write(turns)] == ["a", None]


def test_a_run_that_goes_on_for_long_gets_its_status_all_the_same(
    turns: WriteQueue, time: Time
) -> None:
    for number in range(9):
        turns.push(Priority.OPTIONAL, RecordStatusWrite(str(number)), 1)
    assert write(turns) == "0"
    assert 100 <= time.now <= 160


def test_check_runs_keep_no_room_free_for_ends_that_do_not_come(
    turns: WriteQueue, time: Time
) -> None:
    """They are made when their runs have ended: nothing comes after them."""
    for name in "abc":
        turns.push(Priority.OPTIONAL, CheckRunWrite(1, name), 1)
    assert [write(turns) for _ in range(3)] == ["a", "b", "c"]
    assert time.now < 10, "only a quarter is kept free"


def test_check_runs_leave_room_for_the_ends_of_unfinished_runs(turns: WriteQueue) -> None:
    turns.push(Priority.OPTIONAL, RecordStatusWrite("runs"), 1)
    for name in "bcd":
        turns.push(Priority.OPTIONAL, CheckRunWrite(1, name), 1)
    assert [write(turns, due=50) for _ in range(4)] == ["runs", "b", "c", None]
    turns.push(Priority.FINAL, RecordStatusWrite("runs"), 1)
    assert [write(turns, due=60), write(turns, due=70)] == ["runs", None]
    assert write(turns) == "d"


def test_a_repository_that_fails_rests_alone_and_longer_each_time(
    turns: WriteQueue, time: Time
) -> None:
    turns.push(Priority.FINAL, RecordStatusWrite("bad"), 1)
    turns.push(Priority.FINAL, RecordStatusWrite("good"), 2)
    turns.back_off(1, Backoff(10, 25))
    assert write(turns) == "good"
    assert write(turns) == "bad"
    assert 10 <= time.now < 11
    for pause in (20, 25, 25):
        turns.back_off(1, Backoff(10, 25))
        before = time.now
        turns.push(Priority.FINAL, RecordStatusWrite("bad"), 1)
        turns.pop()
        assert time.now - before == pytest.approx(pause)
    turns.reset_backoff(1)
    turns.push(Priority.FINAL, RecordStatusWrite("bad"), 1)
    before = time.now
    turns.pop()
    assert time.now == before


def test_9_12_a_repository_that_failed_goes_behind_the_others(time: Time) -> None:
    """Each try may take as long as a request has: all that came before the others would add up."""
    turns = WriteQueue(time.read, time.wait)
    for bad in range(3):
        turns.push(Priority.FINAL, RecordStatusWrite(f"bad-{bad}"), bad)
        turns.back_off(bad, Backoff(1, 60))
    turns.push(Priority.FINAL, RecordStatusWrite("good"), 7)
    time.now = 100.0
    assert write(turns) == "good"
    assert write(turns) == "bad-0"
    turns.push(Priority.FINAL, RecordStatusWrite("good"), 7)
    time.now = 1000.0
    assert write(turns) == "bad-1", "nor do they wait for as long as others come"


def test_stopping_ends_the_wait() -> None:
    turns = WriteQueue()
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(turns.pop()))
    thread.start()
    turns.stop()
    thread.join(30)
    assert got == [None]


def test_accounts_have_ceilings_of_their_own_and_take_turns(turns: WriteQueue, time: Time) -> None:
    for number in range(6):
        turns.push(Priority.FINAL, RecordStatusWrite(f"acme-{number}"), 1, "acme")
    turns.push(Priority.OPTIONAL, RecordStatusWrite("ada-runs"), 2, "ada")
    turns.push(Priority.FINAL, RecordStatusWrite("ada-ended"), 3, "ada")
    assert [write(turns) for _ in range(4)] == ["acme-0", "ada-ended", "acme-1", "ada-runs"]
    assert time.now < 3, "each second one of each"
    assert [write(turns) for _ in range(2)] == ["acme-2", "acme-3"]
    assert write(turns, due=90) is None, "four of acme's within 100 s"
    turns.push(Priority.FINAL, RecordStatusWrite("ada-later"), 2)  # the account is known
    assert write(turns) == "ada-later"
    assert [write(turns) for _ in range(2)] == ["acme-4", "acme-5"]
    assert time.now >= 100


def test_a_limit_that_one_account_meets_holds_up_no_other(turns: WriteQueue, time: Time) -> None:
    turns.push(Priority.FINAL, RecordStatusWrite("acme"), 1, "acme")
    assert write(turns) == "acme"
    turns.budget = turns.budget.after_response(
        time.now, RateLimitHeaders(refused=True, retry_after=3600)
    )
    turns.push(Priority.FINAL, RecordStatusWrite("acme"), 1)
    turns.push(Priority.FINAL, RecordStatusWrite("ada"), 2, "ada")
    assert write(turns) == "ada"
    assert time.now < 10
    assert write(turns) == "acme"
    assert time.now >= 3600
