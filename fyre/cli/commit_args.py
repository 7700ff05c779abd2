"""Parse the arguments of ``fyre commit``: runs, their options, and arguments for git. Pure."""

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
_GIT_MESSAGE_SOURCES = {
    "-m": "messages",
    "--message": "messages",
    "-F": "files",
    "--file": "files",
    "-C": "reuse",
    "--reuse-message": "reuse",
    "-c": "reedit",
    "--reedit-message": "reedit",
}
"""By option: the field of ``CommitArgs`` for its value."""

_GIT_GENERATED_MESSAGE = ("-t", "--template", "--fixup", "--squash")
"""Options with which git makes the message itself."""

_GIT_OPTIONS_WITH_VALUE = (
    "--author",
    "--date",
    "--cleanup",
    "--trailer",
    "--pathspec-from-file",
    *_GIT_GENERATED_MESSAGE,
)

FYRE_OPTIONS = ("--run", *OPTION_TRAILERS, *_FYRE_FLAGS)
"""The options of Fyre."""

GIT_OPTIONS = (*_GIT_FLAGS, *_GIT_MESSAGE_SOURCES, *_GIT_OPTIONS_WITH_VALUE)
"""The options of ``git commit`` that Fyre knows."""


@dataclass(slots=True)
class CommitArgs:
    """The parsed arguments; ``runs`` holds the trailers of each run in the order given."""

    runs: list[list[tuple[str, str]]] = field(default_factory=list)
    # Fyre's flags without the dashes; and all, edit, amend
    flags: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)  # each -m
    files: list[str] = field(default_factory=list)
    reuse: list[str] = field(default_factory=list)
    reedit: list[str] = field(default_factory=list)
    # for `git commit`, without the sources of the message
    git_args: list[str] = field(default_factory=list)
    pathspecs: list[str] = field(default_factory=list)  # also in ``git_args``
    git_makes_message: bool = False  # git makes the message: --fixup, --squash, --template

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailers of all runs."""
        return [pair for run in self.runs for pair in run]


def parse_commit_args(argv: list[str]) -> CommitArgs:
    """Parse the arguments; raise ``UserError`` with exit code 2 if they make no sense."""
    args = CommitArgs()
    words = list(argv)
    # after a `--` all arguments are for git, and after a second one all are pathspecs
    only_git_args = False
    while words:
        word = words.pop(0)
        if word == "--":
            if only_git_args:
                args.git_args += ["--", *words]
                args.pathspecs += words
                break
            only_git_args = True
        elif only_git_args or not _take_fyre_option(args, word, words):
            _take_git_word(args, word, words)
    if sum(map(bool, (args.messages, args.files, args.reuse, args.reedit))) > 1:
        raise _usage_error("only one of -m, -F, -C and -c can give the message", "keep one of them")
    return args


def _take_fyre_option(args: CommitArgs, word: str, words: list[str]) -> bool:
    """Add the argument if it is an option of Fyre; return False if it is none."""
    key, equals, value = word.partition("=")
    if key in ("--run", *OPTION_TRAILERS):
        value = value if equals else _pop_value(key, words)
        if key == "--run":
            args.runs.append([("Fyre-Run", value)])
        elif not args.runs:
            raise _usage_error(
                f"{key} stands before any --run",
                f"write it after the run that it refines: --run CMD {key} {value or 'VALUE'}",
            )
        else:
            args.runs[-1].append((OPTION_TRAILERS[key], value))
        return True
    if word in _FYRE_FLAGS or word == "-h":
        args.flags.add("help" if word == "-h" else word[2:])
        return True
    return False


def _take_git_word(args: CommitArgs, word: str, words: list[str]) -> None:
    """Add an argument for git, and note options that decide the message."""
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
    """Add short options that are written together, as in ``-am MESSAGE``."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in "mFCct":
            # its value is the rest of the argument, else the next argument
            words[:0] = [letters] if letters else []
            letters = ""
            _take_git_option(args, f"-{letter}", partial(_pop_value, f"-{letter}", words), "")
        elif letter in "Su":  # their value, if any, follows in the same argument
            args.git_args.append(f"-{letter}{letters}")
            letters = ""
        else:
            _take_git_option(args, f"-{letter}", str, f"-{letter}")


def _take_git_option(args: CommitArgs, key: str, read_value: Callable[[], str], word: str) -> None:
    """Add one of git's options.

    ``read_value`` returns its value; ``word`` is the argument to pass on if it takes none.
    """
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


def suggest_options(git_args: list[str]) -> str:
    """Return a hint with the Fyre options that unknown options for git may be meant to be."""
    words = [word.partition("=")[0] for word in git_args]
    unknown = [key for key in words if key[:2] == "--" and key not in GIT_OPTIONS]
    if not unknown:
        return ""
    from difflib import get_close_matches  # loaded only where something is wrong

    matches = [(key, get_close_matches(key, FYRE_OPTIONS, n=1, cutoff=0.7)) for key in unknown]
    return "; ".join(f"for {key}, did you mean {match[0]}?" for key, match in matches if match)
