"""Secrets struck out of a log, however its pieces are cut."""

from __future__ import annotations

import base64
import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from fyre.engines.kubernetes.log_redaction import MIN_SECRET_LENGTH, Redactor

FEW = st.binary(max_size=40).map(lambda raw: bytes(b"ab*\n"[byte % 4] for byte in raw))
"""Texts of few letters: values begin in each other, and texts hold what looks like one."""

CUTS = st.lists(st.integers(0, 200), max_size=8)


def pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[begin:end] for begin, end in itertools.pairwise(at)]


def redacted(values: list[bytes], parts: list[bytes]) -> bytes:
    redactor = Redactor(values)
    return b"".join([*map(redactor.feed, parts), redactor.flush()])


@given(
    value=st.binary(min_size=9, max_size=30),
    around=st.lists(st.binary(max_size=20), max_size=4),
    cuts=CUTS,
)
def test_one_value_is_replaced_as_in_the_whole_text(
    value: bytes, around: list[bytes], cuts: list[int]
) -> None:
    value = (
        b"x" + value.replace(b"\n", b" ").replace(b"\r", b" ") + b"y"
    )  # its only line, with nothing to strip
    lines = value.splitlines()
    text = value.join(around)
    if lines == [value] and base64.b64encode(value) not in text:
        assert redacted([value], pieces(text, cuts)) == text.replace(value, b"*" * len(value))


@given(values=st.lists(FEW, max_size=4), text=st.lists(FEW, max_size=8).map(b"".join), cuts=CUTS)
def test_cuts_change_nothing(values: list[bytes], text: bytes, cuts: list[int]) -> None:
    whole = redacted(values, [text])
    assert redacted(values, pieces(text, cuts)) == whole
    assert len(whole) == len(text)


@given(values=st.lists(FEW, max_size=4), text=st.lists(FEW, max_size=8).map(b"".join), cuts=CUTS)
def test_the_longest_value_that_begins_first_goes_first(
    values: list[bytes], text: bytes, cuts: list[int]
) -> None:
    known = {v for value in values for v in (value, value.strip(), *value.splitlines())}
    known = {v for v in known if len(v.strip()) >= MIN_SECRET_LENGTH}
    expected, at = b"", 0
    while at < len(text):
        longest = max((len(v) for v in known if text.startswith(v, at)), default=0)
        expected += b"*" * longest if longest else text[at : at + 1]
        at += longest or 1
    assert redacted(values, pieces(text, cuts)) == expected


def test_nothing_of_a_value_is_shown_that_begins_like_another() -> None:
    values = [b"hunter2", b"hunter2-of-2026"]
    assert redacted(values, [b"it is hunter2", b"-of-2026."]) == b"it is ***************."
    assert redacted(values, [b"it is hunter2", b"-of-2025."]) == b"it is *******-of-2025."
    assert redacted(values, [b"it is hunter2"]) == b"it is *******"


def test_a_value_is_found_in_each_of_its_guises() -> None:
    value = b"-----BEGIN-----\nMIIEvQIBADAN\nshort\n-----END-----\n"
    encoded, stripped = base64.b64encode(value), base64.b64encode(value.strip())
    log = redacted([value], [b"".join([value, b"|", encoded, b"|", stripped, b"|MIIEvQIBADAN|"])])
    assert re.fullmatch(rb"\*+\n?\|\*+\|\*+\|\*+\|", log), log


def test_what_is_short_or_empty_is_no_secret() -> None:
    assert (
        redacted([b"prod", b"1", b"", b"    \n   "], [b"prod 1      \n   "]) == b"prod 1      \n   "
    )


def test_what_can_be_shown_is_shown_at_once() -> None:
    redactor = Redactor([b"hunter2"])
    assert redactor.feed(b"step 1\n") == b"step 1\n"
    assert redactor.feed(b"the hun") == b"the "
    assert redactor.feed(b"t\n") == b"hunt\n"
