"""Secrets struck out of a log, however its pieces are cut."""

from __future__ import annotations

import base64
import itertools
import json
import re
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fyre.engines.kubernetes.logs.log_redaction import MIN_SECRET_LENGTH, Redactor

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


@example(values=[b"***\naaa"], text=b"***aaa", cuts=[])
@given(values=st.lists(FEW, max_size=4), text=st.lists(FEW, max_size=8).map(b"".join), cuts=CUTS)
def test_9_6_each_value_is_struck_out_also_where_it_overlaps_another(
    values: list[bytes], text: list[bytes] | bytes, cuts: list[int]
) -> None:
    known = {v for value in values for v in (value, value.strip(), *value.splitlines())}
    shown = bytearray(text)
    for value in (v for v in known if len(v.strip()) >= MIN_SECRET_LENGTH):
        for at in range(len(text)):
            if text.startswith(value, at):
                shown[at : at + len(value)] = re.sub(rb"[^\n]", b"*", value)
    found = redacted(values, pieces(text, cuts))
    if not any(b"\n" in value for value in values):
        assert found == shown
    # A value of several lines is found also where its lines are broken in other places.
    assert all(one in (ord("*"), model) for one, model in zip(found, shown, strict=True))


def test_nothing_of_a_value_is_shown_that_begins_like_another() -> None:
    values = [b"hunter2", b"hunter2-of-2026"]
    assert redacted(values, [b"it is hunter2", b"-of-2026."]) == b"it is ***************."
    assert redacted(values, [b"it is hunter2", b"-of-2025."]) == b"it is *******-of-2025."
    assert redacted(values, [b"it is hunter2"]) == b"it is *******"


def test_a_value_is_found_in_each_of_its_guises() -> None:
    value = b"-----BEGIN-----\nMIIEvQIBADAN\nshort\n-----END-----\n"
    encoded, stripped = base64.b64encode(value), base64.b64encode(value.strip())
    log = redacted([value], [b"".join([value, b"|", encoded, b"|", stripped, b"|MIIEvQIBADAN|"])])
    assert re.fullmatch(rb"[*\n]+\|\*+\|\*+\|\*+\|", log), log


def test_what_is_short_or_empty_is_no_secret() -> None:
    assert (
        redacted([b"prod", b"1", b"", b"    \n   "], [b"prod 1      \n   "]) == b"prod 1      \n   "
    )


def test_what_can_be_shown_is_shown_at_once() -> None:
    redactor = Redactor([b"hunter2"])
    assert redactor.feed(b"step 1\n") == b"step 1\n"
    assert redactor.feed(b"the hun") == b"the "
    assert redactor.feed(b"t it\n") == b"hunt it\n"


def wrapped(text: bytes, width: int, gap: bytes = b"\n") -> bytes:
    return gap.join(text[at : at + width] for at in range(0, len(text), width))


SECRET = b's3cr/t+"v\\alue \xc3\xa4? of=a&run'
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "url-safe base64": base64.urlsafe_b64encode,
    "base64 of echo": lambda value: base64.b64encode(value + b"\n"),
    "wrapped base64": lambda value: wrapped(base64.b64encode(value), 8),
    "oddly wrapped base64": lambda value: wrapped(base64.b64encode(value), 7, b"\r\n  "),
    "base64 at 1": lambda value: base64.b64encode(b"x" + value + b"yy"),
    "base64 at 2": lambda value: base64.b64encode(b"xy" + value + b"y"),
    "hex": lambda value: value.hex().encode(),
    "upper hex": lambda value: value.hex().upper().encode(),
    "mixed hex": lambda value: value.hex().title().encode(),
    "xxd -p": lambda value: wrapped(value.hex().encode(), 60),
    "fingerprint": lambda value: value.hex(":").encode(),
    "grouped hex": lambda value: value.hex(" ", 2).encode(),
    "percent everywhere": lambda value: b"%" + value.hex("%").encode(),
    "url": lambda value: urllib.parse.quote_from_bytes(value).encode(),
    "url, all": lambda value: urllib.parse.quote_from_bytes(value, safe="").encode(),
    "url, lower": lambda value: re.sub(
        rb"%..", lambda found: found[0].lower(), urllib.parse.quote_from_bytes(value).encode()
    ),
    "form": lambda value: urllib.parse.urlencode({"k": value})[2:].encode(),
    "json": lambda value: json.dumps(value.decode())[1:-1].encode(),
    "json, utf-8": lambda value: json.dumps(value.decode(), ensure_ascii=False)[1:-1].encode(),
    "json, slashes": lambda value: json.dumps(value.decode())[1:-1].replace("/", "\\/").encode(),
    "json in json": lambda value: json.dumps(json.dumps(value.decode()))[3:-3].encode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_9_a6_an_encoded_value_is_struck_out_also_across_chunks(name: str, size: int) -> None:
    encoded = ENCODINGS[name](SECRET)
    text = b"before " + encoded + b" after\n"
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    log = redacted([SECRET + b"\n"], parts)
    assert len(log) == len(text)
    assert (log[:7], log[-7:]) == (b"before ", b" after\n")
    left = re.sub(rb"[*\s:%]", b"", log[7:-7])
    assert len(left) <= (5 if "at" in name else 1)  # of what stood beside it in the same base64


def test_9_a6_base64_of_a_whole_file_of_many_lines() -> None:
    for offset in range(3):
        text = base64.encodebytes(b"=" * (90 + offset) + SECRET + b"=" * 90)
        log = redacted([SECRET], pieces(text, [*range(0, 200, 7)]))
        struck = log.count(b"*")
        assert struck >= len(SECRET) * 8 // 6 - 1
        assert len(log) == len(text)


@given(value=st.binary(min_size=8, max_size=40), around=st.binary(max_size=20), cuts=CUTS)
def test_9_a6_any_value_in_base64_at_any_place(
    value: bytes, around: bytes, cuts: list[int]
) -> None:
    value = b"x" + value + b"y"
    text = base64.encodebytes(around + value + around)
    log = redacted([value], pieces(text, cuts))
    shown = set(re.sub(rb"\s", b"", log).replace(b"*", b" ").split())
    assert len(b"".join(shown)) <= len(base64.b64encode(around)) * 2 + 8
    assert log == redacted([value], [text])


@given(values=st.lists(FEW, max_size=3), text=st.lists(FEW, max_size=8).map(b"".join), cuts=CUTS)
@example(values=[b"aaaaaa", b"aaaabb"], text=b"aaaaaabbaaaaaa", cuts=[116])
def test_9_a6_cuts_change_nothing_in_hex(values: list[bytes], text: bytes, cuts: list[int]) -> None:
    log = wrapped(text.hex().encode() + b"|" + text, 9)
    assert redacted(values, pieces(log, cuts)) == redacted(values, [log])


def test_9_a6_lines_stay_lines() -> None:
    log = redacted([SECRET], [b"a\n" + base64.encodebytes(SECRET * 4) + b"b\n"])
    assert [len(line) for line in log.splitlines()][1] == 76
    assert log.endswith(b"\nb\n")
