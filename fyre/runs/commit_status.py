"""Turn a run's record into a commit status. Pure.

``status_from_record`` is the one total function from a record to a status; ``status_text`` holds
the grammar of a description and the way back. GitHub's limits: ``state`` is one of four words,
``description`` holds 140 characters, none of which UTF-8 writes in four bytes, as most emoji;
``context`` holds 255.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from fyre.message import image_reference, value_parsers
from fyre.runs import state
from fyre.runs.results import format_metric
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import (
    ATTEMPT,
    CANCELLED_BY,
    CARRIED_FROM,
    DELAY_HINT,
    GIVEN_UP_HINT,
    NOT_CHECKED_OUT,
    NOT_HONOURED,
    NOT_LAUNCHED,
    RAN_AT,
    REFUSED,
    SEPARATOR,
    parse_status,
)

DESCRIPTION_MAX = 140
"""Characters that GitHub accepts in a description; more is a 422."""

MOVED_CONTEXT = "fyre/moved"
"""Context that says that a Fyre-Id was launched on other code: never the run's own context."""

_JOINERS = "\u200d\ufe0f"
# Beyond it GitHub answers with a 422, "description doesn't accept 4-byte Unicode".
_LAST_ALLOWED = "\uffff"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """One commit status without its SHA; ``state`` is GitHub's word."""

    context: str
    state: str
    description: str
    target_url: str = ""


def status_from_record(
    record: RunRecord, target_url: str = "", *, carried: bool = False
) -> CommitStatus:
    """Return the status of a run for its own SHA.

    With ``carried`` it is for one of the SHAs that share the run's outcome.
    """
    # A reason of blanks alone is none.
    outcome = truncate_description(_outcome_text(record)) or str(record.state)
    description = _description(record, outcome, carried=carried)
    expected = RunState.CARRIED if carried and record.state.is_final else record.state
    if not _is_read_back(record, description, expected):
        # A metric may have a name of the grammar.
        record = replace(record, results=None)
        description = _description(record, outcome, carried=carried)
    if not _is_read_back(record, description, expected):
        # The reason has words of the grammar.
        outcome = outcome.replace(SEPARATOR.strip(), ";")
        outcome = f"{record.state}: {outcome}" if record.state is RunState.ERROR else outcome
        description = _description(record, outcome, carried=carried)
    return CommitStatus(
        record.run.context, state.to_github_state(record.state), description, target_url
    )


def _is_read_back(record: RunRecord, description: str, expected: RunState) -> bool:
    """Return True if a description says to its readers what the record says."""
    read_back = parse_status(state.to_github_state(record.state), description)
    return (read_back.state, read_back.attempt) == (expected, record.run.attempt)


def refused_status(context: str, reason: str) -> CommitStatus:
    """Return the status of a run that will not be launched, and why."""
    return CommitStatus(
        context, state.to_github_state(RunState.REFUSED), truncate_description(f"{REFUSED}{reason}")
    )


def malformed_status(context: str, reason: str) -> CommitStatus:
    """Return the status of a run that can't be understood, and why."""
    return CommitStatus(
        context,
        state.to_github_state(RunState.ERROR),
        truncate_description(f"{NOT_LAUNCHED}{reason}"),
    )


def delayed_status(context: str, reason: str) -> CommitStatus:
    """Return the status of a run that no engine has yet: it is refused for now, and tried again."""
    outcome = f"{RunState.WAITING}{SEPARATOR}{reason}"
    github_state = state.to_github_state(RunState.WAITING)
    return CommitStatus(context, github_state, _with_last_part(outcome, DELAY_HINT))


def given_up_status(context: str, reason: str) -> CommitStatus:
    """Return the status of a run that was refused for so long that it is not tried again."""
    github_state = state.to_github_state(RunState.ERROR)
    outcome = f"{NOT_LAUNCHED}{reason}"
    return CommitStatus(context, github_state, _with_last_part(outcome, GIVEN_UP_HINT))


def cancelled_status(context: str, actor: str) -> CommitStatus:
    """Return the status of a run that somebody cancelled before any engine had it."""
    outcome = truncate_description(f"{CANCELLED_BY}{actor}")
    return CommitStatus(context, state.to_github_state(RunState.CANCELLED), outcome)


def _with_last_part(outcome: str, part: str) -> str:
    """Return a description whose outcome makes room for a part that is read back."""
    room = DESCRIPTION_MAX - len(SEPARATOR + part)
    return truncate_description(outcome, room) + SEPARATOR + part


def moved_status(ran_at_sha: str) -> CommitStatus:
    """Return the status for a trailer that was launched before, on other code.

    An outcome never stands on code that did not produce it.
    """
    return CommitStatus(
        MOVED_CONTEXT,
        state.to_github_state(RunState.MOVED),
        f"{RAN_AT}{ran_at_sha[:7]}{SEPARATOR}/fyre rerun",
    )


def _description(record: RunRecord, outcome: str, *, carried: bool) -> str:
    """Return the description: the outcome, then the other parts in their order.

    If there are too many, the outcome makes room for the parts that are read back.
    """
    attempt = f"{ATTEMPT}{record.run.attempt}" if record.run.attempt > 1 else ""
    shared = f"{CARRIED_FROM}{record.run.sha[:7]}" if carried else ""
    metric = _metric_text(record)
    parts = [part for part in (_duration_text(record), metric, shared, attempt) if part]
    if shared or attempt:
        outcome = truncate_description(
            outcome, DESCRIPTION_MAX - sum(len(SEPARATOR + part) for part in parts)
        )
    return truncate_description(
        SEPARATOR.join([outcome, *parts, *(part for part in _detail_texts(record) if part)])
    )


def truncate_description(text: str, length_max: int = DESCRIPTION_MAX) -> str:
    """Return the text as one line that GitHub accepts, of at most ``length_max`` characters.

    It is never cut inside a character.
    """
    line = " ".join(text.encode(errors="replace").decode().split())
    line = "".join(char if _is_allowed_char(char) else "\ufffd" for char in line)
    if len(line) <= length_max:
        return line
    end = length_max - 1
    while end and (
        unicodedata.combining(line[end]) or line[end] in _JOINERS or line[end - 1] == "\u200d"
    ):
        end -= 1  # an accent or a joined emoji belongs to the character before it
    return line[:end].rstrip() + "…"


def _is_allowed_char(char: str) -> bool:
    """Return True if GitHub accepts the character in a description."""
    return char <= _LAST_ALLOWED and (char.isprintable() or char in _JOINERS)


def _outcome_text(record: RunRecord) -> str:
    """Return what a person wants to know first: how the run ended, or what it is doing."""
    match record.state:
        case RunState.SUCCEEDED | RunState.FAILED if not record.reason:
            return f"exit {record.exit_code}"
        case RunState.SUCCEEDED | RunState.FAILED | RunState.ERROR:
            return record.reason or "error"
        case RunState.CANCELLED:
            return f"{CANCELLED_BY}{record.cancelled_by or 'the engine'}"
        case RunState.REFUSED:
            return f"{REFUSED}{record.reason}"
        case (
            RunState.WAITING
            | RunState.QUEUED
            | RunState.STARTING
            | RunState.RUNNING
            | RunState.UPLOADING
            | RunState.CARRIED
            | RunState.MOVED
        ):
            return str(record.state) + (SEPARATOR + record.reason if record.reason else "")


def _duration_text(record: RunRecord) -> str:
    """Return how long the run took; "" while that is not known."""
    if record.started_at is None or record.ended_at is None:
        return ""
    return value_parsers.format_duration(max(0.0, record.ended_at - record.started_at))


def _metric_text(record: RunRecord) -> str:
    """Return the best value of the first metric that counts; "" if the run has none of them."""
    goals = dict(record.run.spec.metric_goals)
    best = record.results.best_values(goals) if record.results else {}
    name = next((name for name in goals if name in best), "")
    return f"{truncate_description(name, 40)} {format_metric(best[name])}" if name else ""


def _detail_texts(record: RunRecord) -> list[str]:
    """Return the less important parts of a description, some of them empty."""
    return [
        f"try {record.tries}" if record.tries > 1 else "",
        " ".join(f"{key}={quantity}" for key, quantity in record.run.spec.resources)
        if "resources" not in record.unsupported
        else "",
        _image_text(record),
        f"{NOT_HONOURED}{', '.join(record.unsupported)}" if record.unsupported else "",
        f"{NOT_CHECKED_OUT}{', '.join(record.missing_code)}" if record.missing_code else "",
        f"its log can't be read: {record.log_trouble}" if record.log_trouble else "",
    ]


def _image_text(record: RunRecord) -> str:
    """Return the digest that ran.

    Before the end it is only one that was requested, since a retry may pull another.
    """
    requested_digest = image_reference.find_digest(record.run.spec.image or "")
    run_digest = image_reference.find_digest(record.image_id) if record.state.is_final else ""
    digest = "" if "image" in record.unsupported else run_digest or requested_digest
    return f"img {digest.removeprefix('sha256:')[:8]}" if digest else ""
