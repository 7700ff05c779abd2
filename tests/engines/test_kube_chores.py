"""Chores: what can't be done now is tried again, and keeps nobody else waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fyre.engines.kubernetes.chores import _WORKERS, Chores
from fyre.errors import TryAgainError
from tests.waiting import until


@pytest.fixture
def chores() -> Iterator[Chores]:
    made = Chores()
    yield made
    made.close()


def test_runs_in_trouble_keep_no_other_waiting(chores: Chores) -> None:
    tried, done = threading.Semaphore(0), threading.Event()

    def trouble() -> None:
        tried.release()
        raise TryAgainError("the cluster does not let us patch jobs in namespace lab")

    for number in range(2 * _WORKERS):
        chores.do(f"run {number}", trouble)
    for _ in range(2 * _WORKERS):
        assert tried.acquire(timeout=30)
    chores.do("another run", done.set)
    assert done.wait(30)


def test_what_failed_is_tried_again_until_it_is_done(chores: Chores) -> None:
    answers = iter([TryAgainError("away"), TryAgainError("away"), None])
    tries: list[str] = []

    def chore() -> None:
        tries.append("try")
        answer = next(answers)
        if answer is not None:
            raise answer

    def over() -> bool:
        chores.again()
        return len(tries) == 3

    chores.do("run", chore)
    chores.do("run", chore)  # one of that name is under way, or waits
    until(over)
    tries.clear()
    answers = iter([None])
    until(lambda: (chores.do("run", chore), bool(tries))[1])  # what is done can be asked for once more


def test_a_bug_ends_its_own_chore_alone(chores: Chores, caplog: pytest.LogCaptureFixture) -> None:
    met, done = threading.Event(), threading.Event()

    def bug() -> None:
        met.set()
        raise KeyError("bug")

    chores.do("one", bug)
    assert met.wait(30)
    chores.do("two", done.set)
    assert done.wait(30)
    until(lambda: "one met a bug" in caplog.text)


def test_nothing_is_begun_once_it_is_closed(chores: Chores) -> None:
    done = threading.Event()
    chores.close()
    chores.do("late", done.set)
    chores.again()
    assert not done.is_set()
