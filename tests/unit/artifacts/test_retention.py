"""Whose outputs are kept: any rules and any runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.artifacts import retention
from fyre.artifacts.manifest import RunManifest
from fyre.runs.keep_rules import KeepRule
from fyre.runs.results import MetricValue, RunResults
from fyre.runs.run import Repository

DAY, NOW = 86400.0, 1e9


def run(key: str, days: float = 0, metric: float | None = None, **fields: object) -> RunManifest:
    metrics = () if metric is None else (("acc", MetricValue(metric, metric, metric)),)
    values = {
        "run_name": "train",
        "attempt": 1,
        "ref": "refs/heads/main",
        "state": "succeeded",
        **fields,
    }
    return RunManifest(
        run_key=key,
        repository=Repository("http://forge", 1, "ada/lab", "main"),
        sha="a1" * 20,
        sealed_at=NOW - days * DAY,
        artifacts=(),
        results=RunResults(metrics=metrics),
        **values,  # type: ignore[arg-type]
    )


RUNS = [
    run("new", 1, 0.1),
    run("best", 40, 0.9),
    run("low", 50, 0.05),
    run("failed", 2, state="failed"),
    run("branch", 60, ref="refs/heads/fyre/ada"),
    run("tag", 70, ref="refs/tags/v1"),
    run("eval", 80, run_name="eval"),
    run("old version", 90, ref="", state=""),
]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (KeepRule(max_age=30 * DAY), {"new", "failed"}),
        (KeepRule(outcomes=("failed",)), {"failed", "old version"}),
        (KeepRule(tags=True), {"tag", "old version"}),
        (KeepRule(branches=("fyre/*",)), {"branch", "old version"}),
        (KeepRule(last=2), {"new", "failed", "eval"}),
        (KeepRule(best=("acc", "max")), {"best"}),
        (KeepRule(best=("acc", "min")), {"low"}),
        (KeepRule(best=("acc", "max"), last=2), {"best", "new"}),
        (KeepRule(best=("nothing", "max")), set()),
        (KeepRule(default_branch=True, outcomes=("succeeded",), last=1), {"new", "eval"}),
    ],
)
def test_10_2_a_rule_keeps_what_meets_all_of_it(rule: KeepRule, kept: set[str]) -> None:
    assert retention.select_kept(RUNS, [rule], NOW) == kept


def test_10_2_without_rules_everything_is_kept() -> None:
    assert len(retention.select_kept(RUNS, [], NOW)) == len(RUNS)


RULES = st.builds(
    KeepRule,
    st.none() | st.floats(0, 100 * DAY),
    st.lists(st.sampled_from(["succeeded", "failed"]), max_size=2).map(tuple),
    st.lists(st.sampled_from(["main", "fyre/*"]), max_size=2).map(tuple),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 4),
    st.none() | st.just(("acc", "max")),
)


@given(st.lists(RULES, min_size=1, max_size=4))
def test_10_2_more_rules_keep_more(rules: list[KeepRule]) -> None:
    kept = [retention.select_kept(RUNS, [rule], NOW) for rule in rules]
    assert retention.select_kept(RUNS, rules, NOW) == frozenset().union(*kept)
