"""The states of a run, and GitHub's word for each."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """State of a run. ``succeeded`` and all after it are final: no state follows them."""

    WAITING = "waiting"
    """Held: it is written down, and never starts before somebody releases it."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    UPLOADING = "uploading"
    """The command has ended, and its outputs are being stored."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The command ran and failed: exit code, signal, timeout."""

    ERROR = "error"
    """The command's own result is not known: no checkout, failed setup, lost, malformed."""

    CANCELLED = "cancelled"
    REFUSED = "refused"
    CARRIED = "carried"
    MOVED = "moved"

    @property
    def is_final(self) -> bool:
        """True if no state follows this one."""
        return self not in PENDING_STATES


PENDING_STATES = frozenset(
    {
        RunState.WAITING,
        RunState.QUEUED,
        RunState.STARTING,
        RunState.RUNNING,
        RunState.UPLOADING,
    }
)

UNSTARTED_STATES = frozenset({RunState.WAITING, RunState.QUEUED})
"""The states of a run that waits; its description says what for."""

_GITHUB_STATES = {
    RunState.WAITING: "pending",
    RunState.QUEUED: "pending",
    RunState.STARTING: "pending",
    RunState.RUNNING: "pending",
    RunState.UPLOADING: "pending",
    RunState.SUCCEEDED: "success",
    RunState.FAILED: "failure",
    RunState.ERROR: "error",
    RunState.CANCELLED: "error",
    RunState.REFUSED: "error",
    # Only a default: a carried outcome is posted in the colour of the run that it came from.
    RunState.CARRIED: "success",
    RunState.MOVED: "error",  # the code of this SHA was not run: never green
}

FINAL_STATES = frozenset(RunState) - PENDING_STATES


def to_github_state(state: RunState) -> str:
    """Return GitHub's word (``pending success failure error``) for one of our states."""
    return _GITHUB_STATES[state]
