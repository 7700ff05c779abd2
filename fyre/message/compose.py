"""Writing commit messages that ask for runs, and changing as little as possible in those that people wrote. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fyre.errors import UserError
from fyre.message import notation, request, trailers

TrailerPairs = Sequence[tuple[str, str]]
"""Trailers to be written: key and value, in their order."""

SUBJECT_MAX = 72
"""Characters of a minted subject: what `git log --oneline` shows in a terminal."""


def command_from_words(words: Sequence[str]) -> str:
    """The command after ``--``: one word is a shell command verbatim, several are words whose quoting is kept."""
    if len(words) == 1:
        return words[0]
    from shlex import join  # only this form pays for it

    return join(words)


def compose_subject(commands: Sequence[str]) -> str:
    """A subject that says what runs: ``Run: python train.py``, ``Run 2 commands: make, make test``."""
    shown = [" ".join(command.split()) for command in commands]
    whole = (
        f"Run: {shown[0]}" if len(shown) == 1 else f"Run {len(shown)} commands: {', '.join(shown)}"
    )
    return whole if len(whole) <= SUBJECT_MAX else whole[: SUBJECT_MAX - 1].rstrip() + "…"


def add_trailers(text: str, pairs: TrailerPairs) -> str:
    """The message with these trailers at its end: below the last of its own, else in a paragraph of their own."""
    body = text.rstrip()
    if not pairs:
        return body + "\n"
    gap = "\n" if trailers.parse(body) else "\n\n"
    return f"{body}{gap}" + "".join(f"{key}: {value.strip()}\n" for key, value in pairs)


def remove_trailers(text: str, should_drop: Callable[[str], bool]) -> str:
    """The message without the trailers whose key in lower case ``drop`` picks, every other byte as it was."""
    lines = split_lines(text)
    gone: set[int] = set()
    for trailer in trailers.parse(text):
        if should_drop(trailer.key.lower()):
            gone |= set(range(trailer.line - 1, trailer_end_line(lines, trailer.line)))
    return "".join(line for number, line in enumerate(lines) if number not in gone)


def trailer_end_line(lines: Sequence[str], line: int) -> int:
    """The number (from 1) of the last line of the trailer at ``line``, which may be folded over several."""
    while line < len(lines) and lines[line][:1] in (" ", "\t") and lines[line].strip():
        line += 1
    return line


def verify_message(text: str, pairs: TrailerPairs) -> request.RunRequest:
    """What the message asks for. Raises ``UserError`` unless it is valid and ends with exactly these trailers."""
    found = request.parse_message(text)
    for problem in found.problems:
        raise UserError(problem.message, hint=problem.hint)
    written = [(key, value.strip() if key == "Fyre-Run" else value) for key, value in pairs]
    read = [(trailer.key, trailer.value) for trailer in trailers.parse(text)]
    for number, (key, value) in enumerate(written, start=-len(written)):
        # git would take bytes that are no UTF-8 for Latin-1 and write down other ones
        if (
            len(read) < -number
            or read[number] != (key, value)
            or notation.replace_invalid_utf8(value) != value
        ):
            raise _unwritable_error(key, value)
    return found


def _unwritable_error(key: str, value: str) -> UserError:
    what = "the command" if key == "Fyre-Run" else key
    if "\n" in value or "\r" in value:
        hint = "join its lines with && or ;, or commit a script and run that"
        return UserError(f"{what} has several lines, and a trailer has one", hint=hint)
    return UserError(
        f"{what} can't be kept as it is in a commit message", hint="commit a script and run that"
    )


def split_lines(text: str) -> list[str]:
    """Lines with their ends, as git counts them: only a line feed ends one."""
    *whole, rest = text.split("\n")
    return [line + "\n" for line in whole] + ([rest] if rest else [])
