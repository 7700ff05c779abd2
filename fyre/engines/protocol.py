"""The protocol of an engine: all that deciding needs from what runs commands.

One contract suite, ``tests/contract/engine.py``, holds every engine to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a supervisor loads parts of this package, but none of these
    from fyre.engines.run_log import RunLog
    from fyre.runs.run import Run, RunRecord
    from fyre.runs.run_query import RunQuery


def cut_short_keys(engine: Engine) -> frozenset[str]:
    """Return the keys of runs that never started and that the engine lost: launch them again.

    An engine that can't lose any, or is older, has no such method.
    """
    keys: Callable[[], frozenset[str]] = getattr(engine, "cut_short_keys", frozenset)
    return keys()


class Engine(Protocol):
    """Runs commands on commits, and remembers its runs for as long as ``history`` says.

    All methods may be called from any thread. None blocks for the length of a run, except
    ``read_log`` with ``follow``.
    """

    name: str

    def launch(self, run: Run, *, hold: bool = False, reason: str = "") -> bool:
        """Start a run; return False, and do nothing, if its key is known.

        With ``hold`` the run is ``waiting``: it is written down and does not start until it is
        released, whatever becomes of this process. ``reason`` says what it waits for ("needs
        prep"), as the reason of its record.

        Once this returns, a crash can't lose the run. Raises ``TransientError`` when the same call
        may succeed later, ``UserError`` when it never will.
        """
        ...

    def release(self, key: str) -> bool:
        """Let a held run start, as if it were launched now.

        Return False if nothing is held: the run is unknown, has ended, or was released before.
        Once this returns, a crash can't hold the run again. Raises ``TransientError`` when the same
        call may succeed later.
        """
        ...

    def cancel(self, key: str, requested_by: str) -> bool:
        """End a run that has not ended, and remember who asked. Return False if nothing is left to
        cancel.
        """
        ...

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the runs that a query selects, the newest first, as ``select_records`` does.

        All runs of the last ``history`` seconds are known, ended ones too.
        """
        ...

    def get_record(self, key: str) -> RunRecord | None:
        """Return one run, or None when it is not known (any more)."""
        ...

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Store notes of the status reporter with the run, durably; None leaves a note as it is.

        Once ``end_posted``, the end is posted wherever it is owed: from then on the record may be
        forgotten in time.
        """
        ...

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the combined output so far, head and tail where it was capped.

        With ``follow``, go on until the run ends. Raises ``TransientError`` if the engine is closed
        before.
        """
        ...

    def open_log(self, key: str) -> RunLog:
        """Return the log of a run, to be read from any offset. Raises ``UserError`` if there is no
        such run.
        """
        ...

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Have ``on_change(key)`` called whenever a record may have changed, from a thread of the
        engine.
        """
        ...

    def close(self) -> None:
        """Stop watching. Runs go on, and the next engine on the same state finds them again."""
        ...
