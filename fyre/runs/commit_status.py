"""What a commit status says of a run: the one total function from a record to a status. Pure.

``status_text`` holds the grammar of a description and the way back.

GitHub's limits: ``state`` is one of four words, ``description`` holds 140 characters, none of which UTF-8 writes in
four bytes, as most emoji; ``context`` holds 255.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from fyre.message import image_reference, notation
from fyre.runs import state
from fyre.runs.run import Record
from fyre.runs.state import State
from fyre.runs.status_text import (
    ATTEMPT,
    CANCELLED_BY,
    CARRIED_FROM,
    NOT_LAUNCHED,
    RAN_AT,
    REFUSED,
    SEPARATOR,
    parse_status,
)

DESCRIPTION_MAX = 140
"""Characters that GitHub takes in a description; more is a 422."""

MOVED_CONTEXT = "fyre/moved"
"""Where it is said that a Fyre-Id was launched on other code: never under the run's own context."""

_JOINERS = "\u200d\ufe0f"
_LAST = "\uffff"  # beyond it GitHub answers with a 422, "description doesn't accept 4-byte Unicode"


@dataclass(frozen=True, slots=True)
class Status:
    """One commit status without its SHA; ``state`` is GitHub's word."""

    context: str
    state: str
    description: str
    target_url: str = ""


def of(record: Record, target_url: str = "", *, carried: bool = False) -> Status:
    """The status that a run's own SHA shows, or with ``carried`` one of the SHAs that share its outcome."""
    outcome = fit(_outcome(record)) or str(record.state)  # a reason of blanks is none
    description = _description(record, outcome, carried=carried)
    read_back = parse_status(state.on_github(record.state), description)
    expected = State.CARRIED if carried and record.state.final else record.state
    if (read_back.state, read_back.attempt) != (
        expected,
        record.run.attempt,
    ):  # the reason has words of the grammar
        outcome = outcome.replace(SEPARATOR.strip(), ";")
        outcome = f"{record.state}: {outcome}" if record.state is State.ERROR else outcome
        description = _description(record, outcome, carried=carried)
    return Status(record.run.context, state.on_github(record.state), description, target_url)


def refused(context: str, reason: str) -> Status:
    """A run that will not be launched, and why."""
    return Status(context, state.on_github(State.REFUSED), fit(f"{REFUSED}{reason}"))


def malformed(context: str, reason: str) -> Status:
    """A run that can't be understood, and why."""
    return Status(context, state.on_github(State.ERROR), fit(f"{NOT_LAUNCHED}{reason}"))


def moved(ran_at: str) -> Status:
    """The trailer was launched before, on other code: an outcome never stands on code that did not produce it."""
    return Status(
        MOVED_CONTEXT, state.on_github(State.MOVED), f"{RAN_AT}{ran_at[:7]}{SEPARATOR}/fyre rerun"
    )


def _description(record: Record, outcome: str, *, carried: bool) -> str:
    """The parts in their order; where there are too many, it is the outcome that makes room for what is read back."""
    attempt = f"{ATTEMPT}{record.run.attempt}" if record.run.attempt > 1 else ""
    shared = f"{CARRIED_FROM}{record.run.sha[:7]}" if carried else ""
    parts = [part for part in (_took(record), shared, attempt) if part]
    if shared or attempt:
        outcome = fit(outcome, DESCRIPTION_MAX - sum(len(SEPARATOR + part) for part in parts))
    return fit(SEPARATOR.join([outcome, *parts, *(part for part in _extras(record) if part)]))


def fit(text: str, most: int = DESCRIPTION_MAX) -> str:
    """The text as one line that GitHub takes, within so many characters, never cut inside one."""
    line = " ".join(text.encode(errors="replace").decode().split())
    line = "".join(char if _taken(char) else "\ufffd" for char in line)
    if len(line) <= most:
        return line
    end = most - 1
    while end and (
        unicodedata.combining(line[end]) or line[end] in _JOINERS or line[end - 1] == "\u200d"
    ):
        end -= 1  # an accent or a joined emoji belongs to what stands before it
    return line[:end].rstrip() + "…"


def _taken(char: str) -> bool:
    return char <= _LAST and (char.isprintable() or char in _JOINERS)


def _outcome(record: Record) -> str:
    """What a person wants first: how it ended, or what it is doing."""
    match record.state:
        case State.SUCCEEDED | State.FAILED if not record.reason:
            return f"exit {record.exit_code}"
        case State.SUCCEEDED | State.FAILED | State.ERROR:
            return record.reason or "error"
        case State.CANCELLED:
            return f"{CANCELLED_BY}{record.cancelled_by or 'the engine'}"
        case State.REFUSED:
            return f"{REFUSED}{record.reason}"
        case State.QUEUED | State.STARTING | State.RUNNING | State.CARRIED | State.MOVED:
            return str(record.state) + (SEPARATOR + record.reason if record.reason else "")


def _took(record: Record) -> str:
    if record.started_at is None or record.ended_at is None:
        return ""
    return notation.text_of(max(0.0, record.ended_at - record.started_at))


def _extras(record: Record) -> list[str]:
    return [
        f"try {record.tries}" if record.tries > 1 else "",
        " ".join(f"{key}={quantity}" for key, quantity in record.run.spec.resources)
        if "resources" not in record.unhonoured
        else "",
        _image(record),
        f"not honoured here: {', '.join(record.unhonoured)}" if record.unhonoured else "",
    ]


def _image(record: Record) -> str:
    """The digest that ran; before the end only one that was asked for, since a retry may pull another."""
    asked = image_reference.digest(record.run.spec.image or "")
    ran = image_reference.digest(record.image_id) if record.state.final else ""
    shown = "" if "image" in record.unhonoured else ran or asked
    return f"img {shown.removeprefix('sha256:')[:8]}" if shown else ""
