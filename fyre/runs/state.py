"""The states of a run, and GitHub's word for each."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run is. The last six with ``succeeded`` are final: nothing comes after them."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the command ran and ended badly: exit code, signal, timeout
    ERROR = "error"  # the command's own verdict is not known: no checkout, failed setup, lost, malformed
    CANCELLED = "cancelled"
    REFUSED = "refused"
    CARRIED = "carried"
    MOVED = "moved"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self not in PENDING_STATES


PENDING_STATES = frozenset({RunState.QUEUED, RunState.STARTING, RunState.RUNNING})

_GITHUB_STATES = {
    RunState.QUEUED: "pending",
    RunState.STARTING: "pending",
    RunState.RUNNING: "pending",
    RunState.SUCCEEDED: "success",
    RunState.FAILED: "failure",
    RunState.ERROR: "error",
    RunState.CANCELLED: "error",
    RunState.REFUSED: "error",
    RunState.CARRIED: "success",  # only as a default: a carried outcome is posted in the colour of the run it came from
    RunState.MOVED: "error",  # what stands on this SHA was not run: never green
}


def to_github_state(state: RunState) -> str:
    """GitHub's word (``pending success failure error``) for a state of ours."""
    return _GITHUB_STATES[state]
