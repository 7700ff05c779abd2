from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import fyre_ids


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_an_id_says_when_it_was_minted(milliseconds: int, random: bytes) -> None:
    minted = fyre_ids.new_fyre_id(milliseconds / 1000, random)
    assert fyre_ids.is_valid_fyre_id(minted)
    assert fyre_ids.fyre_id_time(minted) == pytest.approx(milliseconds / 1000, abs=0.002)


def test_ids_differ_and_sort_by_time() -> None:
    ids = [fyre_ids.new_fyre_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert (
        fyre_ids.new_fyre_id(1.0) < fyre_ids.new_fyre_id(2.0) < fyre_ids.new_fyre_id(1e9) < ids[0]
    )
    assert abs(fyre_ids.fyre_id_time(ids[0]) - time.time()) < 60


def test_the_known_form() -> None:
    assert (
        fyre_ids.new_fyre_id(1469918176.385, bytes(10)) == "01ARYZ6S41" + "0" * 16
    )  # the ULID specification's own example


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "i" * 26, "0" * 25 + "U", "0" * 25 + "\n"]
)
def test_what_is_no_id(text: str) -> None:
    assert not fyre_ids.is_valid_fyre_id(text)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert fyre_ids.is_valid_fyre_id(text) in (True, False)
