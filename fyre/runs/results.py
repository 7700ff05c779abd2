"""The results of a run: how many files were kept, and the values of its metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnknownFields,
    UnreadableError,
    as_boolean,
    as_integer,
    as_texts,
)

NAMES_MAX = 100
"""Metrics of one run that its record holds; the manifest beside its outputs has more."""


@dataclass(frozen=True, slots=True)
class MetricValue:
    """The last value of a metric, and the least and the greatest one."""

    last: float
    least: float
    greatest: float

    def best(self, goal: str) -> float:
        """Return the best value: the least for the goal ``min``, else the greatest."""
        return self.least if goal == "min" else self.greatest


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results of one run, as its record shows them."""

    output_count: int = 0
    output_bytes: int = 0
    metrics: tuple[tuple[str, MetricValue], ...] = ()
    problems: tuple[str, ...] = ()  # of its outputs and metrics: a line each
    is_partial: bool = False  # the command did not succeed: what it wrote may be incomplete
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)

    def last_values(self) -> dict[str, float]:
        """Return the last value of each metric."""
        return {name: value.last for name, value in self.metrics}

    def best_values(self, goals: Mapping[str, str]) -> dict[str, float]:
        """Return the best value of each metric; without a goal that is the greatest."""
        return {name: value.best(goals.get(name, "max")) for name, value in self.metrics}


def format_metric(value: float) -> str:
    """Return a value for people: at most four significant digits of what is no whole number."""
    value = float(value)  # JSON has integers too
    return str(int(value)) if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def format_bytes(size: int) -> str:
    """Return a number of bytes as text for people: ``25.0 MB``."""
    if size < 100_000:
        return f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} B"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _as_metrics(data: object) -> tuple[tuple[str, MetricValue], ...]:
    if not isinstance(data, dict):
        raise UnreadableError(f"{data!r:.40} is not an object")
    return tuple((name, _as_metric(value)) for name, value in data.items())


def _as_metric(data: object) -> MetricValue:
    if not isinstance(data, list | tuple) or len(data) != 3 or not all(map(_is_finite, data)):
        raise UnreadableError(f"{data!r:.40} is not three numbers")
    return MetricValue(*map(float, data))


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _metrics_to_json(metrics: tuple[tuple[str, MetricValue], ...]) -> dict[str, list[float]]:
    return {name: [value.last, value.least, value.greatest] for name, value in metrics}


RESULTS_FORM = StoredForm(
    "the results of a run",
    (
        StoredField("output_count", "output_count", as_integer),
        StoredField("output_bytes", "output_bytes", as_integer),
        StoredField("metrics", "metrics", _as_metrics, _metrics_to_json),
        StoredField("problems", "problems", as_texts),
        StoredField("partial", "is_partial", as_boolean),
    ),
)
"""The stored names of results: in ``outcome.json``, and in the manifest beside the outputs."""


def to_json(results: RunResults) -> dict[str, Any]:
    """Return the results as plain data."""
    return RESULTS_FORM.encode(results, results.unknown)


def from_json(data: object) -> RunResults:
    """Return the results that ``to_json`` wrote down. Raises ``UnreadableError``."""
    attributes = RESULTS_FORM.decode(data)
    return RunResults(**attributes, unknown=RESULTS_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object
