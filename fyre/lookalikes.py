"""What looks like a ``Fyre-*`` trailer to a person and is none to git, and how to mend it. Pure.

For the hook and ``fyre check`` only: the receiver stays silent about lookalikes, as squash bodies are full of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fyre import asked, trailers

_LOOKS = re.compile(
    r"(?P<indent> {0,3})(?P<key>fyre[-_ ][a-z][a-z_-]*)(?P<space>[ \t]*):(?P<value>.*)", re.IGNORECASE | re.DOTALL
)
_KEYS = {key.lower(): key for key in asked.KEYS}
_SUBJECT_MAX = 72


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A line that git does not see as a trailer. ``line`` counts from 1; ``why`` is one line for a person."""

    line: int
    text: str
    why: str


def find(message: str) -> tuple[Lookalike, ...]:
    """The lookalikes of a message, in order. Quoted lines and lines indented by four are talk about trailers."""
    start, lines = trailers.block(message)
    seen = {trailer.line for trailer in trailers.parse(message)}
    last = _last_paragraph(lines)
    found = []
    for index, text in enumerate(lines):
        match = _LOOKS.fullmatch(text)
        if match is None or index + 1 in seen or _folded(lines, index, start):
            continue
        key = match["key"]
        # "fyre run: faster" is a sentence; in the last paragraph among trailers it is a slip.
        if key[4] != "-" and index < last:
            continue
        if index == 0 and key not in asked.KEYS:
            continue
        found.append(Lookalike(index + 1, text, _why(lines, index, match, start, last)))
    return tuple(found)


def mend(message: str) -> str:
    """The message with its lookalikes moved, spelt right and in their order, into the trailer block at its end."""
    found = {one.line - 1 for one in find(message)}
    if not found:
        return message
    start, lines = trailers.block(message)
    body: list[str] = []
    moved: list[str] = []
    for index, text in enumerate(lines[:start]):
        if index in found or (moved and index - 1 in found and _continues(text)):
            found.add(index)
            moved.append(_spelt(text) if not _continues(text) or _LOOKS.fullmatch(text) else text)
        elif text.strip() or not (body and not body[-1].strip() and index - 1 in found):
            body.append(text)
    block = moved + [_spelt(text) if start + n in found else text for n, text in enumerate(lines[start:])]
    while body and not body[-1].strip():
        body.pop()
    if not any(text.strip() for text in body):
        body = [_subject(block)]
    if not body[0].strip():
        body = [text for n, text in enumerate(body) if text.strip() or any(t.strip() for t in body[:n])]
    block = [text for text in block if text.strip()]
    rest = message.partition("\0")[0][len("\n".join(lines)) :].lstrip("\n")
    return "\n".join([*body, "", *block, ""]) + ("\n" + rest if rest else "")


def _why(lines: list[str], index: int, match: re.Match[str], start: int, last: int) -> str:
    prose = next((n for n in range(last, len(lines)) if _is_prose(lines[n])), None)
    reasons = {
        "it stands in the subject, where git takes nothing for a trailer": index < _title_end(lines),
        "an underscore is not allowed in a trailer's key": "_" in match["key"],
        "a space is not allowed in a trailer's key": " " in match["key"],
        "it is not in the last paragraph": index < last,
        "it is indented, so git takes it for the rest of the line above": bool(match["indent"]),
    }
    if prose is not None and start == len(lines):
        reasons[
            f"the last paragraph mixes prose and trailers: line {prose + 1} {lines[prose].strip()[:40]!r} is none"
        ] = True
    return next((reason for reason, true in reasons.items() if true), "git does not see it as a trailer")


def _is_prose(line: str) -> bool:
    return not trailers.is_trailer(line) and not _continues(line) and not line.startswith("#")


def _folded(lines: list[str], index: int, start: int) -> bool:
    """Whether the line continues a trailer of the block: an indented ``Fyre-X:`` there is part of a value."""
    return index > start and _continues(lines[index]) and not _LOOKS.fullmatch(lines[index])


def _continues(line: str) -> bool:
    return line[:1] in (" ", "\t")


def _spelt(text: str) -> str:
    """The line as a trailer: no indentation, dashes in the key, the key's own capitals."""
    match = _LOOKS.fullmatch(text)
    if match is None:
        return text
    key = match["key"].replace("_", "-").replace(" ", "-")
    return f"{_KEYS.get(key.lower(), key)}: {match['value'].strip()}"


def _subject(block: list[str]) -> str:
    """A subject for a message that was all trailers: it says what runs."""
    run = next((text for text in block if text.lower().startswith("fyre-run:")), block[0])
    return f"Run: {run.partition(':')[2].strip()}"[:_SUBJECT_MAX]


def _title_end(lines: list[str]) -> int:
    return next((n for n, line in enumerate(lines) if not line.strip()), len(lines))


def _last_paragraph(lines: list[str]) -> int:
    """The index of the first line of the last paragraph."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    while end and lines[end - 1].strip():
        end -= 1
    return end


def strip_comments(message: str, comment_char: str = "#") -> str:
    """What ``git commit`` keeps of an edited message: cut at the scissors, comments and needless blank space gone."""
    scissors = f"{comment_char} ------------------------ >8 ------------------------\n"
    at = 0 if message.startswith(scissors) else message.find("\n" + scissors) + 1 or len(message)
    kept: list[str] = []
    for line in message[:at].split("\n"):
        text = line.rstrip(" \t\r\n")
        if line.startswith(comment_char) or (not text and (not kept or not kept[-1])):
            continue
        kept.append(text)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept) + "\n" if kept else ""
