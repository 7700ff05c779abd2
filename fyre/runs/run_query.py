"""Query runs: which of them, newest first, page by page. Pure.

A page is not addressed by its number: a run that is launched meanwhile would move all others by one
place, so that the next page repeats a run. A page begins below the last run of the page before it,
which a ``RunCursor`` names.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fyre.runs.run import RunRecord
from fyre.runs.state import RunState

_CURSOR_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)_([0-9a-f]{1,64})")


class RunCursor(NamedTuple):
    """The place of one run in the order of all runs; a newer run has a greater one.

    The runs of one commit are created at the same moment, so the key decides between them.
    """

    created_at: float  # seconds since the epoch
    key: str

    @classmethod
    def from_record(cls, record: RunRecord) -> RunCursor:
        """Return the place of a run."""
        return cls(record.run.created_at, record.run.key)

    @classmethod
    def from_text(cls, text: str) -> RunCursor:
        """Return the cursor that ``str`` wrote. Raises ``ValueError``."""
        parts = _CURSOR_PATTERN.fullmatch(text)
        if parts is None:
            raise ValueError(f"{text!r:.40} is no cursor")
        return cls(float(parts[1]), parts[2])

    def __str__(self) -> str:
        """Return it for a URL, with the exact moment: ``1796000000.25_0123456789abcdef…``."""
        return f"{self.created_at!r}_{self.key}"


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The runs to select: those that fit all that is set."""

    repository_id: int | None = None
    repository_name: str | None = None
    """``owner/repo`` as it was at the launch; like GitHub, in upper or lower case."""

    ref: str | None = None
    """Full, such as ``refs/heads/main``."""

    name: str | None = None
    """The run's name, in upper or lower case: the contexts of statuses differ by more."""

    states: frozenset[RunState] | None = None
    created_after: float | None = None
    """Only runs that were created later, in seconds since the epoch."""

    before: RunCursor | None = None
    """Only runs below this one in the order, whether or not there (still) is such a run."""

    limit: int | None = None
    """At most so many, the newest of those that fit."""

    def matches(self, record: RunRecord) -> bool:
        """Return True if a run fits all that is set, apart from the limit."""
        run = record.run
        return (
            (self.repository_id is None or run.repository.id == self.repository_id)
            and (
                self.repository_name is None
                or run.repository.name.lower() == self.repository_name.lower()
            )
            and (self.ref is None or run.ref == self.ref)
            and (self.name is None or run.name.lower() == self.name.lower())
            and (self.states is None or record.state in self.states)
            and (self.created_after is None or run.created_at > self.created_after)
            and (self.before is None or RunCursor.from_record(record) < self.before)
        )


ALL_RUNS = RunQuery()
"""Every run."""


def select_records(records: Sequence[RunRecord], query: RunQuery) -> list[RunRecord]:
    """Return the records that a query selects, the newest first.

    The order is by creation time, then by key: never two runs have the same place.
    """
    # Engines have them roughly in the order of their launches. Begun with the newest, the limit is
    # reached at once, and few records are compared with more than one other.
    matching = (record for record in reversed(records) if query.matches(record))
    if query.limit is None:
        return sorted(matching, key=RunCursor.from_record, reverse=True)
    return heapq.nlargest(query.limit, matching, key=RunCursor.from_record)
