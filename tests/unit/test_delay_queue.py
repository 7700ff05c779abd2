"""What waits until it is due: the earliest first, one of each key."""

from __future__ import annotations

import math

import pytest

from fyre.delay_queue import DelayQueue


def test_what_is_due_first_comes_first_and_equals_in_their_order() -> None:
    queue: DelayQueue[str] = DelayQueue()
    for key, due in (("c", 3.0), ("a", 1.0), ("b", 3.0)):
        assert queue.push(key, key.upper(), due)
    assert (len(queue), queue.next_due) == (3, 1.0)
    assert [queue.pop() for _ in range(3)] == ["A", "C", "B"]
    assert (len(queue), queue.next_due) == (0, math.inf)
    with pytest.raises(IndexError):
        queue.pop()


def test_a_key_that_waits_is_not_added_again_until_it_was_taken() -> None:
    queue: DelayQueue[str] = DelayQueue()
    assert queue.push("a", "first", 2.0)
    assert not queue.push("a", "second", 1.0)
    assert "a" in queue
    assert queue.pop() == "first"
    assert "a" not in queue
    assert queue.push("a", "third", 1.0)


def test_only_what_is_due_is_taken() -> None:
    queue: DelayQueue[int] = DelayQueue()
    for due in (1, 2, 3):
        queue.push(due, due, float(due))
    assert list(queue.pop_due(0.9)) == []
    assert list(queue.pop_due(2.0)) == [1, 2]
    assert len(queue) == 1
