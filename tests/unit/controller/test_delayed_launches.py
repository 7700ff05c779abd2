"""What waits to be launched, and the cancels that meet it."""

from __future__ import annotations

from dataclasses import replace

from fyre.controller.delayed_launches import DelayedLaunches
from tests.unit.engines.kubernetes.test_job_manifest import RUN

COMMIT = (7, "a" * 40)
FIRST = replace(RUN, name="First")


def test_9_26_a_cancel_is_told_of_a_run_that_a_launch_dropped_before_it_had_its_turn() -> None:
    delayed = DelayedLaunches()
    delayed.add(COMMIT, "comment", [FIRST], 1.0)
    delayed.note_dropped(COMMIT, FIRST)  # its next try has read the cancel in the thread
    delayed.forget(COMMIT[0], "comment")
    assert delayed.cancel((7, "b" * 40), "first", 2.0) == []
    assert delayed.cancel(COMMIT, "second", 2.0) == []
    assert delayed.cancel(COMMIT, "first", 2.0) == ["First"]
    assert delayed.cancel(COMMIT, "first", 2.0) == []


def test_9_26_what_was_dropped_is_not_kept_without_end() -> None:
    delayed = DelayedLaunches()
    for number in range(3000):
        delayed.note_dropped((number, "a" * 40), FIRST)
    assert len(delayed.cancel((2999, "a" * 40), "", 2.0)) == 1
    assert delayed.cancel((0, "a" * 40), "", 2.0) == []
