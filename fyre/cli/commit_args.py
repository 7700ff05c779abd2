"""The words of ``fyre commit``: which are runs and what refines them, which are git's. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from fyre.errors import UserError
from fyre.message.request import OPTION_TRAILERS

_FYRE_FLAGS = (
    "--push",
    "--dry-run",
    "--autocommit",
    "--json",
    "--allow-credential",
    "--allow-dirty",
    "--help",
)
_GIT_FLAGS = {"-a": "all", "--all": "all", "-e": "edit", "--edit": "edit", "--amend": "amend"}
_GIT_MESSAGE_SOURCES = {"-m": "messages", "--message": "messages", "-F": "files", "--file": "files",
                "-C": "reuse", "--reuse-message": "reuse", "-c": "reedit", "--reedit-message": "reedit"}  # fmt: skip
_GIT_GENERATED_MESSAGE = ("-t", "--template", "--fixup", "--squash")  # git makes the message itself
_GIT_OPTIONS_WITH_VALUE = (
    "--author",
    "--date",
    "--cleanup",
    "--trailer",
    "--pathspec-from-file",
    *_GIT_GENERATED_MESSAGE,
)

FYRE_OPTIONS = ("--run", *OPTION_TRAILERS, *_FYRE_FLAGS)
"""The options that are ours."""

GIT_OPTIONS = (*_GIT_FLAGS, *_GIT_MESSAGE_SOURCES, *_GIT_OPTIONS_WITH_VALUE)
"""The options of git's that we know."""


@dataclass(slots=True)
class CommitArgs:
    """The words, sorted. ``runs`` holds the trailers of each run in the order they were given."""

    runs: list[list[tuple[str, str]]] = field(default_factory=list)
    flags: set[str] = field(
        default_factory=set
    )  # of ours, without the dashes; and all, edit, amend
    messages: list[str] = field(default_factory=list)  # each -m
    files: list[str] = field(default_factory=list)
    reuse: list[str] = field(default_factory=list)
    reedit: list[str] = field(default_factory=list)
    git_args: list[str] = field(
        default_factory=list
    )  # for `git commit`, the sources of the message taken out
    pathspecs: list[str] = field(default_factory=list)  # those of ``git`` that are pathspecs
    git_makes_message: bool = False  # git makes the message: --fixup, --squash, --template

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailers of all runs."""
        return [pair for run in self.runs for pair in run]


def parse_commit_args(argv: list[str]) -> CommitArgs:
    """Sort the words. Raises ``UserError`` with code 2 for those that can't be meant."""
    line = CommitArgs()
    words = list(argv)
    theirs = False  # after a `--` all words are git's, and after a second one all are pathspecs
    while words:
        word = words.pop(0)
        if word == "--":
            if theirs:
                line.git_args += ["--", *words]
                line.pathspecs += words
                break
            theirs = True
        elif theirs or not _take_fyre_option(line, word, words):
            _take_git_word(line, word, words)
    if sum(map(bool, (line.messages, line.files, line.reuse, line.reedit))) > 1:
        raise _usage_error("only one of -m, -F, -C and -c can give the message", "keep one of them")
    return line


def _take_fyre_option(args: CommitArgs, word: str, words: list[str]) -> bool:
    """Take the word if it is an option of ours."""
    key, equals, value = word.partition("=")
    if key in ("--run", *OPTION_TRAILERS):
        value = value if equals else _pop_value(key, words)
        if key == "--run":
            args.runs.append([("Fyre-Run", value)])
        elif not args.runs:
            raise _usage_error(
                f"{key} stands before any --run",
                f"write it after the run that it refines: --run CMD {word}",
            )
        else:
            args.runs[-1].append((OPTION_TRAILERS[key], value))
        return True
    if word in _FYRE_FLAGS or word == "-h":
        args.flags.add("help" if word == "-h" else word[2:])
        return True
    return False


def _take_git_word(args: CommitArgs, word: str, words: list[str]) -> None:
    """Take a word that is git's, keeping what decides the message."""
    if word.startswith("--"):
        key, equals, value = word.partition("=")
        words[:0] = (
            [value] if equals and key in (*_GIT_MESSAGE_SOURCES, *_GIT_OPTIONS_WITH_VALUE) else []
        )
        _take_git_option(args, key, partial(_pop_value, key, words), word)
    elif word.startswith("-") and len(word) > 1:
        _take_short_options(args, word[1:], words)
    else:
        args.git_args.append(word)
        args.pathspecs.append(word)


def _take_short_options(args: CommitArgs, letters: str, words: list[str]) -> None:
    """Take short options written together, as in ``-am MESSAGE``."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in "mFCct":
            words[:0] = (
                [letters] if letters else []
            )  # its value is the rest of the word, else the next word
            letters = ""
            _take_git_option(args, f"-{letter}", partial(_pop_value, f"-{letter}", words), "")
        elif letter in "Su":  # their value, if any, is written to them
            args.git_args.append(f"-{letter}{letters}")
            letters = ""
        else:
            _take_git_option(args, f"-{letter}", str, f"-{letter}")


def _take_git_option(args: CommitArgs, key: str, read_value: Callable[[], str], word: str) -> None:
    """Take one of git's options; ``value`` fetches its value, ``word`` is what to pass on where it has none."""
    if key in _GIT_MESSAGE_SOURCES:
        getattr(args, _GIT_MESSAGE_SOURCES[key]).append(read_value())
    elif key in _GIT_OPTIONS_WITH_VALUE:
        args.git_makes_message |= key in _GIT_GENERATED_MESSAGE
        args.git_args += [f"{key}={read_value()}"] if key.startswith("--") else [key, read_value()]
    else:
        if key in _GIT_FLAGS:
            args.flags.add(_GIT_FLAGS[key])
        args.git_args.append(word)


def _pop_value(key: str, words: list[str]) -> str:
    if not words:
        raise _usage_error(f"{key} needs a value", "see `fyre commit --help`")
    return words.pop(0)


def _usage_error(message: str, hint: str) -> UserError:
    return UserError(message, hint=hint, exit_code=2)
