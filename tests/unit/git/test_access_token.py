"""The relay key: whom it lets in, for how long, and that nobody makes one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.git import access_token

SECRET, OTHER = b"secret", b"another"
CLAIMS = access_token.TokenClaims(frozenset({7}), "r-1", 1000)


def test_good_for_its_repositories_until_it_expires():
    key = access_token.create_access_token(SECRET, (7, 8), "r-1", 1000.0)
    claims = access_token.verify_access_token([SECRET], key, 999.0)
    assert claims == access_token.TokenClaims(frozenset({7, 8}), "r-1", 1000)
    assert access_token.verify_access_token([SECRET], key, 1000.0) is None


def test_either_secret_of_a_rotation_will_do():
    old, new = (
        access_token.create_access_token(secret, (7,), "r-1", 1000.0) for secret in (OTHER, SECRET)
    )
    for key in (old, new):
        assert access_token.verify_access_token([SECRET, OTHER], key, 0) == CLAIMS
    assert access_token.verify_access_token([SECRET], old, 0) is None


def test_an_empty_secret_neither_makes_nor_opens():
    with pytest.raises(ValueError, match="secret"):
        access_token.create_access_token(b"", (7,), "r-1", 1000.0)
    key = access_token.create_access_token(SECRET, (7,), "r-1", 1000.0)
    assert access_token.verify_access_token([b""], key, 0) is None
    assert access_token.verify_access_token([], key, 0) is None


def test_a_key_longer_than_is_looked_into_is_not_made():
    with pytest.raises(ValueError, match="too long"):
        access_token.create_access_token(SECRET, tuple(range(10**9, 10**9 + 1000)), "r-1", 1000.0)


@given(st.lists(st.integers(0, 2**63), max_size=5), st.text(max_size=100), st.integers(1, 2**40))
def test_comes_back_as_it_was_made(ids: list[int], run_key: str, expires: int):
    key = access_token.create_access_token(SECRET, tuple(ids), run_key, expires)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", key)
    found = access_token.verify_access_token([SECRET], key, expires - 1)
    assert found == access_token.TokenClaims(frozenset(ids), run_key, expires)


@given(st.integers(0), st.characters())
def test_a_key_with_any_character_changed_is_no_key(at: int, character: str):
    key = access_token.create_access_token(SECRET, (7,), "r-1", 1000.0)
    at %= len(key)
    changed = key[:at] + character + key[at + 1 :]
    assert changed == key or access_token.verify_access_token([SECRET], changed, 0) is None


@pytest.mark.parametrize(
    "key", ["", ".", "a.b", "x" * 10_000 + ".y", "é.é", "a", ".." * 50, "\0.\0", "ü" * 70]
)
def test_anything_else_is_no_key(key: str):
    assert access_token.verify_access_token([SECRET], key, 0) is None
