"""Answers are kept so long and so many, errors never."""

from __future__ import annotations

import pytest

from fyre.controller.ttl_cache import TTLCache


def test_an_answer_holds_for_its_time_and_no_longer() -> None:
    now, asked = [100.0], []
    kept = TTLCache(60.0, 10, clock=lambda: now[0])

    def ask() -> int:
        asked.append(now[0])
        return len(asked)

    assert [kept.get("a", ask), kept.get("a", ask), kept.get("b", ask)] == [1, 1, 2]
    now[0] = 159.9
    assert kept.get("a", ask) == 1
    now[0] = 160.0
    assert kept.get("a", ask) == 3
    now[0] = 219.9
    assert kept.get("a", ask) == 3


def test_no_and_nothing_are_answers_as_well() -> None:
    kept = TTLCache(60.0, 10)
    for answer in (False, None, ""):
        assert kept.get(repr(answer), lambda answer=answer: answer) == answer
        assert kept.get(repr(answer), lambda: pytest.fail("asked again")) == answer


def test_an_error_is_no_answer() -> None:
    kept = TTLCache(60.0, 10)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0)
    assert kept.get("a", lambda: 2) == 2


def test_the_memory_is_bounded_and_the_oldest_goes() -> None:
    kept = TTLCache(60.0, 3)
    for number in range(1000):
        kept.get(number, lambda number=number: number)
    assert len(kept) == 3
    assert kept.get(999, lambda: -1) == 999
    assert kept.get(0, lambda: -1) == -1
