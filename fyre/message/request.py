"""Parse a commit message into the runs that it requests, or into precise problems. Pure.

A ``Fyre-Run`` starts a run, the ``Fyre-*`` trailers after it refine it; ``Fyre-Id`` and
``Fyre-From`` belong to the commit. Every mistake is a ``MessageProblem`` with its line; a message
with problems launches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fyre.message import fyre_ids, output_notation, trailers, value_parsers
from fyre.message.spec import RunSpec
from fyre.message.trailers import Trailer

# Trailer key in lower case → (field of RunSpec, parser); each may be given once for a run.
_SINGLE_KEYS = {
    "fyre-name": ("name", value_parsers.parse_run_name),
    "fyre-profile": ("profile", value_parsers.parse_profile_name),
    "fyre-image": ("image", value_parsers.parse_image),
    "fyre-resources": ("resources", value_parsers.parse_resources),
    "fyre-timeout": ("timeout", value_parsers.parse_duration),
    "fyre-retries": ("retries", value_parsers.parse_retries),
    "fyre-workdir": ("workdir", value_parsers.parse_workdir),
    "fyre-note": ("note", value_parsers.parse_note),
}
_REPEATED_KEYS = {
    "fyre-env": ("env", value_parsers.parse_env_entry),
    "fyre-secret": ("secrets", value_parsers.parse_secret_name),
    "fyre-output": ("outputs", output_notation.parse_output),
}
_RESERVED_KEYS = frozenset(
    {"fyre-input", "fyre-state", "fyre-cache", "fyre-matrix", "fyre-needs", "fyre-nodes"}
)
TRAILER_KEYS = (
    "Fyre-Run",
    "Fyre-Name",
    "Fyre-Profile",
    "Fyre-Image",
    "Fyre-Resources",
    "Fyre-Timeout",
    "Fyre-Retries",
    "Fyre-Env",
    "Fyre-Secret",
    "Fyre-Workdir",
    "Fyre-Output",
    "Fyre-Note",
    "Fyre-Id",
    "Fyre-From",
)
"""Every key that is accepted, as it is written."""

OPTION_TRAILERS = {
    "--name": "Fyre-Name",
    "--profile": "Fyre-Profile",
    "--image": "Fyre-Image",
    "--resources": "Fyre-Resources",
    "--timeout": "Fyre-Timeout",
    "--retries": "Fyre-Retries",
    "--env": "Fyre-Env",
    "--secret": "Fyre-Secret",
    "--workdir": "Fyre-Workdir",
    "--output": "Fyre-Output",
    "--note": "Fyre-Note",
}
"""Option that refines a run, on the command line and in a comment → the trailer that it becomes."""

_LIKELY_KEYS = {
    "gpu": "Fyre-Resources: nvidia.com/gpu=1",
    "cpu": "Fyre-Resources: cpu=4",
    "memory": "Fyre-Resources: memory=16Gi",
    "mem": "Fyre-Resources: memory=16Gi",
    "ram": "Fyre-Resources: memory=16Gi",
    "command": "Fyre-Run: python train.py",
    "cmd": "Fyre-Run: python train.py",
    "exec": "Fyre-Run: python train.py",
    "queue": "Fyre-Profile: NAME, which may have a queue",
    "dir": "Fyre-Workdir: DIR",
    "cwd": "Fyre-Workdir: DIR",
    "out": "Fyre-Output: model.pt",
    "artifact": "Fyre-Output: model.pt",
    "message": "Fyre-Note: TEXT",
}
"""By what people call it, without its "Fyre-" and a plural: the trailer that they mean."""

MESSAGE_MAX = 1024 * 1024
"""Characters of a message that requests something; git takes any number, but a commit message of
megabytes is no request."""

RUNS_MAX = 1000
"""Runs that one message may request: each has a status of its own, even if it is refused."""

PROBLEMS_MAX = 100
"""Problems that are reported; a message with more has enough to fix."""

TOO_LONG = f"the message is longer than {MESSAGE_MAX:,} characters"

_RUN_TRAILER = re.compile(r"^fyre-run[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MessageProblem:
    """A mistake in a message.

    ``line`` counts from 1, and is 0 where the message as a whole is wrong; ``run_index`` is the
    index of the run that it spoils, if any.
    """

    line: int
    message: str
    hint: str = ""
    run_index: int | None = None

    @property
    def described(self) -> str:
        """The mistake, with its line if it has one."""
        return f"line {self.line}: {self.message}" if self.line else self.message


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The runs that a message requests, and its problems.

    If there are ``problems``, ``runs`` holds what could be read, and none of it is to run.
    """

    runs: tuple[RunSpec, ...] = ()
    problems: tuple[MessageProblem, ...] = ()
    fyre_id: str = ""
    fyre_from: str = ""
    run_lines: tuple[int, ...] = ()  # line of each run's Fyre-Run

    @property
    def asks_nothing(self) -> bool:
        """True if no run is requested, nor anything that was meant as one."""
        return not (self.runs or self.problems)

    @property
    def run_names(self) -> tuple[str, ...]:
        """The final names, one for each run: as requested, else ``run``, ``run-2`` … where free."""
        return assign_names(tuple(spec.name for spec in self.runs))


def parse_message(message: str) -> RunRequest:
    """Return the runs that the trailers of a commit message request.

    Never raises; takes microseconds for a message without such trailers.
    """
    if len(message) > MESSAGE_MAX:
        long = MessageProblem(1, TOO_LONG, "commit a script, and run that")
        return RunRequest(problems=(long,)) if _RUN_TRAILER.search(message) else RunRequest()
    return request_from_trailers(t for t in trailers.parse(message) if t.key[:5].lower() == "fyre-")


def check_option(option: str, value: str) -> None:
    """Raise ``BadValueError``, in the words of options, if a run's option can't have this value."""
    key = OPTION_TRAILERS.get(option, "Fyre-Run").lower()
    parse = (_SINGLE_KEYS | _REPEATED_KEYS).get(key, ("", value_parsers.parse_command))[1]
    try:
        parse(value)
    except value_parsers.BadValueError as error:
        hint = in_option_words(error.hint)
        raise value_parsers.BadValueError(f"{option}: {error.args[0]}", hint) from error


def in_option_words(hint: str) -> str:
    """Return a hint that names trailers with the options that stand for them."""
    hint = hint.replace("Fyre-Run: python train.py", "--run 'python train.py'")
    for name, trailer in (*OPTION_TRAILERS.items(), ("--run", "Fyre-Run")):
        hint = hint.replace(f"{trailer}: ", f"{name} ")
    return hint


def asks_for_run(message: bytes) -> bool:
    """Return True if some line looks like a ``Fyre-Run``, in a message too long to be parsed."""
    return _RUN_TRAILER.search(message.decode("latin-1")) is not None


def request_from_trailers(parsed_trailers: Iterable[Trailer]) -> RunRequest:
    """Return the runs that already parsed trailers request."""
    parser = _RequestParser()
    for trailer in parsed_trailers:
        if len(parser.runs) == RUNS_MAX and trailer.key.lower() == "fyre-run":
            message = f"the message asks for more than {RUNS_MAX:,} runs"
            return RunRequest(
                problems=(
                    MessageProblem(trailer.line, message, "spread them over several commits"),
                )
            )
        if len(parser.problems) == PROBLEMS_MAX:
            break
        parser.read_trailer(trailer)
    return parser.finish_request()


def assign_names(requested_names: tuple[str, ...]) -> tuple[str, ...]:
    """Give each nameless run the first free one of ``run``, ``run-2`` ….

    Case does not count: contexts on a forge ignore it.
    """
    taken = {name.lower() for name in requested_names if name}
    names, number = [], 1
    for name in requested_names:
        chosen = name
        while not chosen:
            candidate = "run" if number == 1 else f"run-{number}"
            number += 1
            chosen = "" if candidate in taken else candidate
        names.append(chosen)
    return tuple(names)


@dataclass(slots=True)
class _RequestParser:
    """State of the one pass over the trailers."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[MessageProblem] = field(default_factory=list)
    commit: dict[str, str] = field(default_factory=dict)

    def read_trailer(self, trailer: Trailer) -> None:
        """Add a trailer to the request, or add the problem with it."""
        key = trailer.key.lower()
        try:
            if key == "fyre-run":
                self.lines.append(trailer.line)
                self.runs.append({"command": trailer.value})
                value_parsers.parse_command(trailer.value)
            elif key in _SINGLE_KEYS or key in _REPEATED_KEYS:
                self._refine_run(key, trailer)
            elif key in ("fyre-id", "fyre-from"):
                self._read_commit_trailer(key, trailer)
            else:
                raise _unknown_key_error(trailer)
        except value_parsers.BadValueError as error:
            run_index = len(self.runs) - 1 if self.runs else None
            prefix = "" if key == "fyre-run" or key not in _KNOWN_KEYS else f"{trailer.key}: "
            self.problems.append(
                MessageProblem(trailer.line, prefix + error.args[0], error.hint, run_index)
            )

    def _refine_run(self, key: str, trailer: Trailer) -> None:
        """Set what a trailer says of the last run."""
        if not self.runs:
            raise value_parsers.BadValueError(
                f"{trailer.key} stands before any Fyre-Run",
                "move it below the Fyre-Run that it refines",
            )
        run = self.runs[-1]
        if key in _SINGLE_KEYS:
            name, parse = _SINGLE_KEYS[key]
            if name in run:
                raise value_parsers.BadValueError("given twice for one run", "keep one of them")
            run[name] = None  # so that a second one is "twice", even if the first is invalid
            run[name] = parse(trailer.value)
        else:
            name, parse_one = _REPEATED_KEYS[key]
            run.setdefault(name, []).append(parse_one(trailer.value))

    def _read_commit_trailer(self, key: str, trailer: Trailer) -> None:
        """Set what a trailer says of the commit."""
        if key in self.commit:
            raise value_parsers.BadValueError("given twice", "keep one of them: a commit has one")
        self.commit[key] = ""
        if key == "fyre-id" and not fyre_ids.is_valid_fyre_id(trailer.value):
            raise value_parsers.BadValueError(
                f"{trailer.value[:40]!r} is not an id", "delete the line: a new one is minted"
            )
        if key == "fyre-from" and not _is_full_sha(trailer.value):
            raise value_parsers.BadValueError(
                f"{trailer.value[:60]!r} is not a full SHA", "delete the line: `fyre run` writes it"
            )
        self.commit[key] = trailer.value

    def finish_request(self) -> RunRequest:
        """Return the request, once every trailer is read."""
        self._report_duplicate_names()
        for run in self.runs:
            run |= {name: tuple(run[name]) for name, _ in _REPEATED_KEYS.values() if name in run}
        specs = tuple(
            RunSpec(**{key: value for key, value in run.items() if value is not None})
            for run in self.runs
        )
        return RunRequest(
            specs,
            tuple(self.problems),
            fyre_id=self.commit.get("fyre-id", ""),
            fyre_from=self.commit.get("fyre-from", ""),
            run_lines=tuple(self.lines),
        )

    def _report_duplicate_names(self) -> None:
        """Add a problem for each run that has the name of an earlier one."""
        seen: dict[str, str] = {}
        for index, run in enumerate(self.runs):
            name: str = run.get("name") or ""
            if name.lower() in seen:
                first = seen[name.lower()]
                other_spelling = (
                    ""
                    if first == name
                    else f": a status's context ignores case, and there is {first!r}"
                )
                self.problems.append(
                    MessageProblem(
                        self.lines[index],
                        f"two runs are named {name!r}{other_spelling}",
                        "give each run its own name",
                        index,
                    )
                )
            elif name:
                seen[name.lower()] = name


_KNOWN_KEYS = frozenset(key.lower() for key in TRAILER_KEYS)


def _unknown_key_error(trailer: Trailer) -> value_parsers.BadValueError:
    """Return the error for a key that is not ours: not supported yet, misspelt, or made up."""
    if trailer.key.lower() in _RESERVED_KEYS:
        return value_parsers.BadValueError(f"{trailer.key} is not supported yet", "delete the line")
    from difflib import get_close_matches  # imported only if there is an error

    likely = _LIKELY_KEYS.get(trailer.key.lower().removeprefix("fyre-").removesuffix("s"))
    if likely:
        return value_parsers.BadValueError(f"unknown trailer {trailer.key}", f"write {likely}")
    by_lower = {key.lower(): key for key in TRAILER_KEYS}
    close = get_close_matches(trailer.key.lower(), by_lower, n=1)
    hint = (
        f"did you mean {by_lower[close[0]]}?"
        if close
        else f"the keys are {', '.join(TRAILER_KEYS)}"
    )
    return value_parsers.BadValueError(f"unknown trailer {trailer.key[:60]}", hint)


def _is_full_sha(text: str) -> bool:
    """Return True if the text is a SHA-1 or SHA-256 in full."""
    return len(text) in (40, 64) and all(char in "0123456789abcdef" for char in text)
