"""Metrics as people write them: any line, any type, any number of names."""

from __future__ import annotations

import io
import json
import math

from hypothesis import given
from hypothesis import strategies as st

from fyre.artifacts import metrics_file
from fyre.artifacts.metrics_file import MetricsSummary
from fyre.runs.results import MetricValue

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


def summary_of(text: bytes) -> MetricsSummary:
    summary = MetricsSummary()
    summary.add_lines(io.BytesIO(text))
    return summary


@given(st.lists(ANY_JSON.map(json.dumps).map(str.encode) | st.binary(max_size=40), max_size=10))
def test_no_line_stops_the_others(lines: list[bytes]) -> None:
    good = b'{"the good one": 7}'
    summary = summary_of(b"\n".join([*lines, b"", good, *lines]))
    assert summary.values["the good one"].last == 7
    assert all(math.isfinite(value.last) for value in summary.values.values())


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_last_least_and_greatest_are_those_of_the_values(values: list[float]) -> None:
    text = "\n".join(json.dumps({"step": n, "x": value}) for n, value in enumerate(values))
    assert summary_of(text.encode()).values == {
        "x": MetricValue(values[-1], min(values), max(values))
    }


def test_names_without_end_are_left_out() -> None:
    lines = "\n".join(json.dumps({f"m{n}": n}) for n in range(10_000))
    summary = summary_of(lines.encode())
    assert len(summary.values) == metrics_file.NAMES_MAX
    assert summary.problems() == ("there are more than 1,000 metrics: the others are left out",)


def test_a_line_without_end_is_one_bad_line() -> None:
    text = b'{"a": 1}\n"' + b"x" * (3 * metrics_file.LINE_MAX) + b'"\n{"a": 2}'
    summary = summary_of(text)
    assert (summary.values["a"].last, summary.bad_lines) == (2, 1)


def test_10_a_number_that_is_text_is_told() -> None:
    summary = summary_of(b'{"acc": "0.5", "phase": "train", "host": "10.0.0.1", "loss": 1}')
    assert list(summary.values) == ["loss"]
    assert summary.problems() == (
        '1 value of the metrics is text: write {"loss": 0.5}, not {"loss": "0.5"}',
    )
