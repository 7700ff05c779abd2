from __future__ import annotations

from typing import Any

import pytest

from fyre.client.events import LogChunk, RunOutcome, StatusChanged
from fyre.github.client import PostedStatus
from fyre.runs.commit_status import CommitStatus
from fyre.runs.state import RunState


def posted(state: str, description: str) -> PostedStatus:
    return PostedStatus(CommitStatus("fyre/run", state, description), "fyre", 0.0)


@pytest.mark.parametrize(
    ("state", "description", "facts", "expected"),
    [
        ("success", "exit 0 · 3s", {}, (RunState.SUCCEEDED, 0)),
        ("failure", "exit 3 · 3s", {}, (RunState.FAILED, 3)),
        ("failure", "exit 3 · 3s", {"exit_code": 4}, (RunState.FAILED, 4)),
        ("failure", "exit 137 · 3s", {"signal": 9, "exit_code": 137}, (RunState.FAILED, 137)),
        ("failure", "killed", {"signal": 15, "exit_code": None}, (RunState.FAILED, 143)),
        ("failure", "killed", {}, (RunState.FAILED, 1)),
        ("failure", "timed out after 1s", {"exit_code": None}, (RunState.FAILED, 124)),
        ("failure", "timed out after 1s", {"signal": 9}, (RunState.FAILED, 137)),
        ("error", "cancelled by ada", {"signal": 15}, (RunState.CANCELLED, 1)),
        ("error", "refused: who · push it there", {}, (RunState.REFUSED, 1)),
        ("error", "ran at 0123456 · /fyre rerun", {}, (RunState.MOVED, 1)),
        ("error", "lost: nobody saw its end", {"exit_code": 7}, (RunState.ERROR, 1)),
        ("success", "exit 0 · carried from 0123456", {}, (RunState.SUCCEEDED, 0)),
        ("failure", "exit 3 · carried from 0123456", {}, (RunState.FAILED, 3)),
        (
            "error",
            "cancelled by ada · carried from 0123456",
            {"state": RunState.CANCELLED},
            (RunState.CANCELLED, 1),
        ),
    ],
)
def test_an_outcome_is_read_off_the_status_and_the_page(
    state: str, description: str, facts: dict[str, Any], expected: tuple[RunState, int]
) -> None:
    outcome = RunOutcome.from_status(posted(state, description), facts)
    assert (outcome.state, outcome.exit_code) == expected
    assert outcome.description == description


def test_a_status_is_final_by_its_state() -> None:
    assert not StatusChanged.from_posted(posted("pending", "running · on a node")).is_final
    assert StatusChanged.from_posted(posted("failure", "exit 1")).is_final


def test_a_chunk_knows_where_the_next_one_begins() -> None:
    assert LogChunk(5, b"abc").end_offset == 8
