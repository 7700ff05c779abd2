from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre import ident


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_an_id_says_when_it_was_minted(milliseconds: int, random: bytes) -> None:
    minted = ident.mint(milliseconds / 1000, random)
    assert ident.valid(minted)
    assert ident.minted_at(minted) == pytest.approx(milliseconds / 1000, abs=0.002)


def test_ids_differ_and_sort_by_time() -> None:
    ids = [ident.mint() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ident.mint(1.0) < ident.mint(2.0) < ident.mint(1e9) < ids[0]
    assert abs(ident.minted_at(ids[0]) - time.time()) < 60


def test_the_known_form() -> None:
    assert ident.mint(1469918176.385, bytes(10)) == "01ARYZ6S41" + "0" * 16  # the ULID specification's own example


@pytest.mark.parametrize("text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "i" * 26, "0" * 25 + "U", "0" * 25 + "\n"])
def test_what_is_no_id(text: str) -> None:
    assert not ident.valid(text)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert ident.valid(text) in (True, False)
