"""A secret in the forms that programs print it in: whatever is cut, none of it can be read."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import shlex
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fyre.engines.kubernetes.logs.log_redaction import Redactor

LINE_END_MAX = 3
"""Characters of an encoding that are shown where a line ends after them."""


def wrapped(text: bytes, width: int, prefix: bytes = b"", suffix: bytes = b"") -> bytes:
    rows = (text[at : at + width] for at in range(0, len(text), width))
    return b"".join(prefix + row + suffix + b"\n" for row in rows)


def rows_of_hex(value: bytes, *, colon: bytes, group: int, prefix: bytes = b"") -> bytes:
    """Return a dump as xxd or hexdump writes it."""
    rows = []
    for at in range(0, len(value), 16):
        row = value[at : at + 16]
        shown = re.sub(rb"[^ -~]", b".", row)
        cells = row.hex(" ", -group).encode() if group > 1 else row.hex(" ").encode()
        rows.append(b"%s%08x%s %-50s%s\n" % (prefix, at, colon, cells, shown))
    return b"".join(rows)


STAMP = b"2026-11-30T10:00:00Z app: "
FIXED: dict[str, Callable[[bytes], bytes]] = {
    "xxd": lambda value: rows_of_hex(value, colon=b":", group=2),
    "xxd with times": lambda value: rows_of_hex(value, colon=b":", group=2, prefix=STAMP),
    "od -tx1": lambda value: b"".join(
        b"%07o %s\n" % (at, value[at : at + 16].hex(" ").encode())
        for at in range(0, len(value), 16)
    ),
    "hex after a time": lambda value: wrapped(value.hex().encode(), 22, STAMP),
    "hex with -": lambda value: value.hex("-").encode(),
    "0x list": lambda value: ", ".join(f"0x{byte:02x}" for byte in value).encode(),
    "C string": lambda value: "".join(f"\\x{byte:02x}" for byte in value).encode(),
    "octal": lambda value: "".join(f"\\{byte:03o}" for byte in value).encode(),
    "octal list": lambda value: " ".join(f"{byte:03o}" for byte in value).encode(),
    "decimal list": lambda value: ", ".join(f"{byte:3d}" for byte in value).encode(),
    "percent": lambda value: "".join(f"%{byte:02X}" for byte in value).encode(),
    "percent twice": lambda value: "".join(f"%25{byte:02x}" for byte in value).encode(),
    "base64, indented": lambda value: wrapped(base64.b64encode(value), 20, b"  | "),
    "base64, quoted": lambda value: wrapped(base64.b64encode(value), 24, b"> "),
    "base64 in a list": lambda value: wrapped(base64.b64encode(value), 24, b'  "', b'",'),
    "base64 after a time": lambda value: wrapped(base64.b64encode(value), 12, STAMP),
    "base64 of base64": lambda value: base64.encodebytes(base64.b64encode(value)),
    "base64 in a URL": lambda value: urllib.parse.quote(base64.b64encode(value)).encode(),
    "base32": lambda value: wrapped(base64.b32encode(value), 20),
    "base32hex": base64.b32hexencode,
    "in colours": lambda value: b"".join(b"\x1b[1;31m%c\x1b[m" % byte for byte in value),
    "base64 with a colour": lambda value: b"\x1b[01;31m\x1b[Kb64\x1b[m ".join(
        [b"", base64.b64encode(value)[:9] + b"\x1b[0m" + base64.b64encode(value)[9:]]
    ),
    "overstruck": lambda value: b"".join(b"%c\b%c" % (byte, byte) for byte in value),
    "tput sgr0": lambda value: b"".join(b"%c\x1b(B\x1b[m" % byte for byte in value),
    "links": lambda value: b"\x1b]8;;http://x\x1b\\".join([value[:4], value[4:7], value[7:]]),
    "other escapes": lambda value: b"\x1b7\x1b[0 q\x9b1m\xc2\x9b2;3H".join([value[:5], value[5:]]),
    "underlined": lambda value: b"".join(b"_\b%c" % byte for byte in value),
    "mail": lambda value: wrapped(value, 9, suffix=b"="),
    "headers": lambda value: b"?=\n =?utf-8?q?".join([value[:6], value[6:]]),
    "hex with .": lambda value: value.hex(".").encode(),
    "hex of UTF-16": lambda value: value.decode().encode("utf-16-be").hex().encode(),
    "base64 of UTF-16": lambda value: base64.b64encode(value.decode().encode("utf-16-be")),
    "base64, each line with $": lambda value: wrapped(base64.b64encode(value), 12, suffix=b"$"),
    "HTML without ;": lambda value: "".join(f"&#{byte}" for byte in value).encode(),
    "style sheet": lambda value: "".join(f"\\{byte:06x}" for byte in value).encode(),
    "folded": lambda value: b">-\n" + wrapped(value, 9, b"  "),
    "UTF-16": lambda value: value.decode().encode("utf-16"),
}
QUOTED: dict[str, Callable[[str], str]] = {
    "repr": repr,
    "repr of bytes": lambda value: repr(value.encode()),
    "JSON thrice": lambda value: json.dumps(json.dumps(json.dumps(value))),
    "HTML": html.escape,
    "HTML twice": lambda value: html.escape(html.escape(value)),
    "XML": lambda value: value.encode("ascii", "xmlcharrefreplace").decode(),
    "URL": lambda value: urllib.parse.quote(value, safe=""),
    "URL twice": lambda value: urllib.parse.quote(urllib.parse.quote(value, safe="")),
    "form": urllib.parse.quote_plus,
    "shell": shlex.quote,
    "list": lambda value: repr(list(value.encode())),
    "ASCII": ascii,
    "make": lambda value: value.replace("$", "$$"),
    "base85": lambda value: base64.b85encode(value.encode()).decode(),
    "Ascii85": lambda value: base64.a85encode(value.encode()).decode(),
    "base85 in lines": lambda value: wrapped(base64.b85encode(value.encode()), 12).decode(),
}
TEXT = st.text("abXYZ019'\"\\$ &<>%+/=#!;äß漢😀\n", min_size=8, max_size=50).map("x{}y".format)
TOKEN = st.text("abcdefXYZ0123456789_-", min_size=8, max_size=50)
CUTS = st.lists(st.integers(0, 2000), max_size=8)


def pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[begin:end] for begin, end in itertools.pairwise(at)]


def redacted(values: list[bytes], parts: list[bytes]) -> bytes:
    redactor = Redactor(values)
    return b"".join([*map(redactor.feed, parts), redactor.flush()])


def shown_of(value: bytes, encode: Callable[[bytes], bytes], around: bytes, log: bytes) -> bytes:
    """Return the characters of a log that would be others if the value was another."""
    other = bytes(byte ^ 1 if 0x21 < byte < 0x7E else byte for byte in value)
    told = zip(encode(around + value + around), encode(around + other + around), log, strict=True)
    return bytes(now for was, would_be, now in told if was != would_be and now != ord("*"))


@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=6, deadline=None)
@given(value=TOKEN, around=st.text("ABC", max_size=20), cuts=CUTS)
def test_9_6_nothing_of_a_value_is_shown_in_an_encoding(
    name: str, value: str, around: str, cuts: list[int]
) -> None:
    secret, beside, encode = value.encode(), around.encode(), FIXED[name]
    text = encode(beside + secret + beside)
    log = redacted([secret], pieces(text, cuts))
    assert len(shown_of(secret, encode, beside, log)) <= LINE_END_MAX + 1, log
    assert log == redacted([secret], [text])


@pytest.mark.parametrize("name", QUOTED)
@settings(max_examples=6, deadline=None)
@given(value=TEXT, cuts=CUTS)
@example(value="x000\\0%00y", cuts=[])
def test_9_6_nothing_of_a_value_is_shown_escaped_or_quoted(
    name: str, value: str, cuts: list[int]
) -> None:
    text = f"= {QUOTED[name](value)} =\n".encode()
    log = redacted([value.encode()], pieces(text, cuts))
    assert len(re.findall(rb"[0-9A-Za-z]", log)) <= 1, log  # the b of b'…'
    assert log == redacted([value.encode()], [text])


@pytest.mark.parametrize(
    "command",
    [
        "xxd", "xxd -u", "xxd -i", "xxd -p -c 7", "hexdump -C", "hexdump", "hexdump -c", "od -tx1",
        "od -tx1z", "od -c", "od -An -c", "od -b", "od -x", "od -tx8", "od -td1", "od -An -tu1",
        "cat -v", "fold -w 11", "sed -n l", "openssl enc -base64",
        "base64 -w 11", "base32 -w 9", "basenc --base32hex",
        "od", "od -tu2", "od -td4", "od -to8", "od -An -w1", "od -a", "od -tx1 -to1 -c",
        "od -tx1 -tu2z", "hexdump -x", "hexdump -d", "hexdump -o", "hexdump -xc", "xxd -b",
        "xxd -e", "xxd -g 0 -c 5",
        "bash -c 'S=$(cat); printf %q \"$S\"'", "bash -c 'S=$(cat); exec 2>&1; set -x; : \"$S\"'",
        "bash -c 'S=$(cat); declare -p S'", "sh -c 'S=$(cat); export S; export -p'",
    ],
)  # fmt: skip
def test_9_6_what_the_tools_print_is_struck_out(command: str) -> None:
    words = shlex.split(command)
    words[0] = shutil.which(words[0]) or ""
    if not words[0]:
        pytest.skip("it is not installed")
    for secret in (b"ghx_8Qm2vK71pLzR4tYw9NcB", b"pa'ss$wo rd&<9>\"k7", "pässwörd-ünïq".encode()):
        text = subprocess.run(words, input=secret, capture_output=True, check=False, env={}).stdout
        log = redacted([secret], [text])
        assert log == redacted([secret], [text[at : at + 5] for at in range(0, len(text), 5)])
        left = re.sub(
            rb"declare -- |export .*PWD.*|export |S=|: |0x|\b[0-9a-f]{7,8}\b|[^0-9A-Za-z]", b"", log
        )
        assert len(left) <= LINE_END_MAX, log


def test_9_6_two_values_that_overlap_are_both_struck_out() -> None:
    log = redacted([b"alphabeta", b"betagammadelta"], [b"an alphabetag", b"ammadelta\n"])
    assert log == b"an *******************\n"


def test_9_6_each_line_of_a_key_is_struck_out() -> None:
    key = b"-----BEGIN KEY-----\n" + base64.encodebytes(bytes(range(200))) + b"-----END KEY-----\n"
    line = key.splitlines()[2]
    for text in (line, base64.b64encode(b"a" + line), rows_of_hex(line, colon=b":", group=2)):
        shown = redacted([key], [text])
        assert not re.search(rb"[0-9a-zA-Z+/]{9}", shown), shown
    assert b"B" not in redacted([key], [key.replace(b"\n", b"\\n")])


@settings(max_examples=6, deadline=None)
@given(st.lists(st.binary(min_size=20, max_size=20), max_size=20), TOKEN, CUTS)
def test_9_6_a_log_that_holds_no_secret_stays_as_it_is(
    hashes: list[bytes], value: str, cuts: list[int]
) -> None:
    lines = [
        f"2026-11-30T10:00:0{place % 10}Z step={place} loss=0.{place} {digest.hex()} "
        f"{base64.b64encode(digest).decode()} 'quoted' 100% &amp; C:\\new\\x41 [1, 2, 3, 4, 5, 6]\n"
        for place, digest in enumerate(hashes)
    ]
    text = "".join(lines).encode() + b"".join(
        rows_of_hex(digest, colon=b":", group=2) for digest in hashes
    )
    assert redacted([f"{value}-zq"[:60].encode()], pieces(text, cuts)) == text


def test_9_6_a_line_is_shown_when_it_is_whole() -> None:
    redactor = Redactor([b"s3cret-of-2026", b"1234567"])
    for line in (b"step 73\n", b"loss 0.12 s3\n", b"sha 0a1b73\n", b"eta 115\n", b"50%\n"):
        assert redactor.feed(line) == line


def test_9_6_without_secrets_nothing_is_done() -> None:
    chunk = b"as it is"
    assert Redactor([b"short"]).feed(chunk) is chunk
