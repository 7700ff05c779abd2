"""Write commit messages that request runs, and edit existing ones as little as possible. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fyre.errors import UserError
from fyre.message import request, trailers, value_parsers

TrailerPairs = Sequence[tuple[str, str]]
"""Trailers to be written: (key, value) pairs in their order."""

SUBJECT_MAX = 72
"""Characters of a generated subject: as many as `git log --oneline` shows in a terminal."""


def command_from_words(words: Sequence[str]) -> str:
    """Return the shell command for the words after ``--``.

    One word is a shell command, taken verbatim; several words are quoted for the shell, so that it
    sees the same words.
    """
    if len(words) == 1:
        return words[0]
    from shlex import join  # imported only if it is needed

    return join(words)


def compose_subject(commands: Sequence[str]) -> str:
    """Return a subject that says what runs.

    Examples: ``Run: python train.py``, ``Run 2 commands: make, make test``.
    """
    one_line_commands = [" ".join(command.split()) for command in commands]
    subject = (
        f"Run: {one_line_commands[0]}"
        if len(one_line_commands) == 1
        else f"Run {len(one_line_commands)} commands: {', '.join(one_line_commands)}"
    )
    return subject if len(subject) <= SUBJECT_MAX else subject[: SUBJECT_MAX - 1].rstrip() + "…"


def add_trailers(text: str, pairs: TrailerPairs) -> str:
    """Return the message with these trailers at its end.

    They go below its last trailer, or into a paragraph of their own if it has none.
    """
    body = text.rstrip()
    if not pairs:
        return body + "\n"
    gap = "\n" if trailers.parse(body) else "\n\n"
    return f"{body}{gap}" + "".join(f"{key}: {value.strip()}\n" for key, value in pairs)


def remove_trailers(text: str, should_drop: Callable[[str], bool]) -> str:
    """Return the message without the trailers that ``should_drop`` picks.

    ``should_drop`` gets each key in lower case. Every other byte stays as it was.
    """
    lines = split_lines(text)
    dropped: set[int] = set()
    for trailer in trailers.parse(text):
        if should_drop(trailer.key.lower()):
            dropped |= set(range(trailer.line - 1, trailer_end_line(lines, trailer.line)))
    return "".join(line for index, line in enumerate(lines) if index not in dropped)


def trailer_end_line(lines: Sequence[str], line: int) -> int:
    """Return the number (from 1) of the last line of the trailer that begins at ``line``.

    A trailer may be folded over several lines.
    """
    while line < len(lines) and lines[line][:1] in (" ", "\t") and lines[line].strip():
        line += 1
    return line


def reject_bad_options(pairs: TrailerPairs) -> None:
    """Raise ``UserError`` with exit code 2 if a value that was given as an option is wrong."""
    options = {key: option for option, key in request.OPTION_TRAILERS.items()}
    for key, value in pairs:
        try:
            request.check_option(options.get(key, "--run"), value)
        except value_parsers.BadValueError as error:
            raise UserError(error.args[0], hint=error.hint, exit_code=2) from error


def verify_message(text: str, pairs: TrailerPairs) -> request.RunRequest:
    """Return what the message requests, and check that it holds what was to be written.

    Raises ``UserError`` unless it is valid and ends with exactly these trailers.
    """
    run_request = request.parse_message(text)
    for problem in run_request.problems:
        raise UserError(problem.message, hint=problem.hint)
    expected = [(key, value.strip() if key == "Fyre-Run" else value) for key, value in pairs]
    actual = [(trailer.key, trailer.value) for trailer in trailers.parse(text)]
    for number, (key, value) in enumerate(expected, start=-len(expected)):
        # git would take bytes that are not UTF-8 for Latin-1, and write other bytes
        if (
            len(actual) < -number
            or actual[number] != (key, value)
            or value_parsers.replace_invalid_utf8(value) != value
        ):
            raise _unwritable_error(key, value)
    return run_request


def _unwritable_error(key: str, value: str) -> UserError:
    """Return the error for a value that a trailer can't keep unchanged."""
    subject = "the command" if key == "Fyre-Run" else key
    if "\n" in value or "\r" in value:
        hint = "join its lines with && or ;, or commit a script and run that"
        return UserError(f"{subject} has several lines, and a trailer has one", hint=hint)
    return UserError(
        f"{subject} can't be kept unchanged in a commit message",
        hint="commit a script and run that",
    )


def split_lines(text: str) -> list[str]:
    """Return the lines with their ends, as git counts them: only a line feed ends a line."""
    *complete, last = text.split("\n")
    return [line + "\n" for line in complete] + ([last] if last else [])
