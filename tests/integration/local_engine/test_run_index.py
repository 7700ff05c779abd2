"""The index of an engine's runs holds what the engine remembers, and little more."""

from __future__ import annotations

import pytest

from fyre.engines import run_index
from fyre.engines.local import LocalEngine
from fyre.engines.run_index import RunIndex
from tests.contract.engine import REPOSITORY, await_end, make_run
from tests.integration.local_engine.test_engine import Make, make

__all__ = ["make"]  # a fixture


def forget_ended_runs(engine: LocalEngine) -> None:
    engine._history = -60.0
    engine._prune_history()
    engine._history = 3600.0


def test_what_the_engine_forgets_leaves_the_index(
    make: Make, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_index, "_SWEEP_SIZE_MIN", 3)
    engine = make(jobs=0)
    held = [make_run(sha, "true") for _ in range(2)]
    engine.launch(held[0], hold=True)  # known at the start
    index = RunIndex(engine)
    engine.launch(held[1], hold=True)
    index.add_run(held[1])
    for _ in range(6):
        gone = make_run(sha, "true")
        engine.launch(gone, hold=True)
        index.add_run(gone)
        engine.cancel(gone.key, "bob")
        await_end(engine, gone.key)
        forget_ended_runs(engine)
        assert engine.get_record(gone.key) is None
    assert len(index) <= 4
    for found in (
        index.find_by_sha(REPOSITORY.id, sha),
        index.find_by_fyre_id(REPOSITORY.id, held[0].fyre_id),
    ):
        assert [record.run.key for record in found] == [run.key for run in held]
    index_keys = (*index._keys_by_sha.values(), *index._keys_by_fyre_id.values())
    assert max(len(keys) for keys in index_keys) <= 4
