"""The states of a run, and GitHub's word for each."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
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
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self not in PENDING


PENDING = frozenset({State.QUEUED, State.STARTING, State.RUNNING})

_ON_GITHUB = {
    State.QUEUED: "pending",
    State.STARTING: "pending",
    State.RUNNING: "pending",
    State.SUCCEEDED: "success",
    State.FAILED: "failure",
    State.ERROR: "error",
    State.CANCELLED: "error",
    State.REFUSED: "error",
    State.CARRIED: "success",  # only as a default: a carried outcome is posted in the colour of the run it came from
    State.MOVED: "error",  # what stands on this SHA was not run: never green
}


def on_github(state: State) -> str:
    """GitHub's word (``pending success failure error``) for a state of ours."""
    return _ON_GITHUB[state]
