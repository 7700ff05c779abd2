"""The events of a run that is followed, and how it ended. Pure.

``follow_run`` of ``fyre.client.follow`` yields them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fyre.engines.run_log import LogPiece, gap_marker
from fyre.github.client import PostedStatus
from fyre.runs.state import RunState
from fyre.runs.status_text import StatusText, parse_status

_TIMEOUT_EXIT_CODE = 124
"""Exit code of a run that timed out, as ``timeout`` of coreutils has it."""


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The run has another status than before, or its first one."""

    posted: PostedStatus
    text: StatusText
    """The state and the attempt, as the status says them."""

    @classmethod
    def from_posted(cls, posted: PostedStatus) -> StatusChanged:
        """Return the event for a status."""
        return cls(posted, parse_status(posted.status.state, posted.status.description))

    @property
    def is_final(self) -> bool:
        """True if no other state of the run follows."""
        return self.text.state.is_final


@dataclass(frozen=True, slots=True)
class RunNotStarted:
    """The run is held or queued, and why, or its setup is under way, and which step of it; each is
    told of once in a row."""

    description: str


@dataclass(frozen=True, slots=True)
class LogChunk(LogPiece):
    """A piece of the run's log; what is left out before it is a ``LogGap``."""


@dataclass(frozen=True, slots=True)
class LogGap:
    """Bytes of a long log that the receiver has not kept."""

    offset: int
    length: int

    @property
    def marker(self) -> bytes:
        """The line that is shown in their place."""
        return gap_marker(self.length)


@dataclass(frozen=True, slots=True)
class LogInterrupted:
    """The log broke off, or can't be read; it is tried again, from ``offset``."""

    reason: str
    offset: int


@dataclass(frozen=True, slots=True)
class LogResumed:
    """The log goes on after an interruption, with the byte after those that were read."""

    offset: int


@dataclass(frozen=True, slots=True)
class LogCut:
    """The log can't be read, or not to its end; the run's status is still waited for.

    ``offset`` is that of the first byte that was not read: the log may be resumed there.
    """

    reason: str
    offset: int


LogEvent = LogChunk | LogGap | LogInterrupted | LogResumed


@dataclass(frozen=True, slots=True)
class ForgeInterrupted:
    """The forge did not answer; it will be asked again. Each reason is told of once.

    ``hint`` is what a person may do meanwhile, for a forge on this machine.
    """

    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class StatusMissing:
    """The forge answers, and has had no status of the run for a while: is there a receiver?"""

    sha: str
    repository_name: str


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The end of a run.

    ``exit_code`` is the command's own: 128 + n for a signal, 124 for a timeout. It is 1 for a run
    that was not launched, or whose outcome is not the command's own.
    """

    state: RunState
    exit_code: int
    description: str

    @classmethod
    def from_status(cls, posted: PostedStatus, facts: Mapping[str, Any]) -> RunOutcome:
        """Return the outcome that a final status and the facts of the run's page tell."""
        text = parse_status(posted.status.state, posted.status.description)
        state = text.state
        if state is RunState.CARRIED:
            is_success = posted.status.state == "success"
            state = facts.get("state", RunState.SUCCEEDED if is_success else RunState.FAILED)
        return cls(state, _exit_code(state, text, facts), posted.status.description)


def _exit_code(state: RunState, text: StatusText, facts: Mapping[str, Any]) -> int:
    if state is RunState.SUCCEEDED:
        return 0
    if state is not RunState.FAILED:
        return 1
    if facts.get("signal"):
        return 128 + int(facts["signal"])
    if text.timed_out:
        return _TIMEOUT_EXIT_CODE
    return int(facts.get("exit_code") or text.exit_code or 1)


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run has ended; no event follows."""

    posted: PostedStatus
    outcome: RunOutcome


FollowEvent = (
    StatusChanged | RunNotStarted | LogEvent | LogCut | ForgeInterrupted | StatusMissing | RunEnded
)
