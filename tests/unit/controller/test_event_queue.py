"""The order of the controller's events."""

from __future__ import annotations

import queue

import pytest

from fyre.controller.event_queue import EventQueue
from fyre.controller.events import ControllerEvent, RunEndEvent, SweepEvent
from fyre.github.webhook import PushEvent
from fyre.runs.run import Repository

REPOSITORY = Repository("http://forge", 1, "ada/engine")


def end(number: int) -> RunEndEvent:
    return RunEndEvent(REPOSITORY, f"{number:040}", f"key {number}")


def push(number: int) -> PushEvent:
    return PushEvent(REPOSITORY, "refs/heads/main", "0" * 40, f"{number:040}", "ada", ())


def test_a_push_waits_behind_no_end_of_a_run_and_all_else_keeps_its_order() -> None:
    events = EventQueue[ControllerEvent | None]()
    for event in (*(end(n) for n in range(500)), push(2), SweepEvent(), push(1), None):
        events.put(event)
    assert len(events) == 504
    assert [events.get(0) for _ in range(4)] == [push(2), SweepEvent(), push(1), None]
    assert [events.get(0) for _ in range(500)] == [end(n) for n in range(500)]
    with pytest.raises(queue.Empty):
        events.get(0)
