"""Parse the trailers of a commit message as git does with an empty configuration. Pure.

Exactly as git sees them with no divider: no reader's own git config ever changes what runs. ``git
interpret-trailers --parse --no-divider`` and ``git log --format='%(trailers:only,unfold)'`` give
the same answer except for two kinds of messages, neither of which ``git commit`` writes. With blank
lines at the beginning, ``log`` skips them, and ``interpret-trailers`` takes them for an empty
title; so do we. Without a line feed at the end, newer ``interpret-trailers`` add one, and so see an
old list of conflicts where a last line ``Conflicts:`` is a trailer to ``log``, to older ones and to
us. Tests compare this with both, with git 2.39 and 2.55. It needs only the standard library, takes
a dozen microseconds for a message, and is linear in its length.

The rules, from git's trailer.c: the message ends at a NUL, and where trailing comments, blank lines
or a scissors line begin; the first paragraph is the title and holds no trailers; the last paragraph
is a trailer block if all its lines are trailers, or if git generated one of them and at least a
quarter are trailers; a line that begins with white space continues the one before it.
"""

from __future__ import annotations

import re

_TRAILER = re.compile(r"[A-Za-z0-9-]+[ \t]*:")
_GENERATED = ("Signed-off-by: ", "(cherry picked from commit ")  # git_generated_prefixes
_WHITESPACE = " \t\n\r"  # git's own isspace(), which knows neither \v nor \f nor Unicode
_COMMENT = "#"  # core.commentChar of an empty configuration
_SCISSORS = "# ------------------------ >8 ------------------------\n"
_FOLD = re.compile(r"\n[ \t\n\r]*")


class Trailer:
    """One trailer.

    ``line`` counts from 1 and says where it stands; two trailers are equal whatever their line.
    """

    __slots__ = ("key", "line", "value")

    def __init__(self, key: str, value: str, line: int = 0) -> None:
        self.key = key
        self.value = value
        self.line = line

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trailer) and (self.key, self.value) == (other.key, other.value)

    def __hash__(self) -> int:
        return hash((self.key, self.value))

    def __repr__(self) -> str:
        return f"Trailer(key={self.key!r}, value={self.value!r}, line={self.line})"


def parse(message: str) -> tuple[Trailer, ...]:
    """Return the trailers of a message, in order, values unfolded.

    Never raises; git stops at a NUL, and so does this.
    """
    lines = message_lines(message)
    return tuple(_read_block(lines, block_start(lines)))


def message_lines(message: str) -> list[str]:
    """Return the message's lines up to its end.

    Trailing comments are left out, and so is everything from the scissors or a NUL on.
    """
    message = message.partition("\0")[0]
    lines = message[: _message_end(message)].split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def is_trailer_line(line: str) -> bool:
    """Return True if a line by itself has the form of a trailer, or is one that git generates."""
    return _TRAILER.match(line) is not None or line.startswith(_GENERATED)


def is_blank_line(line: str) -> bool:
    """Return True if a line is blank to git, to which a form feed or a Unicode space is text."""
    return not line.strip(_WHITESPACE)


def _message_end(message: str) -> int:
    """Return where the message ends for git.

    That is before trailing comments, blank lines, an old conflicts list, scissors.
    """
    if message.startswith(_SCISSORS):
        return 0
    cutoff = message.find("\n" + _SCISSORS) + 1 or len(message)
    ignorable_from = position = (
        0  # start of the current run of ignorable lines; 0 is "none", as in git
    )
    conflicts = False
    while position < cutoff:
        next_position = message.find("\n", position) + 1 or len(message)
        first_char = message[position]
        if first_char in "#\n":
            ignorable_from = ignorable_from or position
        elif message.startswith("Conflicts:\n", position):
            conflicts = True
            ignorable_from = ignorable_from or position
        elif not (conflicts and first_char == "\t") and ignorable_from:
            ignorable_from, conflicts = 0, False
        position = next_position
    return ignorable_from or cutoff


def block_start(lines: list[str]) -> int:
    """Return the index of the trailer block's first line.

    If there is no block, it is the number of lines.
    """
    title = title_end(lines)
    generated = False
    trailers = others = maybe_folded = 0
    for index in range(len(lines) - 1, title - 1, -1):
        line = lines[index]
        if line.startswith(_COMMENT):
            others += maybe_folded
            maybe_folded = 0
        elif not line.strip(_WHITESPACE):
            if not (trailers or others or maybe_folded):
                continue  # still below the last paragraph
            others += maybe_folded
            all_trailers = trailers > 0 and not others
            return (
                index + 1 if all_trailers or (generated and trailers * 3 >= others) else len(lines)
            )
        elif line.startswith(_GENERATED):
            trailers, maybe_folded, generated = trailers + 1, 0, True
        elif _TRAILER.match(line):
            trailers, maybe_folded = trailers + 1, 0
        elif line[0] in _WHITESPACE:
            maybe_folded += 1
        else:
            others, maybe_folded = others + 1 + maybe_folded, 0
    return len(lines)


def title_end(lines: list[str]) -> int:
    """Return the index of the blank line after the first paragraph; the number of lines if none."""
    return next(
        (index for index, line in enumerate(lines) if not line.strip(_WHITESPACE)), len(lines)
    )


def _read_block(lines: list[str], start: int) -> list[Trailer]:
    """Return the trailers of the block that begins at the index ``start``."""
    trailers: list[Trailer] = []
    # The value that a line beginning with white space continues, if any.
    folded: list[str] | None = None
    values: list[list[str]] = []
    for index in range(start, len(lines)):
        line = lines[index]
        if folded is not None and (not line or line[0] in _WHITESPACE):
            folded.append(line)
        elif match := _TRAILER.match(line):
            folded = [line[match.end() :]]
            values.append(folded)
            trailers.append(Trailer(line[: match.end() - 1].rstrip(_WHITESPACE), "", index + 1))
        else:
            folded = None
    for trailer, parts in zip(trailers, values, strict=True):
        value = parts[0] if len(parts) == 1 else _FOLD.sub(" ", "\n".join(parts).strip(_WHITESPACE))
        trailer.value = value.strip(_WHITESPACE)
    return trailers
