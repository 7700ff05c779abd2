"""From a commit message to what it asks for: runs, or precise problems. Pure.

A ``Fyre-Run`` starts a run, the ``Fyre-*`` trailers after it refine it; ``Fyre-Id`` and ``Fyre-From`` belong to the
commit. Whatever is wrong is a ``Problem`` with its line; a message with problems launches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fyre.message import fyre_ids, notation, trailers
from fyre.message.spec import RunSpec
from fyre.message.trailers import Trailer

_SINGLE_KEYS = {  # trailer key in lower case -> (Spec's field, parser); may stand once for a run
    "fyre-name": ("name", notation.parse_run_name),
    "fyre-profile": ("profile", notation.parse_profile_name),
    "fyre-image": ("image", notation.parse_image),
    "fyre-resources": ("resources", notation.parse_resources),
    "fyre-timeout": ("timeout", notation.parse_duration),
    "fyre-retries": ("retries", notation.parse_retries),
    "fyre-workdir": ("workdir", notation.parse_workdir),
}
_REPEATED_KEYS = {
    "fyre-env": ("env", notation.parse_env_entry),
    "fyre-secret": ("secrets", notation.parse_secret_name),
}
_RESERVED_KEYS = frozenset({"fyre-input", "fyre-output", "fyre-matrix", "fyre-needs", "fyre-nodes"})
TRAILER_KEYS = ("Fyre-Run", "Fyre-Name", "Fyre-Profile", "Fyre-Image", "Fyre-Resources", "Fyre-Timeout", "Fyre-Retries",
        "Fyre-Env", "Fyre-Secret", "Fyre-Workdir", "Fyre-Id", "Fyre-From")  # fmt: skip
"""Every key that is taken, as it is written."""

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
}
"""The options that refine a run, on the command line and in a comment, and the trailer that each becomes."""

MESSAGE_MAX = 1024 * 1024
"""Characters of a message that asks for something; git takes any number, and a commit of megabytes is no request."""

RUNS_MAX = 1000
"""Runs that one message may ask for: each has a status of its own, also where it is refused."""

PROBLEMS_MAX = 100
"""Problems that are told; who makes more has enough to mend."""

_RUN_TRAILER = re.compile(r"^fyre-run[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MessageProblem:
    """What is wrong with a message. ``line`` counts from 1; ``run`` is the index of the run it spoils, if any."""

    line: int
    message: str
    hint: str = ""
    run_index: int | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a message asks for. With ``problems``, ``runs`` holds what could be read and none of it is to run."""

    runs: tuple[RunSpec, ...] = ()
    problems: tuple[MessageProblem, ...] = ()
    fyre_id: str = ""
    fyre_from: str = ""
    run_lines: tuple[int, ...] = ()  # where each run's Fyre-Run stands

    @property
    def run_names(self) -> tuple[str, ...]:
        """The settled names, one for each run: as asked, else ``run``, ``run-2`` … where those are free."""
        return assign_names(tuple(spec.name for spec in self.runs))


def parse_message(message: str) -> RunRequest:
    """What the trailers of a commit message ask for. Never raises; microseconds for a message without any."""
    if len(message) > MESSAGE_MAX:
        long = MessageProblem(
            1,
            f"the message is longer than {MESSAGE_MAX:,} characters",
            "commit a script, and run that",
        )
        return RunRequest(problems=(long,)) if _RUN_TRAILER.search(message) else RunRequest()
    return request_from_trailers(t for t in trailers.parse(message) if t.key[:5].lower() == "fyre-")


def request_from_trailers(parsed_trailers: Iterable[Trailer]) -> RunRequest:
    """The same from trailers that were already read."""
    reading = _RequestParser()
    for trailer in parsed_trailers:
        if len(reading.runs) == RUNS_MAX and trailer.key.lower() == "fyre-run":
            many = f"the message asks for more than {RUNS_MAX:,} runs"
            return RunRequest(
                problems=(MessageProblem(trailer.line, many, "spread them over several commits"),)
            )
        if len(reading.problems) == PROBLEMS_MAX:
            break
        reading.read_trailer(trailer)
    return reading.finish_request()


def assign_names(requested_names: tuple[str, ...]) -> tuple[str, ...]:
    """Give each nameless run the first free of ``run``, ``run-2`` …; contexts on a forge ignore case."""
    taken = {name.lower() for name in requested_names if name}
    names, number = [], 1
    for name in requested_names:
        own = name
        while not own:
            candidate = "run" if number == 1 else f"run-{number}"
            number += 1
            own = "" if candidate in taken else candidate
        names.append(own)
    return tuple(names)


@dataclass(slots=True)
class _RequestParser:
    """The one pass over the trailers."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[MessageProblem] = field(default_factory=list)
    commit: dict[str, str] = field(default_factory=dict)

    def read_trailer(self, trailer: Trailer) -> None:
        key = trailer.key.lower()
        try:
            if key == "fyre-run":
                self.lines.append(trailer.line)
                self.runs.append({"command": trailer.value})
                notation.parse_command(trailer.value)
            elif key in _SINGLE_KEYS or key in _REPEATED_KEYS:
                self._refine_run(key, trailer)
            elif key in ("fyre-id", "fyre-from"):
                self._read_commit_trailer(key, trailer)
            else:
                raise _unknown_key_error(trailer)
        except notation.BadValueError as error:
            owner = len(self.runs) - 1 if self.runs else None
            shown = "" if key == "fyre-run" or key not in _KNOWN_KEYS else f"{trailer.key}: "
            self.problems.append(
                MessageProblem(trailer.line, shown + error.args[0], error.hint, owner)
            )

    def _refine_run(self, key: str, trailer: Trailer) -> None:
        if not self.runs:
            raise notation.BadValueError(
                f"{trailer.key} stands before any Fyre-Run",
                "move it below the Fyre-Run that it refines",
            )
        run = self.runs[-1]
        if key in _SINGLE_KEYS:
            name, parse = _SINGLE_KEYS[key]
            if name in run:
                raise notation.BadValueError("given twice for one run", "keep one of them")
            run[name] = None  # so that a second one is "twice", whatever the first was worth
            run[name] = parse(trailer.value)
        else:
            name, parse_one = _REPEATED_KEYS[key]
            run.setdefault(name, []).append(parse_one(trailer.value))

    def _read_commit_trailer(self, key: str, trailer: Trailer) -> None:
        if key in self.commit:
            raise notation.BadValueError("given twice", "keep one of them: a commit has one")
        self.commit[key] = ""
        if key == "fyre-id" and not fyre_ids.is_valid_fyre_id(trailer.value):
            raise notation.BadValueError(
                f"{trailer.value[:40]!r} is not an id", "delete the line: a new one is minted"
            )
        if key == "fyre-from" and not _is_full_sha(trailer.value):
            raise notation.BadValueError(
                f"{trailer.value[:60]!r} is not a full SHA", "delete the line: `fyre run` writes it"
            )
        self.commit[key] = trailer.value

    def finish_request(self) -> RunRequest:
        self._report_duplicate_names()
        for run in self.runs:
            run |= {name: tuple(run[name]) for name, _ in _REPEATED_KEYS.values() if name in run}
        specs = tuple(
            RunSpec(**{k: v for k, v in run.items() if v is not None}) for run in self.runs
        )
        return RunRequest(specs, tuple(self.problems), self.commit.get("fyre-id", ""), self.commit.get("fyre-from", ""),
                     tuple(self.lines))  # fmt: skip

    def _report_duplicate_names(self) -> None:
        seen: dict[str, str] = {}
        for index, run in enumerate(self.runs):
            name: str = run.get("name") or ""
            if name.lower() in seen:
                first = seen[name.lower()]
                why = (
                    ""
                    if first == name
                    else f": a status's context ignores case, and there is {first!r}"
                )
                self.problems.append(
                    MessageProblem(
                        self.lines[index],
                        f"two runs are named {name!r}{why}",
                        "give each run its own name",
                        index,
                    )
                )
            elif name:
                seen[name.lower()] = name


_KNOWN_KEYS = frozenset(key.lower() for key in TRAILER_KEYS)


def _unknown_key_error(trailer: Trailer) -> notation.BadValueError:
    """The error for a key that is not ours: not yet, misspelt, or made up."""
    if trailer.key.lower() in _RESERVED_KEYS:
        return notation.BadValueError(f"{trailer.key} is not supported yet", "delete the line")
    from difflib import get_close_matches  # only an error pays for it

    by_lower = {key.lower(): key for key in TRAILER_KEYS}
    close = get_close_matches(trailer.key.lower(), by_lower, n=1)
    meant = (
        f"did you mean {by_lower[close[0]]}?"
        if close
        else f"the keys are {', '.join(TRAILER_KEYS)}"
    )
    return notation.BadValueError(f"unknown trailer {trailer.key[:60]}", meant)


def _is_full_sha(text: str) -> bool:
    return len(text) in (40, 64) and all(char in "0123456789abcdef" for char in text)
