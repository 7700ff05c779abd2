"""The runs that wait for a free slot, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from fyre.runs.run import RunRecord


class LaunchQueue:
    """Keys of runs that are not started yet; the engine's lock guards all calls."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        """Return True if a run waits."""
        return key in self._keys

    def __len__(self) -> int:
        """Return how many runs wait."""
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        """Yield the keys, the next to be started first."""
        return iter(self._keys)

    def add(self, key: str) -> None:
        """Have a run wait behind the others."""
        self._keys[key] = None

    def remove(self, key: str) -> None:
        """Take out a run that waits."""
        del self._keys[key]

    def sort_by(self, order: Callable[[str], float]) -> None:
        """Put the runs into another order."""
        self._keys = dict.fromkeys(sorted(self._keys, key=order))

    def mark_records(self, records: Iterable[RunRecord]) -> list[RunRecord]:
        """Return the records; those of waiting runs say how many are ahead."""
        records = list(records)
        keys = {record.run.key for record in records}
        positions = {key: position for position, key in enumerate(self._keys) if key in keys}
        return [_mark_record(record, positions.get(record.run.key)) for record in records]


def _mark_record(record: RunRecord, position: int | None) -> RunRecord:
    if position is None:
        return record
    place = f"{position} ahead" if position else "next"
    return replace(record, reason=f"waiting for a free slot, {place}")
