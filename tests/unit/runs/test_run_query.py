"""Which runs a query selects, in which order, and that pages neither skip nor repeat one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.runs.run import Repository, RunRecord
from fyre.runs.run_query import ALL_RUNS, RunCursor, RunQuery, select_records
from fyre.runs.state import FINAL_STATES, PENDING_STATES, UNSTARTED_STATES, RunState
from tests.contract.engine import make_run

REPOSITORIES = (
    Repository("f", 1, "ada/lab"),
    Repository("f", 2, "Ada/Lab"),
    Repository("f", 3, "x/y"),
)
REFS = ("refs/heads/main", "refs/heads/dev", "refs/pull/7/head")
NAMES = ("run", "Train", "train")
MOMENTS = (0, 0.1, 5.0, 5.000000000000001, 1796000000.123456, 1e16)

moments = st.sampled_from(MOMENTS)
keys = st.text("0123456789abcdef", min_size=1, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> RunRecord:
    run = replace(
        make_run("a" * 40, "true", key=draw(keys)),
        repository=draw(st.sampled_from(REPOSITORIES)),
        ref=draw(st.sampled_from(REFS)),
        name=draw(st.sampled_from(NAMES)),
        created_at=draw(moments),
    )
    return RunRecord(run, draw(st.sampled_from(RunState)))


record_lists = st.lists(records(), max_size=12, unique_by=lambda record: record.run.key)
queries = st.builds(
    RunQuery,
    repository_id=st.none() | st.sampled_from((1, 2, 9)),
    repository_name=st.none() | st.sampled_from(("ada/lab", "ADA/LAB", "x/z")),
    ref=st.none() | st.sampled_from((*REFS, "refs/heads/other")),
    name=st.none() | st.sampled_from(("run", "TRAIN", "none")),
    states=st.none() | st.frozensets(st.sampled_from(RunState), max_size=6),
    created_after=st.none() | moments,
    before=st.none() | st.builds(RunCursor, moments, keys),
    limit=st.none() | st.integers(0, 14),
)


def select_naively(known: list[RunRecord], query: RunQuery) -> list[RunRecord]:
    """One condition after the other, on a list that is sorted as a whole."""
    left = sorted(known, key=lambda one: one.run.key)
    left = sorted(left, key=lambda one: one.run.created_at)[::-1]
    if query.repository_id is not None:
        left = [one for one in left if one.run.repository.id == query.repository_id]
    if query.repository_name is not None:
        wanted = query.repository_name.upper()
        left = [one for one in left if one.run.repository.name.upper() == wanted]
    if query.ref is not None:
        left = [one for one in left if one.run.ref == query.ref]
    if query.name is not None:
        left = [one for one in left if one.run.name.upper() == query.name.upper()]
    if query.states is not None:
        left = [one for one in left if one.state in query.states]
    if query.created_after is not None:
        left = [one for one in left if one.run.created_at > query.created_after]
    if query.before is not None:
        moment, key = query.before
        left = [
            one
            for one in left
            if one.run.created_at < moment or (one.run.created_at == moment and one.run.key < key)
        ]
    return left if query.limit is None else left[: query.limit]


@given(record_lists, queries)
def test_a_query_selects_what_fits_newest_first(known: list[RunRecord], query: RunQuery) -> None:
    assert select_records(known, query) == select_naively(known, query)


@given(record_lists, record_lists, st.integers(1, 5))
def test_pages_neither_skip_nor_repeat_a_run_when_new_ones_arrive(
    known: list[RunRecord], arrivals: list[RunRecord], limit: int
) -> None:
    expected = select_records(known, ALL_RUNS)
    first_key = {record.run.key for record in known}
    newer = [
        replace(record, run=replace(record.run, created_at=2e16))
        for record in arrivals
        if record.run.key not in first_key
    ]
    seen: list[RunRecord] = []
    before = None
    present = list(known)
    while page := select_records(present, RunQuery(before=before, limit=limit)):
        seen += page
        before = RunCursor.from_record(page[-1])
        present += newer[:2]
        del newer[:2]
    assert seen == expected


@given(record_lists)
def test_a_page_goes_on_where_the_last_run_is_forgotten(known: list[RunRecord]) -> None:
    everything = select_records(known, ALL_RUNS)
    for place, last in enumerate(everything):
        rest = [record for record in known if record != last]
        query = RunQuery(before=RunCursor.from_record(last))
        assert select_records(rest, query) == everything[place + 1 :]


@given(st.floats(0, 9e15, allow_nan=False) | st.integers(0, 2**53), keys)
def test_a_cursor_is_read_back_exactly(moment: float, key: str) -> None:
    assert RunCursor.from_text(str(RunCursor(moment, key))) == (moment, key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "1.5",
        "1.5_",
        "_a",
        "nan_a",
        "inf_a",
        "-1_a",
        "1_0_a",
        " 1_a",
        "1_A",
        "1_a\n",
        "٣_a",
    ],
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        RunCursor.from_text(text)


def test_each_state_is_pending_or_final() -> None:
    pending = {"waiting", "queued", "starting", "running", "uploading"}
    final = {"succeeded", "failed", "error", "cancelled", "refused", "carried", "moved"}
    assert {*RunState} == pending | final
    assert {state for state in RunState if not state.is_final} == pending == PENDING_STATES
    assert {state for state in RunState if state.is_final} == final == FINAL_STATES
    assert {"waiting", "queued"} == UNSTARTED_STATES
