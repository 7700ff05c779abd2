"""Read metrics: JSON lines that a command appended, and ``metrics.json`` among its outputs.

A line is an object of numbers, ``{"step": 3, "loss": 0.21}``; objects within it are taken as
``train/loss``. What is no number is passed over, and counted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from fyre.runs.results import MetricValue

STEP = "step"
"""The member of a line that says when it was; no metric of its own."""

METRICS_JSON = "metrics.json"
"""The name of an output with metrics, as DVCLive and many scripts write it."""

NAMES_MAX = 1000
"""Metrics of one run; further names are passed over."""

LINE_MAX = 1024 * 1024
"""Bytes of one line."""

DEPTH_MAX = 8
"""Objects in one another; deeper ones are passed over."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

_QUOTED = ' text: write {"loss": 0.5}, not {"loss": "0.5"}'


@dataclass(slots=True)
class MetricsSummary:
    """The values of a run's metrics so far. ``goals`` are the names that always have a place."""

    goals: Collection[str] = ()
    values: dict[str, MetricValue] = field(default_factory=dict)
    bad_lines: int = 0
    bad_values: int = 0  # no numbers, NaN, infinite
    quoted: int = 0  # numbers that were written as text
    names_left_out: set[str] = field(default_factory=set)

    def add_lines(self, file: BinaryIO) -> None:
        """Add the lines of a file; the last one counts without its end too, if it is whole."""
        while line := file.readline(LINE_MAX):
            if line.strip():
                self._add_line(line)
            while line and not line.endswith(b"\n"):  # the rest of a line that is too long
                line = file.readline(LINE_MAX)

    def add_document(self, text: bytes) -> None:
        """Add what a ``metrics.json`` holds; it is one line, however many it is written in."""
        self._add_line(text)

    def problems(self) -> tuple[str, ...]:
        """Return a line for each kind of thing that was passed over."""
        counts = (
            (self.bad_lines, "line", "of the metrics is not a JSON object", "are not JSON objects"),
            (self.bad_values, "value", "of the metrics is not a number", "are not numbers"),
            (self.quoted, "value", f"of the metrics is{_QUOTED}", f"are{_QUOTED}"),
        )
        lines = [
            f"{count:,} {word} {one}" if count == 1 else f"{count:,} {word}s of the metrics {many}"
            for count, word, one, many in counts
            if count
        ]
        if self.names_left_out:
            lines.append(f"there are more than {NAMES_MAX:,} metrics: the others are left out")
        return tuple(lines)

    def _add_line(self, line: bytes) -> None:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            self.bad_lines += 1
            return
        for name, value in _flatten(data, "", 0):
            if name and name != STEP:
                self._add_value(name, value)

    def _add_value(self, name: str, value: object) -> None:
        number = _as_finite(value)
        if number is None and isinstance(value, str):
            self.quoted += 1
        elif number is None:
            self.bad_values += 1
        elif name in self.values:
            old = self.values[name]
            self.values[name] = MetricValue(
                number, min(old.least, number), max(old.greatest, number)
            )
        elif len(self.values) < NAMES_MAX or name in self.goals:
            self.values[name] = MetricValue(number, number, number)
        elif len(self.names_left_out) < NAMES_MAX:
            self.names_left_out.add(name)


def _flatten(data: dict[str, object], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    for key, value in data.items():
        name = f"{prefix}{key}"[:200].encode(errors="replace").decode()
        if isinstance(value, dict) and depth < DEPTH_MAX:
            yield from _flatten(value, f"{name}/", depth + 1)
        elif not isinstance(value, str) or _NUMBER.fullmatch(value.strip()):
            # other words beside the numbers, such as a phase, are no fault
            yield name, value


def _as_finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
