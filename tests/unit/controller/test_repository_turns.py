"""The turns of repositories: in order within each, fair between them, sweeps last."""

from __future__ import annotations

import threading
from collections.abc import Hashable

import pytest

from fyre.controller.repository_turns import BACKGROUND_MAX, RepositoryTurns, Urgency
from fyre.controller.worker_pool import WORKERS, WorkerPool
from tests.support.waiting import until


def taken(turns: RepositoryTurns[str]) -> str:
    """Take a turn that is there, and return its item."""
    turn = turns.take()
    assert turn is not None
    return turn[1]


def finished(turns: RepositoryTurns[str], count: int) -> list[str]:
    """Take so many turns, each after the end of the one before; return their items."""
    items = []
    for _ in range(count):
        key, item = turns.take() or (None, "")
        items.append(item)
        turns.end_turn(key)
    return items


def filled(*puts: tuple[Hashable, str, Urgency]) -> RepositoryTurns[str]:
    turns = RepositoryTurns[str]()
    for key, item, urgency in puts:
        turns.put(key, item, urgency)
    return turns


def test_9_12_a_repository_has_one_turn_at_a_time_and_keeps_its_order() -> None:
    turns = filled((1, "a", Urgency.SOON), (1, "b", Urgency.SOON), (2, "c", Urgency.SOON))
    assert [taken(turns), taken(turns)] == ["a", "c"]
    assert len(turns) == 3
    turns.end_turn(2)
    turns.end_turn(1)
    assert finished(turns, 1) == ["b"]
    assert len(turns) == 0
    assert 1 not in turns


def test_9_12_a_repository_with_much_to_do_waits_behind_the_others() -> None:
    much = [(1, f"much {number}", Urgency.SOON) for number in range(1500)]
    turns = filled(*much, (2, "other", Urgency.SOON), (3, "third", Urgency.SOON))
    assert finished(turns, 5) == ["much 0", "other", "third", "much 1", "much 2"]


def test_9_12_the_end_of_a_run_waits_behind_all_else_of_its_repository() -> None:
    ends = [(1, f"end {number}", Urgency.LAST) for number in range(500)]
    turns = filled(*ends, (1, "push", Urgency.SOON), (1, "swept", Urgency.BACKGROUND))
    assert finished(turns, 4) == ["push", "swept", "end 0", "end 1"]


def test_9_12_sweeps_never_have_all_turns_and_are_never_put_off_for_good() -> None:
    swept = [(number, f"swept {number}", Urgency.BACKGROUND) for number in range(BACKGROUND_MAX)]
    turns = filled(*swept, ("late", "swept late", Urgency.BACKGROUND))
    for _ in range(BACKGROUND_MAX):
        assert taken(turns).startswith("swept")
    turns.put("a", "push", Urgency.SOON)
    assert finished(turns, 1) == ["push"]
    turns.end_turn(0)
    for number in range(20):
        turns.put(f"busy {number}", "push", Urgency.SOON)
    assert "swept late" in finished(turns, 6)


def test_9_12_a_push_behind_what_a_sweep_found_in_its_repository_is_not_put_off() -> None:
    turns = filled((1, "swept", Urgency.BACKGROUND), (2, "push 2", Urgency.SOON))
    turns.put(1, "push 1", Urgency.SOON)
    assert finished(turns, 3) == ["push 2", "swept", "push 1"]
    turns = RepositoryTurns[str](background_max=1)
    turns.put(1, "swept", Urgency.BACKGROUND)
    turns.put(2, "swept too", Urgency.BACKGROUND)
    assert taken(turns) == "swept"
    turns.put(1, "push", Urgency.SOON)  # somebody waits for that turn now
    assert finished(turns, 1) == ["swept too"]


def test_9_12_what_overtakes_waits_for_no_turn_and_a_stop_for_no_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.controller.worker_pool.STOP_TIMEOUT", 0.05)
    gate, done = threading.Event(), list[str]()

    def work(item: str) -> None:
        if item == "bug":
            raise RuntimeError("a bug")
        gate.wait()
        done.append(item)

    pool = WorkerPool[str](work, done.append)
    pool.put("bugs", "bug")
    pool.start()
    until(lambda: not len(pool))
    for number in range(WORKERS + 1):
        pool.put(number, f"stalled {number}")
    assert not pool.put(0, "behind it")
    pool.put_overtaking("cancel")
    until(lambda: done == ["cancel"])
    pool.stop()
    gate.set()
    until(lambda: len(done) == WORKERS + 1)
    assert "a bug" in caplog.text
    assert f"stopped while {WORKERS} answers were waited for" in caplog.text
