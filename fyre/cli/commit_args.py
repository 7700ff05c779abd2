"""The words of ``fyre commit``: which are runs and what refines them, which are git's. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from fyre.errors import UserError
from fyre.message.request import REFINES

_OURS = (
    "--push",
    "--dry-run",
    "--autocommit",
    "--json",
    "--allow-credential",
    "--allow-dirty",
    "--help",
)
_GIT_FLAGS = {"-a": "all", "--all": "all", "-e": "edit", "--edit": "edit", "--amend": "amend"}
_GIT_SOURCES = {"-m": "messages", "--message": "messages", "-F": "files", "--file": "files",
                "-C": "reuse", "--reuse-message": "reuse", "-c": "reedit", "--reedit-message": "reedit"}  # fmt: skip
_GIT_OWN = ("-t", "--template", "--fixup", "--squash")  # git makes the message itself
_GIT_VALUED = ("--author", "--date", "--cleanup", "--trailer", "--pathspec-from-file", *_GIT_OWN)

OURS = ("--run", *REFINES, *_OURS)
"""The options that are ours."""

GITS = (*_GIT_FLAGS, *_GIT_SOURCES, *_GIT_VALUED)
"""The options of git's that we know."""


@dataclass(slots=True)
class Line:
    """The words, sorted. ``runs`` holds the trailers of each run in the order they were given."""

    runs: list[list[tuple[str, str]]] = field(default_factory=list)
    flags: set[str] = field(
        default_factory=set
    )  # of ours, without the dashes; and all, edit, amend
    messages: list[str] = field(default_factory=list)  # each -m
    files: list[str] = field(default_factory=list)
    reuse: list[str] = field(default_factory=list)
    reedit: list[str] = field(default_factory=list)
    git: list[str] = field(
        default_factory=list
    )  # for `git commit`, the sources of the message taken out
    paths: list[str] = field(default_factory=list)  # those of ``git`` that are pathspecs
    own: bool = False  # git makes the message: --fixup, --squash, --template

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailers of all runs."""
        return [pair for run in self.runs for pair in run]


def read(argv: list[str]) -> Line:
    """Sort the words. Raises ``UserError`` with code 2 for those that can't be meant."""
    line = Line()
    words = list(argv)
    theirs = False  # after a `--` all words are git's, and after a second one all are pathspecs
    while words:
        word = words.pop(0)
        if word == "--":
            if theirs:
                line.git += ["--", *words]
                line.paths += words
                break
            theirs = True
        elif theirs or not _ours(line, word, words):
            _gits(line, word, words)
    if sum(map(bool, (line.messages, line.files, line.reuse, line.reedit))) > 1:
        raise _usage("only one of -m, -F, -C and -c can give the message", "keep one of them")
    return line


def _ours(line: Line, word: str, words: list[str]) -> bool:
    """Take the word if it is an option of ours."""
    key, equals, value = word.partition("=")
    if key in ("--run", *REFINES):
        value = value if equals else _value(key, words)
        if key == "--run":
            line.runs.append([("Fyre-Run", value)])
        elif not line.runs:
            raise _usage(
                f"{key} stands before any --run",
                f"write it after the run that it refines: --run CMD {word}",
            )
        else:
            line.runs[-1].append((REFINES[key], value))
        return True
    if word in _OURS or word == "-h":
        line.flags.add("help" if word == "-h" else word[2:])
        return True
    return False


def _gits(line: Line, word: str, words: list[str]) -> None:
    """Take a word that is git's, keeping what decides the message."""
    if word.startswith("--"):
        key, equals, value = word.partition("=")
        words[:0] = [value] if equals and key in (*_GIT_SOURCES, *_GIT_VALUED) else []
        _option(line, key, partial(_value, key, words), word)
    elif word.startswith("-") and len(word) > 1:
        _cluster(line, word[1:], words)
    else:
        line.git.append(word)
        line.paths.append(word)


def _cluster(line: Line, letters: str, words: list[str]) -> None:
    """Take short options written together, as in ``-am MESSAGE``."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in "mFCct":
            words[:0] = (
                [letters] if letters else []
            )  # its value is the rest of the word, else the next word
            letters = ""
            _option(line, f"-{letter}", partial(_value, f"-{letter}", words), "")
        elif letter in "Su":  # their value, if any, is written to them
            line.git.append(f"-{letter}{letters}")
            letters = ""
        else:
            _option(line, f"-{letter}", str, f"-{letter}")


def _option(line: Line, key: str, value: Callable[[], str], word: str) -> None:
    """Take one of git's options; ``value`` fetches its value, ``word`` is what to pass on where it has none."""
    if key in _GIT_SOURCES:
        getattr(line, _GIT_SOURCES[key]).append(value())
    elif key in _GIT_VALUED:
        line.own |= key in _GIT_OWN
        line.git += [f"{key}={value()}"] if key.startswith("--") else [key, value()]
    else:
        if key in _GIT_FLAGS:
            line.flags.add(_GIT_FLAGS[key])
        line.git.append(word)


def _value(key: str, words: list[str]) -> str:
    if not words:
        raise _usage(f"{key} needs a value", "see `fyre commit --help`")
    return words.pop(0)


def _usage(message: str, hint: str) -> UserError:
    return UserError(message, hint=hint, code=2)
