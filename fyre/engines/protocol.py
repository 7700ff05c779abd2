"""The seam between deciding and doing: what an engine must offer. One contract suite holds every engine to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a supervisor needs this package's parts and none of these
    from fyre.runs.run import Run, RunRecord


class Engine(Protocol):
    """Runs commands on commits, and remembers what it ran for as long as ``history`` says.

    All methods may be called from any thread. None blocks for the length of a run, except ``log`` with ``follow``.
    """

    name: str

    def launch(self, run: Run) -> bool:
        """Start a run; once this returns, a crash can't lose it. False, and nothing done, when its key is known.

        Raises ``TryAgainError`` when the same call may succeed later, ``UserError`` when it never will.
        """
        ...

    def cancel(self, key: str, requested_by: str) -> bool:
        """End a run that has not ended, and remember who asked. False when there is nothing left to cancel."""
        ...

    def list_records(self) -> Collection[RunRecord]:
        """All runs of the last ``history`` seconds, ended ones too."""
        ...

    def get_record(self, key: str) -> RunRecord | None:
        """One run, or None when it is not known (any more)."""
        ...

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Keep a note of the ledger's beside the run, durably. None leaves that note as it is.

        Once ``settled``, the end is posted wherever it is owed: from then on the record may be forgotten in time.
        """
        ...

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """The combined output so far, head and tail where it was capped; with ``follow`` until the run ends."""
        ...

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called, from a thread of the engine's, whenever a record may have changed."""
        ...

    def close(self) -> None:
        """Stop watching. Runs go on, and are found again by the next engine on the same state."""
        ...
