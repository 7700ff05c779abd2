"""The grammar of a commit status's description, and the way back. Pure, standard library only.

A description is an API: other versions of Fyre read what this one posts, and the other way round.
Its grammar::

    description = outcome *( " · " part )   at most 140 characters; a cut text ends with "…"

By GitHub's word for the status, the outcome begins with

    pending   "waiting", "queued", "starting", "running" or "uploading"; anything else counts as
              queued
    error     "refused: …", "not launched: …" (an error), "cancelled by …", "ran at SHA" (moved);
              else an error
    failure   "exit CODE …", "timed out after …" or another reason: failed
    success   "exit 0": succeeded

and the parts that are read back are

    "carried from SHA"    the outcome is that of a run on another commit; never of a status that is
                          pending or refused
    "attempt N"           which attempt at the run it was; 1 if that is not said
    the last part         of a refusal, what would help: ``PUSH_REFUSAL_HINTS``; of a run that
                          could not be launched yet: ``DELAY_HINTS``

where SHA is its first seven digits. Further parts are for people alone. Words that are read back
are never looked for in the middle of a part, which may be a person's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fyre.runs.state import PENDING_STATES, RunState

SEPARATOR = " · "

REFUSED = "refused: "
NOT_LAUNCHED = "not launched: "
NOT_HONOURED = "not honoured here: "
NOT_CHECKED_OUT = "not checked out: "
CANCELLED_BY = "cancelled by "
RAN_AT = "ran at "
CARRIED_FROM = "carried from "
ATTEMPT = "attempt "
TIMED_OUT = "timed out after "
"""A termination message, an outcome's reason and ``fyre.dev/given-up`` also begin like this after a
timeout."""

LOST_PREFIX = "lost: "
"""Beginning of the reason of a run whose end nobody saw."""

PUSH_REFUSAL_HINTS = (
    "push again with an account of your own",
    "push it to one that may",
    "push it there",
    "ask an admin of the repository",
    "ask a maintainer of the team",
    "push fewer at once",
)
"""The last part if the push was refused (who, where, how many), and not the commit."""

DELAY_HINT = "if this lasts, ask an admin of the repository"
GIVEN_UP_HINT = "push it again, or ask an admin of the repository"
DELAY_HINTS = (DELAY_HINT, GIVEN_UP_HINT)
"""The last part if the engine did not take the run: it is tried again · it was tried for a day.

Version 0.1 launches what has a status with such an end, as after the refusal of a push."""

_SHORT_SHA = r"(?:[0-9a-f]{7}|[0-9a-f]{0,6}…)"
_MOVED = re.compile(f"{RAN_AT}{_SHORT_SHA}")
_CARRIED = re.compile(f"{CARRIED_FROM}{_SHORT_SHA}|{CARRIED_FROM.rstrip()}…")
_ATTEMPT = re.compile(f"{ATTEMPT}([0-9]{{1,9}})")
_EXIT = re.compile(r"exit ([0-9]{1,3})\b")


@dataclass(frozen=True, slots=True)
class StatusText:
    """The facts that were read back from a status."""

    state: RunState
    attempt: int = 1
    exit_code: int | None = None  # the command's own, if the description has one
    timed_out: bool = False
    hint: str = ""  # of a refusal: what would help


def parse_status(github_state: str, description: str) -> StatusText:
    """Return the facts in a status of ours. ``github_state`` is GitHub's word. Never raises."""
    outcome, *parts = description.split(SEPARATOR)
    exit_match = _EXIT.match(outcome)
    attempts = [int(match[1]) for part in parts if (match := _ATTEMPT.fullmatch(part))]
    state = _state(github_state, outcome, parts)
    return StatusText(
        state,
        attempts[0] if attempts else 1,
        int(exit_match[1]) if exit_match else None,
        outcome.startswith(TIMED_OUT),
        parts[-1] if parts and state is RunState.REFUSED else "",
    )


def is_push_refusal(github_state: str, description: str) -> bool:
    """Return True if a status says that a push was refused, and not the commit itself."""
    return parse_status(github_state, description).hint in PUSH_REFUSAL_HINTS


def is_launch_delayed(github_state: str, description: str) -> bool:
    """Return True if a status says that the engine did not take a run yet."""
    outcome, *parts = description.split(SEPARATOR)
    match github_state, parts[-1:]:
        case "pending", [hint]:
            return outcome == RunState.WAITING and hint == DELAY_HINT
        case "error", [hint]:
            return outcome.startswith(NOT_LAUNCHED) and hint == GIVEN_UP_HINT
    return False


def _state(github_state: str, outcome: str, parts: list[str]) -> RunState:
    """Return the state that a status stands for."""
    if github_state == "pending":
        first_word = outcome.split(" ", 1)[0]
        return RunState(first_word) if first_word in PENDING_STATES else RunState.QUEUED
    if github_state == "error" and outcome.startswith((REFUSED.rstrip(), NOT_LAUNCHED.rstrip())):
        return RunState.REFUSED if outcome.startswith(REFUSED.rstrip()) else RunState.ERROR
    if any(_CARRIED.fullmatch(part) for part in parts):
        return RunState.CARRIED
    if github_state == "error":
        return _of_error(outcome)
    return RunState.SUCCEEDED if github_state == "success" else RunState.FAILED


def _of_error(outcome: str) -> RunState:
    """Return the state that a status with GitHub's word ``error`` stands for."""
    if outcome.startswith(CANCELLED_BY.rstrip()):
        return RunState.CANCELLED
    return RunState.MOVED if _MOVED.fullmatch(outcome) else RunState.ERROR
