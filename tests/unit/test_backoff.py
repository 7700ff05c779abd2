"""Pauses double (or so) from the first one to the longest; jitter only shortens them."""

from __future__ import annotations

import pytest

from fyre.backoff import Backoff


def test_each_pause_is_longer_by_the_factor_until_the_longest() -> None:
    backoff, pauses = Backoff(0.5, 3.0), [0.0]
    for _ in range(5):
        pauses.append(backoff.after(pauses[-1]))
    assert pauses == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert [backoff.nth(number) for number in range(5)] == pauses[1:]
    assert Backoff(1.0, 9.0, factor=1.5).after(2.0) == 3.0


def test_a_pause_of_another_backoff_is_cut_to_the_longest_one() -> None:
    assert Backoff(0.5, 60.0).after(500.0) == 60.0


def test_any_number_of_failures_has_a_pause() -> None:
    assert Backoff(0.5, 60.0).nth(100_000) == 60.0


def test_jitter_takes_away_its_share_at_most() -> None:
    backoff = Backoff(0.2, 3.2, jitter=0.5)
    pauses = [backoff.with_jitter(2.0) for _ in range(1000)]
    assert 1.0 <= min(pauses) < 1.2
    assert 1.8 < max(pauses) <= 2.0
    assert Backoff(0.2, 3.2).with_jitter(2.0) == pytest.approx(2.0)
