"""The work queue: what can't be done now is tried again, and keeps nobody else waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fyre.engines.kubernetes.work_queue import WORKERS, WorkQueue
from fyre.errors import TransientError
from tests.support.waiting import until


@pytest.fixture
def work() -> Iterator[WorkQueue]:
    made = WorkQueue()
    yield made
    made.close()


def test_runs_in_trouble_keep_no_other_waiting(work: WorkQueue) -> None:
    tried, done = threading.Semaphore(0), threading.Event()

    def trouble() -> None:
        tried.release()
        raise TransientError("the cluster does not let us patch jobs in namespace lab")

    for number in range(2 * WORKERS):
        work.submit(f"run {number}", trouble)
    for _ in range(2 * WORKERS):
        assert tried.acquire(timeout=30)
    work.submit("another run", done.set)
    assert done.wait(30)


def test_what_failed_is_tried_again_until_it_is_done(work: WorkQueue) -> None:
    answers = iter([TransientError("away"), TransientError("away"), None])
    tries: list[str] = []

    def chore() -> None:
        tries.append("try")
        answer = next(answers)
        if answer is not None:
            raise answer

    def over() -> bool:
        work.run_due()
        return len(tries) == 3

    work.submit("run", chore)
    work.submit("run", chore)  # one of that name is under way, or waits
    until(over)
    tries.clear()
    answers = iter([None])
    until(
        lambda: (work.submit("run", chore), bool(tries))[1]
    )  # what is done can be asked for once more


def test_a_bug_ends_its_own_chore_alone(work: WorkQueue, caplog: pytest.LogCaptureFixture) -> None:
    met, done = threading.Event(), threading.Event()

    def bug() -> None:
        met.set()
        raise KeyError("bug")

    work.submit("one", bug)
    assert met.wait(30)
    work.submit("two", done.set)
    assert done.wait(30)
    until(lambda: "unexpected error in one" in caplog.text)


def test_nothing_is_begun_once_it_is_closed(work: WorkQueue) -> None:
    done = threading.Event()
    work.close()
    work.submit("late", done.set)
    work.run_due()
    assert not done.is_set()


def test_closing_finishes_what_is_under_way_and_leaves_what_waits() -> None:
    work, begun, go, done = WorkQueue(), threading.Semaphore(0), threading.Event(), list[str]()

    def slow() -> None:
        begun.release()
        assert go.wait(30)
        done.append("under way")

    assert work.is_idle()
    for number in range(WORKERS):
        work.submit(f"slow {number}", slow)
    for _ in range(WORKERS):
        assert begun.acquire(timeout=30)
    work.submit("waits for a worker", lambda: done.append("waited"))
    assert not work.is_idle()
    closing = threading.Thread(target=work.close)
    closing.start()
    until(lambda: work._workers._shutdown)
    closing.join(0.2)
    assert closing.is_alive()
    go.set()
    closing.join(30)
    assert done == ["under way"] * WORKERS
