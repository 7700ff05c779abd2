from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import fyre_ids, request
from tests.support.ci_marks import long_case

SHA = "0123456789abcdef0123456789abcdef01234567"
ID = fyre_ids.new_fyre_id(1.0, bytes(10))


def read(*trailers: str) -> request.RunRequest:
    return request.parse_message("\n".join(["Subject", "", *trailers]))


def test_runs_and_what_refines_them() -> None:
    found = read(
        "Fyre-Run: one",
        "fyre-NAME : a",
        "Signed-off-by: A",
        "Fyre-Env: A=1",
        "Fyre-Env: B=2",
        "Fyre-Run: two",
        "Fyre-Secret: s",
        f"Fyre-Id: {ID}",
        f"Fyre-From: {SHA}",
    )
    assert found.problems == ()
    one, two = found.runs
    assert (one.command, one.name, one.env) == ("one", "a", (("A", "1"), ("B", "2")))
    assert (two.command, two.name, two.secrets) == ("two", "", ("s",))
    assert (found.fyre_id, found.fyre_from, found.run_lines) == (ID, SHA, (3, 8))
    assert found.run_names == ("a", "run")


@pytest.mark.parametrize(
    ("trailers", "line", "says", "hint", "run"),
    [
        (["Fyre-Name: a", "Fyre-Run: x"], 3, "Fyre-Name stands before any", "move it below", None),
        (["Fyre-Run:"], 3, "the command is empty", "Fyre-Run: python", 0),
        (["Fyre-Run: x", "Fyre-Timeout: 5"], 4, "Fyre-Timeout: '5' has no unit", "5m", 0),
        (
            ["Fyre-Run: x", "Fyre-Tmieout: 5m"],
            4,
            "unknown trailer",
            "did you mean Fyre-Timeout?",
            0,
        ),
        (["Fyre-Run: x", "Fyre-Zzzzzzz: 5m"], 4, "unknown trailer", "the keys are Fyre-Run,", 0),
        (["Fyre-Run: x", "Fyre-Matrix: 5m"], 4, "not supported yet", "delete the line", 0),
        (["Fyre-Run: x", "Fyre-Name: a", "Fyre-Name: b"], 5, "twice for one run", "keep one", 0),
        (
            ["Fyre-Run: x", "Fyre-Name: a", "Fyre-Run: y", "Fyre-Name: A"],
            5,
            "ignores case",
            "its own name",
            1,
        ),
        (
            ["Fyre-Run: x", "Fyre-Name: a", "Fyre-Run: y", "Fyre-Name: a"],
            5,
            "two runs are named 'a'",
            "its own",
            1,
        ),
        (["Fyre-Id: x"], 3, "not an id", "new one is minted", None),
        ([f"Fyre-Id: {ID}", f"Fyre-Id: {ID}"], 4, "given twice", "keep one", None),
        (["Fyre-From: abc1234"], 3, "not a full SHA", "delete", None),
    ],
)
def test_problems(trailers: list[str], line: int, says: str, hint: str, *, run: int | None) -> None:
    [problem] = read(*trailers).problems
    assert (problem.line, problem.run_index) == (line, run)
    assert says in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("given_names", "settled"),
    [
        (("",), ("run",)),
        (("", "", ""), ("run", "run-2", "run-3")),
        (("", "Run", ""), ("run-2", "Run", "run-3")),
        (("run-2", "", ""), ("run-2", "run", "run-3")),
    ],
)
def test_names_are_settled(given_names: tuple[str, ...], settled: tuple[str, ...]) -> None:
    assert request.assign_names(given_names) == settled


@given(st.lists(st.sampled_from(["", "run", "run-2", "run-3", "a"]), max_size=8))
def test_settled_names_clash_only_where_people_made_them(names: list[str]) -> None:
    settled = request.assign_names(tuple(names))
    minted = [name for name, own in zip(settled, names, strict=True) if not own]
    assert len(set(minted)) == len(minted)
    assert not set(minted) & set(filter(None, names))


KEYS = [*request.TRAILER_KEYS, "Fyre-Matrix", "Fyre-Nope", "Signed-off-by", "fyre-run"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KEYS), st.one_of(st.text(), st.sampled_from(["1h", "x", "A=1", ID]))
        )
    )
)
def test_any_message_is_read_without_raising(trailers: list[tuple[str, str]]) -> None:
    found = read(*(f"{key}: {value}" for key, value in trailers))
    assert len(found.run_names) == len(found.runs) == len(found.run_lines)
    assert all(problem.line >= 1 and problem.message for problem in found.problems)


@pytest.mark.parametrize(
    ("trailers", "says"),
    [
        (["Fyre-Run: true"] * (request.RUNS_MAX + 1), "the message asks for more than 1,000 runs"),
        (["Fyre-Run: true"] * 100_000, "the message is longer than 1,048,576 characters"),
    ],
)
def test_one_message_has_one_problem_that_asks_for_too_much(trailers: list[str], says: str) -> None:
    found = read(*trailers)
    assert ([problem.message for problem in found.problems], found.runs) == ([says], ())


def test_a_long_message_that_asks_for_nothing_has_no_problem() -> None:
    assert read("Signed-off-by: Ada" * 100_000) == request.RunRequest()


@long_case
def test_as_many_runs_and_variables_as_fit_are_read_and_of_more_problems_the_first() -> None:
    assert len(read(*["Fyre-Run: true"] * request.RUNS_MAX).runs) == request.RUNS_MAX
    assert len(read("Fyre-Run: true", *["Fyre-Env: A="] * 70_000).runs[0].env) == 70_000
    assert len(read("Fyre-Run: true", *["Fyre-Nme: a"] * 70_000).problems) == request.PROBLEMS_MAX
