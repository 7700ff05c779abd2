"""What the description of a commit status says, and how it is read back. Pure, standard library only.

A description is an API: other versions of Fyre read what this one posts, and the other way round. Its grammar::

    description = outcome *( " · " part )       at most 140 characters; what is cut off ends with "…"

By GitHub's word for the status, the outcome begins with

    pending   "queued", "starting" or "running"; anything else counts as queued
    error     "refused: …", "not launched: …" (an error), "cancelled by …", "ran at SHA" (moved); else an error
    failure   "exit CODE …", "timed out after …" or another reason: failed
    success   "exit 0": succeeded

and the parts that are read back are

    "carried from SHA"    the outcome is that of a run on another commit; never of what is pending or was refused
    "attempt N"           which attempt at the run it was; 1 where that is not said
    the last part         of what was refused, what would help: ``PUSH_REFUSAL_HINTS``

where SHA is its first seven digits. Further parts are for people alone. What is read back never matches words in the
middle of a part, which may be a person's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fyre.runs.state import PENDING_STATES, RunState

SEPARATOR = " · "

REFUSED = "refused: "
NOT_LAUNCHED = "not launched: "
CANCELLED_BY = "cancelled by "
RAN_AT = "ran at "
CARRIED_FROM = "carried from "
ATTEMPT = "attempt "
TIMED_OUT = "timed out after "
"""Also how a termination message, an outcome's reason and ``fyre.dev/given-up`` begin where the time was over."""

LOST_PREFIX = "lost: "
"""How the reason of a run begins whose end nobody saw."""

PUSH_REFUSAL_HINTS = (
    "push again with an account of your own",
    "push it to one that may",
    "push it there",
    "ask an admin of the repository",
    "ask a maintainer of the team",
    "push fewer at once",
)
"""The last part where the push was refused (who, where, how many), and not the commit."""

_SHORT_SHA = r"(?:[0-9a-f]{7}|[0-9a-f]{0,6}…)"
_MOVED = re.compile(f"{RAN_AT}{_SHORT_SHA}")
_CARRIED = re.compile(f"{CARRIED_FROM}{_SHORT_SHA}|{CARRIED_FROM.rstrip()}…")
_ATTEMPT = re.compile(f"{ATTEMPT}([0-9]{{1,9}})")
_EXIT = re.compile(r"exit ([0-9]{1,3})\b")


@dataclass(frozen=True, slots=True)
class StatusText:
    """What was read back of a status."""

    state: RunState
    attempt: int = 1
    exit_code: int | None = None  # the command's own, where the description says one
    timed_out: bool = False
    hint: str = ""  # of a refusal: what would help


def parse_status(github_state: str, description: str) -> StatusText:
    """Return what a status of ours says. ``github_state`` is GitHub's word. Never raises."""
    outcome, *parts = description.split(SEPARATOR)
    code = _EXIT.match(outcome)
    attempts = [int(found[1]) for part in parts if (found := _ATTEMPT.fullmatch(part))]
    state = _state(github_state, outcome, parts)
    return StatusText(
        state,
        attempts[0] if attempts else 1,
        int(code[1]) if code else None,
        outcome.startswith(TIMED_OUT),
        parts[-1] if parts and state is RunState.REFUSED else "",
    )


def is_push_refusal(github_state: str, description: str) -> bool:
    """Return True for a status that says that a push was refused, and not the commit itself."""
    return parse_status(github_state, description).hint in PUSH_REFUSAL_HINTS


def _state(github_state: str, outcome: str, parts: list[str]) -> RunState:
    if github_state == "pending":
        word = outcome.split(" ", 1)[0]
        return RunState(word) if word in PENDING_STATES else RunState.QUEUED
    if github_state == "error" and outcome.startswith((REFUSED.rstrip(), NOT_LAUNCHED.rstrip())):
        return RunState.REFUSED if outcome.startswith(REFUSED.rstrip()) else RunState.ERROR
    if any(_CARRIED.fullmatch(part) for part in parts):
        return RunState.CARRIED
    if github_state == "error":
        return _of_error(outcome)
    return RunState.SUCCEEDED if github_state == "success" else RunState.FAILED


def _of_error(outcome: str) -> RunState:
    if outcome.startswith(CANCELLED_BY.rstrip()):
        return RunState.CANCELLED
    return RunState.MOVED if _MOVED.fullmatch(outcome) else RunState.ERROR
