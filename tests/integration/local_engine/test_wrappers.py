"""Engines that show some of the runs of another one only, over the local engine."""

from __future__ import annotations

from dataclasses import replace

from fyre.engines.local import LocalEngine
from fyre.engines.wrappers import EngineView, LaunchTrackingEngine
from fyre.runs.run_query import ALL_RUNS, RunQuery
from fyre.runs.state import RunState
from tests.contract.engine import await_end, make_run
from tests.integration.local_engine.test_engine import engine, make

__all__ = ["engine", "make"]  # fixtures


def test_a_view_answers_queries_for_its_own_runs_only(engine: LocalEngine, sha: str) -> None:
    tracker = LaunchTrackingEngine(engine)
    view = EngineView(engine, tracker.launched_keys)
    made = [replace(make_run(sha, "true"), created_at=float(number)) for number in range(4)]
    for number, run in enumerate(made):
        (tracker if number % 2 else engine).launch(run)
        await_end(engine, run.key)

    def found(query: RunQuery) -> list[str]:
        return [record.run.key for record in view.query_runs(query)]

    assert found(ALL_RUNS) == [made[3].key, made[1].key]
    assert found(RunQuery(limit=1)) == [made[3].key]
    assert found(RunQuery(created_after=0.0, states=frozenset({RunState.FAILED}))) == []
    assert len(tracker.query_runs(ALL_RUNS)) == 4
