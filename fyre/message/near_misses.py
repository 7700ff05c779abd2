"""What looks like a ``Fyre-*`` trailer to a person and is none to git, and how to mend it. Pure.

For the hooks, ``fyre commit`` and ``fyre check`` only: the receiver stays silent about lookalikes. What is quoted
(``>``), indented by four, or in the body of a squash is talk about trailers and no lookalike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from fyre.errors import UserError
from fyre.message import compose, request, trailers

_NEAR_MISS = re.compile(
    r"( {0,3})(fyre[-_ ][a-z][a-z_-]*)[ \t]*:(.*)", re.IGNORECASE | re.DOTALL | re.ASCII
)
_KEYS_BY_LOWER = {key.lower(): key for key in request.TRAILER_KEYS}
_TO_DASHES = str.maketrans("_ ", "--")
_WHITESPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A line that git does not see as a trailer. ``line`` counts from 1; ``why`` is one line for a person."""

    line: int
    text: str
    reason: str


def find_near_misses(message: str) -> tuple[NearMiss, ...]:
    """The lookalikes of a message, in order. Nothing below its end for git (trailing comments, scissors) is one."""
    if "fyre" not in message.lower():
        return ()
    page = _index_lines(trailers.message_lines(message))
    if _is_squash(page):
        return ()
    seen = {trailer.line - 1 for trailer in trailers.parse(message)}
    return tuple(
        NearMiss(index + 1, text, _explain_line(page, index))
        for index, text in enumerate(page.lines)
        if index not in seen and _is_near_miss(page, index)
    )


def fix_near_misses(message: str) -> str:
    """The message with its lookalikes moved, spelt right and in their order, into the trailer block at its end.

    Folded lines move along; all other prose and trailers stay as they are. Mending what is mended changes nothing.
    """
    found = {one.line - 1 for one in find_near_misses(message)}
    if not found:
        return message
    lines = trailers.message_lines(message)
    rest = message[len("\n".join(lines)) :].lstrip("\n")
    lines = [
        _correct_spelling(text) if index in found else text for index, text in enumerate(lines)
    ]
    start = trailers.block_start(lines)  # spelt right, the last paragraph may be a block already
    body, moved = _extract_lines(lines[:start], found)
    block = lines[start:]
    # Above the first trailer, and not above what is no trailer there: an indented line would become part of ours.
    at = next((n for n, text in enumerate(block) if trailers.is_trailer_line(text)), 0)
    block = [
        text for text in [*block[:at], *moved, *block[at:]] if not trailers.is_blank_line(text)
    ]
    if not body:
        body = [_subject_for_trailers(block)]
    if (
        rest and body[0] == "Conflicts:"
    ):  # git took the rest for that list, and would not below our block
        rest = f"{body[0]}\n{rest}"
    return "\n".join([*body, "", *block, ""]) + ("\n" + rest if rest else "")


def reject_near_misses(text: str) -> None:
    """Raise ``UserError`` for a line that looks like one of our trailers, and that git does not see as one."""
    for one in find_near_misses(text):
        raise UserError(
            f"{one.text.strip()[:60]!r} would not run: {one.reason}",
            hint="put it last, among the trailers",
        )


def strip_comments(message: str, comment_char: str = "#") -> str:
    """What ``git commit`` keeps of an edited message: cut at the scissors, comments and needless blank space gone."""
    scissors = f"{comment_char} ------------------------ >8 ------------------------\n"
    end = 0 if message.startswith(scissors) else message.find("\n" + scissors) + 1 or len(message)
    kept: list[str] = []
    for line in message[:end].split("\n"):
        text = line.rstrip(_WHITESPACE)
        if line.startswith(comment_char) or (not text and (not kept or not kept[-1])):
            continue
        kept.append(text)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept) + "\n" if kept else ""


class _MessageLines(NamedTuple):
    """A message as lines, and the indices that decide what a line is."""

    lines: list[str]
    subject: int
    body: int  # the blank line below the subject's paragraph
    last_paragraph: int  # first line of the last paragraph
    first_prose: int  # first line there that is no trailer and continues none


def _index_lines(lines: list[str]) -> _MessageLines:
    subject = next((n for n, text in enumerate(lines) if not trailers.is_blank_line(text)), 0)
    last = _last_paragraph_start(lines)
    return _MessageLines(
        lines, subject, trailers.title_end(lines), last, _first_prose_line(lines, last)
    )


def _is_near_miss(page: _MessageLines, index: int) -> bool:
    match = _NEAR_MISS.fullmatch(page.lines[index])
    if match is None:
        return False
    key = match[2].translate(_TO_DASHES).lower()
    if match[2][4] == " ":  # "fyre run: faster" is a sentence, but for where trailers stand
        return (
            key in _KEYS_BY_LOWER and index >= max(page.last_paragraph, page.body) and not match[1]
        )
    if (
        match[2][4] == "_" or index == page.subject
    ):  # "fyre-server: answer sooner" is a subject, "fyre_x: y" is code
        return key in _KEYS_BY_LOWER
    return True


def _explain_line(page: _MessageLines, index: int) -> str:
    text = page.lines[index]
    key = text.partition(":")[0].strip(_WHITESPACE)
    prose = page.lines[page.first_prose].strip()[:40]
    reasons = (
        (index == page.subject, "it is in the subject"),
        (index < page.body, "no blank line stands between it and the subject"),
        ("_" in key, "an underscore is not allowed in a trailer's key"),
        (" " in key, "a space is not allowed in a trailer's key"),
        (index < page.last_paragraph, "it is not in the last paragraph"),
        (text.startswith(" "), "it is indented, so that git takes it for more of the line above"),
    )
    mixed = f"the last paragraph mixes prose and trailers: line {page.first_prose + 1} {prose!r} is not a trailer"
    return next((why for true, why in reasons if true), mixed)


def _first_prose_line(lines: list[str], last: int) -> int:
    """The index of the first line of the last paragraph that is no trailer and continues none."""
    continued = False
    for index in range(last, len(lines)):
        text = lines[index]
        if not (
            trailers.is_trailer_line(text)
            or text.startswith("#")
            or (continued and text[:1] in _WHITESPACE)
        ):
            return index
        continued = not text.startswith("#")
    return last


def _last_paragraph_start(lines: list[str]) -> int:
    """The index of the first line of the last paragraph. Comments below it are none, as for git."""
    end = len(lines)
    while end and (trailers.is_blank_line(lines[end - 1]) or lines[end - 1].startswith("#")):
        end -= 1
    while end and not trailers.is_blank_line(lines[end - 1]):
        end -= 1
    return end


def _is_squash(page: _MessageLines) -> bool:
    """Whether the message lists the messages of squashed commits, as GitHub and ``git merge --squash`` write them."""
    title = page.lines[page.subject].rstrip(_WHITESPACE) if page.lines else ""
    bullets = any(text.startswith("* ") for text in page.lines)
    return title == "Squashed commit of the following:" or bool(
        bullets and re.search(r" \(#\d+\)$", title)
    )


def _extract_lines(lines: list[str], found: set[int]) -> tuple[list[str], list[str]]:
    """The lines without the lookalikes and without the blank lines that this leaves doubled, and what was taken."""
    body: list[str] = []
    moved: list[str] = []
    taken = gap = False
    for index, text in enumerate(lines):
        blank = trailers.is_blank_line(text)
        taken = index in found or (taken and not blank and text[0] in _WHITESPACE)
        gap = taken or (gap and blank)
        if taken:
            moved.append(text)
        elif not (blank and (not body or (gap and trailers.is_blank_line(body[-1])))):
            body.append(text)
    while body and trailers.is_blank_line(body[-1]):
        body.pop()
    return body, moved


def _correct_spelling(text: str) -> str:
    """The line as a trailer: no indentation, dashes in the key, the key's own capitals."""
    match = _NEAR_MISS.fullmatch(text)
    if match is None:
        return text
    key = match[2].translate(_TO_DASHES)
    return f"{_KEYS_BY_LOWER.get(key.lower(), key)}: {match[3].strip(_WHITESPACE)}".rstrip(" ")


def _subject_for_trailers(block: list[str]) -> str:
    """A subject for a message that was all trailers: it says what runs."""
    found = trailers.parse("\n".join(["S", "", *block]))
    return compose.compose_subject(
        [one.value for one in found if one.key.lower() == "fyre-run"] or ["nothing"]
    )
