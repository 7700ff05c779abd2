"""What is shown of a log never depends on where it is cut, in whatever form a secret stands."""

from __future__ import annotations

import base64
import html
import itertools
import json
import urllib.parse
from collections.abc import Callable, Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from fyre.engines.kubernetes.logs.log_redaction import Redactor


def rows(text: bytes, width: int) -> Iterator[bytes]:
    return (text[at : at + width] for at in range(0, len(text), width))


def wrapped(text: bytes, width: int, gap: bytes, prefix: Callable[[int], bytes]) -> bytes:
    return b"".join(prefix(number) + row + gap for number, row in enumerate(rows(text, width)))


def cells(text: bytes, size: int, form: str, *, width: int, bare: bool = False) -> bytes:
    """Return a dump of words: of so many bytes, so many a row."""
    lines = []
    for number, row in enumerate(rows(text, width * size)):
        words = (int.from_bytes(word, "little") for word in rows(row, size))
        offset = "       " if bare else f"{number * width * size:07o}"
        lines.append(offset + "".join(f" {word:{form}}" for word in words) + "\n")
    return "".join(lines).encode()


def characters(text: bytes, *, width: int) -> bytes:
    shown = {byte: f"   {chr(byte)}" if 32 <= byte < 127 else f" {byte:03o}" for byte in text}
    lines = ("".join(shown[byte] for byte in row) for row in rows(text, width))
    return "".join(f"{'':7}{line}\n" for line in lines).encode()


def beside(text: bytes, *, width: int, group: int) -> bytes:
    lines = []
    for number, row in enumerate(rows(text, width)):
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        digits = row.hex(" ", -group)
        lines.append(f"T {number * width:08x}: {digits:{width * 3}}  {shown}\n")
    return "".join(lines).encode()


def in_turn(first: bytes, second: bytes) -> bytes:
    lines = itertools.zip_longest(
        first.splitlines(keepends=True), second.splitlines(keepends=True), fillvalue=b""
    )
    return b"".join(itertools.chain.from_iterable(lines))


def escaped(text: bytes, width: int) -> bytes:
    """Return a text with each byte escaped in another way, one after the other."""
    forms = (
        "%{0:02x}",
        "%25{0:02X}",
        "\\x{0:x}",
        "\\{0:o}",
        "\\\\u{0:04x}",
        "&#{0};",
        "{1}",
        "\\'{1}",
    )
    turn = itertools.cycle(forms[width % 8 :] + forms[: width % 8])
    return "".join(next(turn).format(byte, chr(byte)) for byte in text).encode()


GAPS = (b"\n", b"\r\n  ", b" ", b":", b"0x", b"\\n", b'",\n"', b"; \n", b"%0A", b" a\n")
WRITERS: dict[str, Callable[[bytes, int], bytes]] = {
    "hex": lambda text, n: wrapped(text.hex().encode(), n, GAPS[n % 10], lambda _: b""),
    "base64": lambda text, n: wrapped(base64.b64encode(text), n, GAPS[n % 10], lambda _: b""),
    "grep -n": lambda text, n: wrapped(base64.b64encode(text), n, b"\n", b"%d:".__mod__),
    "a time": lambda text, n: wrapped(base64.b64encode(text), n, GAPS[n % 10], lambda _: b"t: "),
    "base32": lambda text, n: wrapped(base64.b32encode(text), n, GAPS[n % 10], lambda _: b""),
    "URL": lambda text, _: urllib.parse.quote(text).encode(),
    "JSON": lambda text, _: json.dumps(json.dumps(text.decode())).encode(),
    "HTML": lambda text, _: html.escape(html.escape(text.decode())).encode(),
    "escapes": escaped,
    "list": lambda text, n: [b", ", b" ", b",\n  ", b"\n- "][n % 4].join(b"%d" % c for c in text),
    "od -b": lambda text, n: cells(text, 1, "03o", width=n),
    "od": lambda text, n: cells(text, 2, "06o", width=n),
    "od -tx2": lambda text, n: cells(text, 2, "04x", width=n),
    "od -td4": lambda text, n: cells(text, 4, "11d", width=n),
    "od -tu8": lambda text, n: cells(text, 8, "20d", width=n),
    "xxd -b": lambda text, n: cells(text, 1, "08b", width=n),
    "xxd": lambda text, n: beside(text, width=n, group=1 + n % 3),
    "od -c": lambda text, n: characters(text, width=n),
    "od -tx1 -tu2": lambda text, n: in_turn(
        cells(text, 1, "02x", width=2 * n), cells(text, 2, "5d", width=n, bare=True)
    ),
    "od -tx1 -c": lambda text, n: in_turn(
        cells(text, 1, " 02x", width=n), characters(text, width=n)
    ),
}  # fmt: skip
FEW = st.sampled_from(["ab*\n", "ab", 'ab"\\', "a0 \n", "aA%1", "a&'4"]).flatmap(
    lambda letters: st.tuples(
        st.lists(st.text(letters, max_size=12), min_size=1, max_size=3),
        st.lists(st.text(letters, max_size=10), max_size=4),
        st.permutations(range(6)),
    )
)
"""Values of few letters, what stands between them, and their order."""


def redacted(values: list[bytes], parts: list[bytes]) -> bytes:
    redactor = Redactor(values)
    return b"".join([*map(redactor.feed, parts), redactor.flush()])


@given(
    few=FEW,
    name=st.sampled_from(list(WRITERS)),
    width=st.integers(1, 17),
    cuts=st.lists(st.integers(0, 999), min_size=1, max_size=8),
    broken=st.sampled_from([b"", b"", b"", b"\n", b" ", b"0", b"x", b"\\", b"%", b"&"]),
)
@example(few=(["11%A1%"], ["1"], (0, 1, 0)), name="a time", width=6, cuts=[31, 33], broken=b"")
@example(few=(["babbab"], [], (0, 0, 0)), name="list", width=3, cuts=[35], broken=b"\\")
@example(few=(["aAa1%a1%%"], [], (0, 0, 0)), name="od -tx1 -tu2", width=8, cuts=[71], broken=b"")
def test_9_6_cuts_change_nothing_in_any_form(
    few: tuple[list[str], list[str], tuple[int, ...]],
    name: str,
    width: int,
    cuts: list[int],
    broken: bytes,
) -> None:
    values, between, order = [value.encode() for value in few[0]], few[1], few[2]
    parts = [*few[0], *between]
    text = "".join(parts[place % len(parts)] for place in order).encode()
    log = b"k: " + WRITERS[name](text, width) + b"end\n"
    place = cuts[0] % len(log)
    log = log[:place] + broken + log[place:]
    at = sorted({0, len(log), *(cut % (len(log) + 1) for cut in cuts)})
    whole = redacted(values, [log])
    assert len(whole) == len(log)
    assert redacted(values, [log[begin:end] for begin, end in itertools.pairwise(at)]) == whole
