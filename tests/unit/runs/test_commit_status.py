"""The total function from a record to a commit status, and back."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fyre.message.spec import RunSpec
from fyre.runs import commit_status
from fyre.runs.results import MetricValue, RunResults
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import PENDING_STATES, RunState
from fyre.runs.status_text import parse_status

RUN = Run(
    "k",
    Repository("http://forge/api", 1, "ada/lab"),
    "a" * 40,
    "b" * 40,
    (),
    "refs/heads/main",
    "ada",
    "run",
    RunSpec("make", resources=(("cpu", "4"),)),
    "d",
)
DIGEST = "sha256:" + "9f3c1a2b" * 8
HELD = replace(RUN, attempt=2, spec=replace(RUN.spec, image=f"python:3.12@{DIGEST}"))
ENDED = RunRecord(RUN, RunState.SUCCEEDED, 1, 1000.0, 1723.0, 0)


@pytest.mark.parametrize("state", list(RunState))
def test_every_state_has_a_status_that_github_takes(state: RunState) -> None:
    said = commit_status.status_from_record(replace(ENDED, state=state))
    assert said.state in ("error", "failure", "pending", "success")
    assert 0 < len(said.description) <= 140
    assert (said.state == "pending") == (state in PENDING_STATES)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "exit 0 · 12m 03s · cpu=4"),
        (
            {"state": RunState.FAILED, "exit_code": 3, "tries": 2},
            "exit 3 · 12m 03s · try 2 · cpu=4",
        ),
        (
            {"state": RunState.FAILED, "reason": "timed out after 2h 00m"},
            "timed out after 2h 00m · 12m 03s · cpu=4",
        ),
        (
            {"state": RunState.CANCELLED, "cancelled_by": "bob"},
            "cancelled by bob · 12m 03s · cpu=4",
        ),
        ({"state": RunState.RUNNING, "ended_at": None}, "running · cpu=4"),
        ({"run": replace(RUN, attempt=2)}, "exit 0 · 12m 03s · attempt 2 · cpu=4"),
        (
            {"unsupported": ("image", "resources")},
            "exit 0 · 12m 03s · not honoured here: image, resources",
        ),
        (
            {"image_id": f"docker.io/library/python@{DIGEST}"},
            "exit 0 · 12m 03s · cpu=4 · img 9f3c1a2b",
        ),
        ({"image_id": DIGEST}, "exit 0 · 12m 03s · cpu=4 · img 9f3c1a2b"),
        ({"state": RunState.RUNNING, "ended_at": None, "image_id": DIGEST}, "running · cpu=4"),
        (
            {"state": RunState.QUEUED, "ended_at": None, "started_at": None, "run": HELD},
            "queued · attempt 2 · cpu=4 · img 9f3c1a2b",
        ),
        (
            {"run": HELD, "unsupported": ("image",)},
            "exit 0 · 12m 03s · attempt 2 · cpu=4 · not honoured here: image",
        ),
    ],
)
def test_a_description_says_first_what_a_person_wants_first(
    change: dict[str, object], expected: str
) -> None:
    assert commit_status.status_from_record(replace(ENDED, **change)).description == expected


@pytest.mark.parametrize(
    "state", [state for state in RunState if state not in (RunState.CARRIED, RunState.MOVED)]
)
def test_our_state_is_read_back_from_what_was_posted(state: RunState) -> None:
    record = replace(
        ENDED, state=state, cancelled_by="bob", reason="why" if state is RunState.REFUSED else ""
    )
    said = commit_status.status_from_record(record)
    assert parse_status(said.state, said.description).state is state


def test_carried_and_moved_are_read_back() -> None:
    carried, moved = (
        commit_status.status_from_record(ENDED, carried=True),
        commit_status.moved_status("c" * 40),
    )
    assert parse_status(carried.state, carried.description).state is RunState.CARRIED
    assert parse_status(moved.state, moved.description).state is RunState.MOVED
    assert (moved.context, moved.state) == ("fyre/moved", "error")


def test_many_resources_push_out_neither_the_outcome_nor_what_is_read_back() -> None:
    many = tuple((f"example.com/device-{n}", "1") for n in range(9))
    crowded = replace(
        ENDED, run=replace(RUN, spec=replace(RUN.spec, resources=many)), image_id=DIGEST
    )
    said = commit_status.status_from_record(crowded, carried=True)
    assert said.description.startswith(
        "exit 0 · 12m 03s · carried from aaaaaaa · example.com/device-0=1"
    )
    assert parse_status(said.state, said.description).state is RunState.CARRIED


@given(st.text(max_size=400))
@example("x" * 140)
@example("x" * 141)
@example("x" * 400)
@example("é\n" * 200)
def test_a_description_always_fits(text: str) -> None:
    fitted = commit_status.truncate_description(text)
    assert len(fitted) <= 140
    assert all(len(char.encode()) < 4 for char in fitted)  # or GitHub takes no status at all
    assert "\n" not in fitted


def test_a_description_is_cut_only_where_it_must_be_and_shows_that_it_is() -> None:
    assert commit_status.truncate_description("x" * 140) == "x" * 140
    assert commit_status.truncate_description("x" * 141) == "x" * 139 + "…"


def test_a_refusal_that_quotes_an_emoji_is_one_that_the_forge_takes() -> None:
    said = commit_status.malformed_status(
        "fyre/run", "line 3: Fyre-Timeout: '🎉' is not a duration"
    )
    assert said.description == "not launched: line 3: Fyre-Timeout: '\ufffd' is not a duration"


@pytest.mark.parametrize("mark", ["\u0301", "\u200d\u2764", "\ufe0f"])
def test_a_description_is_never_cut_inside_a_character(mark: str) -> None:
    for before in range(134, 141):
        fitted = commit_status.truncate_description("x" * before + "e" + mark + "y" * 20)
        assert fitted.endswith("…")
        assert fitted[-2] in ("x", "y", mark[-1]) or (
            fitted[-2] == "e" and not fitted.count(mark[0])
        )


@pytest.mark.parametrize("name", ["attempt", "acc · attempt", "carried from", "x · y"])
def test_a_metric_with_words_of_the_grammar_says_nothing_else(name: str) -> None:
    results = RunResults(metrics=((name, MetricValue(5, 5, 5)),))
    run = replace(RUN, spec=replace(RUN.spec, metric_goals=((name, "max"),)))
    status = commit_status.status_from_record(replace(ENDED, run=run, results=results))
    text = parse_status(status.state, status.description)
    assert (text.state, text.attempt) == (RunState.SUCCEEDED, 1)
