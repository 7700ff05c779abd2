"""Find lines that look like a ``Fyre-*`` trailer and are none to git, and fix them. Pure.

Only the hooks, ``fyre commit`` and ``fyre check`` use this: the receiver says nothing about near
misses. A line that is quoted (``>``), indented by four, or in the body of a squash only talks about
trailers, and is no near miss.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fyre.errors import UserError
from fyre.message import compose, request, trailers

_NEAR_MISS = re.compile(
    r"( {0,3})(fyre[-_ ][a-z][a-z_-]*)[ \t]*(:|=(?!=))(.*)", re.IGNORECASE | re.DOTALL | re.ASCII
)
_KEYS_BY_LOWER = {key.lower(): key for key in request.TRAILER_KEYS}
_TO_DASHES = str.maketrans("_ ", "--")
_WHITESPACE = " \t\r\n"


class NearMiss(NamedTuple):
    """A line that looks like a trailer and is none to git.

    ``line`` counts from 1; ``reason`` is one line for a person.
    """

    line: int
    text: str
    reason: str


def find_near_misses(message: str) -> tuple[NearMiss, ...]:
    """Return the near misses of a message, in order.

    Nothing below the message's end for git (trailing comments, scissors) is one.
    """
    if "fyre" not in message.lower():
        return ()
    parsed = _index_lines(trailers.message_lines(message))
    if _is_squash(parsed):
        return ()
    trailer_indices = {trailer.line - 1 for trailer in trailers.parse(message)}
    return tuple(
        NearMiss(index + 1, text, _explain_line(parsed, index))
        for index, text in enumerate(parsed.lines)
        if index not in trailer_indices and _is_near_miss(parsed, index)
    )


def fix_near_misses(message: str) -> str:
    """Return the message with its near misses moved into the trailer block at its end.

    They are spelt right and keep their order. Folded lines move along; all other prose and trailers
    stay as they are. To fix a fixed message changes nothing.
    """
    near_miss_indices = {near_miss.line - 1 for near_miss in find_near_misses(message)}
    if not near_miss_indices:
        return message
    lines = trailers.message_lines(message)
    ending = message[len("\n".join(lines)) :].lstrip("\n")
    lines = [
        _correct_spelling(text) if index in near_miss_indices else text
        for index, text in enumerate(lines)
    ]
    # With the spelling corrected, the last paragraph may be a trailer block already.
    start = trailers.block_start(lines)
    body, moved = _extract_lines(lines[:start], near_miss_indices)
    block = lines[start:]
    # Insert above the first trailer, and not above other lines: an indented line would become part
    # of the inserted trailer.
    insert_at = next(
        (index for index, text in enumerate(block) if trailers.is_trailer_line(text)), 0
    )
    block = [
        text
        for text in [*block[:insert_at], *moved, *block[insert_at:]]
        if not trailers.is_blank_line(text)
    ]
    if not body:
        body = [_subject_for_trailers(block)]
    # git took the ending for the list of conflicts, and would not do so below our block.
    if ending and body[0] == "Conflicts:":
        ending = f"{body[0]}\n{ending}"
    return "\n".join([*body, "", *block, ""]) + ("\n" + ending if ending else "")


def reject_near_misses(text: str, remedy: str = "") -> None:
    """Raise ``UserError`` for a line that looks like one of our trailers and is none to git.

    ``remedy`` is the hint in place of the one to put the line among the trailers.
    """
    for near_miss in find_near_misses(text):
        raise UserError(
            f"{near_miss.text.strip()[:60]!r} would not run: {near_miss.reason}",
            hint=remedy
            or f"put it last, among the trailers: {_correct_spelling(near_miss.text)[:60]}",
        )


def strip_comments(message: str, comment_char: str = "#") -> str:
    """Return what ``git commit`` keeps of an edited message.

    It is cut at the scissors, and comments and needless blank space are removed.
    """
    scissors = f"{comment_char} ------------------------ >8 ------------------------\n"
    end = 0 if message.startswith(scissors) else message.find("\n" + scissors) + 1 or len(message)
    kept_lines: list[str] = []
    for line in message[:end].split("\n"):
        text = line.rstrip(_WHITESPACE)
        if line.startswith(comment_char) or (not text and (not kept_lines or not kept_lines[-1])):
            continue
        kept_lines.append(text)
    while kept_lines and not kept_lines[-1]:
        kept_lines.pop()
    return "\n".join(kept_lines) + "\n" if kept_lines else ""


class _MessageLines(NamedTuple):
    """A message as lines, and the indices that decide what each line is."""

    lines: list[str]
    subject: int
    body: int  # the blank line below the subject's paragraph
    last_paragraph: int  # first line of the last paragraph
    first_prose: int  # first line there that is no trailer and no part of one


def _index_lines(lines: list[str]) -> _MessageLines:
    """Return the lines with the indices of the message's parts."""
    subject = next(
        (index for index, text in enumerate(lines) if not trailers.is_blank_line(text)), 0
    )
    last_paragraph = _last_paragraph_start(lines)
    return _MessageLines(
        lines,
        subject,
        trailers.title_end(lines),
        last_paragraph,
        _first_prose_line(lines, last_paragraph),
    )


def _is_near_miss(parsed: _MessageLines, index: int) -> bool:
    """Return True if a person would take the line for a trailer."""
    match = _NEAR_MISS.fullmatch(parsed.lines[index])
    if match is None:
        return False
    key = match[2].translate(_TO_DASHES).lower()
    if match[3] == "=" and not (match[2][4] == "-" and key in _KEYS_BY_LOWER):
        return False  # "fyre_run = …" is code
    if match[2][4] == " ":  # "fyre run: faster" is a sentence, except where trailers stand
        return (
            key in _KEYS_BY_LOWER
            and index >= max(parsed.last_paragraph, parsed.body)
            and not match[1]
        )
    # "fyre-server: answer sooner" is a subject, "fyre_x: y" is code.
    if match[2][4] == "_" or index == parsed.subject:
        return key in _KEYS_BY_LOWER
    return True


def _explain_line(parsed: _MessageLines, index: int) -> str:
    """Return why git does not take the line for a trailer."""
    text = parsed.lines[index]
    match = _NEAR_MISS.fullmatch(text)
    key, separator = (match[2], match[3]) if match else ("", "")
    prose = parsed.lines[parsed.first_prose].strip()[:40]
    reasons = (
        (index == parsed.subject, "it is in the subject"),
        (index < parsed.body, "no blank line stands between it and the subject"),
        (separator == "=", "a trailer's key ends with a colon, not with an equals sign"),
        ("_" in key, "an underscore is not allowed in a trailer's key"),
        (" " in key, "a space is not allowed in a trailer's key"),
        (index < parsed.last_paragraph, "it is not in the last paragraph"),
        (text.startswith(" "), "it is indented, so that git takes it for more of the line above"),
    )
    mixed_reason = (
        "the last paragraph mixes prose and trailers: "
        f"line {parsed.first_prose + 1} {prose!r} is not a trailer"
    )
    return next((reason for applies, reason in reasons if applies), mixed_reason)


def _first_prose_line(lines: list[str], last: int) -> int:
    """Return the index of the first line of the last paragraph that is not part of a trailer.

    If there is none, it is the paragraph's first line.
    """
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
    """Return the index of the first line of the last paragraph.

    Comments below it are none, as for git.
    """
    end = len(lines)
    while end and (trailers.is_blank_line(lines[end - 1]) or lines[end - 1].startswith("#")):
        end -= 1
    while end and not trailers.is_blank_line(lines[end - 1]):
        end -= 1
    return end


def _is_squash(parsed: _MessageLines) -> bool:
    """Return True if the message lists the messages of squashed commits.

    GitHub and ``git merge --squash`` write such messages.
    """
    title = parsed.lines[parsed.subject].rstrip(_WHITESPACE) if parsed.lines else ""
    bullets = any(text.startswith("* ") for text in parsed.lines)
    return title == "Squashed commit of the following:" or bool(
        bullets and re.search(r" \(#\d+\)$", title)
    )


def _extract_lines(lines: list[str], near_miss_indices: set[int]) -> tuple[list[str], list[str]]:
    """Return the lines without the near misses, and the near misses.

    Blank lines that would be doubled without them are dropped.
    """
    body: list[str] = []
    moved: list[str] = []
    taken = gap = False
    for index, text in enumerate(lines):
        blank = trailers.is_blank_line(text)
        taken = index in near_miss_indices or (taken and not blank and text[0] in _WHITESPACE)
        gap = taken or (gap and blank)
        if taken:
            moved.append(text)
        elif not (blank and (not body or (gap and trailers.is_blank_line(body[-1])))):
            body.append(text)
    while body and trailers.is_blank_line(body[-1]):
        body.pop()
    return body, moved


def _correct_spelling(text: str) -> str:
    """Return the line as a trailer: no indentation, dashes in the key, the key's own capitals."""
    match = _NEAR_MISS.fullmatch(text)
    if match is None:
        return text
    key = match[2].translate(_TO_DASHES)
    return f"{_KEYS_BY_LOWER.get(key.lower(), key)}: {match[4].strip(_WHITESPACE)}".rstrip(" ")


def _subject_for_trailers(block: list[str]) -> str:
    """Return a subject for a message that was all trailers: it says what runs."""
    parsed = trailers.parse("\n".join(["S", "", *block]))
    return compose.compose_subject(
        [trailer.value for trailer in parsed if trailer.key.lower() == "fyre-run"] or ["nothing"]
    )
