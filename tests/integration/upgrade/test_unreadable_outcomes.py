"""An outcome that this version can't read stays as it is stored, is shown as an error, and is
posted over no other end; and this version never writes one that it can't read itself.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.engine import KubernetesEngine
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.run_status import derive_record
from fyre.engines.local.engine import LocalEngine
from fyre.engines.local.run_dir import RunDirectory
from fyre.reporter.check_runs import CheckRunReporter
from fyre.reporter.unposted_statuses import unposted_statuses
from fyre.runs.policy import Policy
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from tests.contract.engine import make_run
from tests.golden.test_v0_1 import GOLDEN, OTHER, SHA, golden
from tests.support.waiting import until

UNREADABLE = [{"version": 2}, {"tries": "x"}, {"tries": -1}, {"started_at": "soon"}]
"""Members that make an outcome, or the progress that it is made of, unreadable."""


def golden_directory(stage: str, parent: Path, name: str = "", **members: object) -> RunDirectory:
    """Copy a run that 0.1 stored, with other members in one of its files."""
    (source,) = (GOLDEN / "local" / stage).iterdir()
    copied = parent / source.name
    shutil.copytree(source, copied)
    if name:
        stored = json.loads((copied / name).read_bytes())
        (copied / name).write_text(json.dumps(stored | members))
    return RunDirectory(copied)


# This machine


@pytest.mark.parametrize("members", [{}, *UNREADABLE])
def test_a_lost_run_is_lost_whatever_its_progress_says(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    directory = golden_directory("lost", tmp_path, "progress.json", **members)
    (directory.path / "outcome.json").unlink()
    assert directory.conclude_without_supervisor(1e10)
    record = directory.read_record()
    assert directory.is_lost()
    assert (record.state, record.ended_at) == (RunState.ERROR, 1e10)
    assert (record.reason.partition(":")[0], record.is_outcome_unreadable) == ("lost", False)
    whole = (1, 1767323050.5)
    found = (record.tries, record.started_at)
    assert (
        found
        == {
            "": whole,
            "version": (0, None),
            "tries": (0, whole[1]),
            "started_at": (whole[0], None),
        }["".join(members)]
    )


@pytest.mark.parametrize("members", [*UNREADABLE, {"state": "skipped"}, {"exit_code": "x"}])
def test_a_run_whose_outcome_can_not_be_read_is_deleted_in_time(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    directory = golden_directory("ended", tmp_path / "runs", "outcome.json", **members)
    text = (directory.path / "outcome.json").read_bytes()
    written_at = time.time() - 3600
    os.utime(directory.path / "outcome.json", (written_at, written_at))
    record = directory.read_record()
    assert (record.state, record.is_outcome_unreadable) == (RunState.ERROR, True)
    assert record.reason.startswith("how it ended can't be read: ")
    stored_end = json.loads(text)["ended_at"]
    expected_end = written_at if "version" in members else stored_end
    assert record.ended_at == pytest.approx(expected_end)
    assert (record.exit_code, record.signal) == (None, None)
    age = time.time() - expected_end
    for history, is_kept in ((age + 600, True), (age - 600, False)):
        engine = LocalEngine(tmp_path, find_git_dir=lambda _: tmp_path, jobs=0, history=history)
        engine.close()
        assert (engine.get_record(record.run.key) is not None) == is_kept
        assert directory.path.exists() == is_kept
        if is_kept:
            assert (directory.path / "outcome.json").read_bytes() == text


@pytest.mark.parametrize("members", UNREADABLE)
def test_an_outcome_that_can_not_be_read_may_still_say_that_the_run_is_lost(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    directory = golden_directory("lost", tmp_path, "outcome.json", **members)
    assert directory.read_record().is_outcome_unreadable
    assert directory.is_lost() == ("version" not in members)


@pytest.mark.parametrize(
    ("reported", "debts"),
    [
        ({SHA: "failed", OTHER: "failed"}, []),
        ({SHA: "skipped", OTHER: "pending"}, [OTHER]),
        ({}, [SHA, OTHER]),
    ],
)
def test_nothing_is_posted_over_the_end_of_a_local_run_whose_outcome_can_not_be_read(
    tmp_path: Path, reported: dict[str, str], debts: list[str]
) -> None:
    directory = golden_directory("lost", tmp_path, "outcome.json", version=2)
    directory.write_notes(reported=json.dumps(reported), carried=(OTHER,))
    unposted = unposted_statuses(directory.read_record(), "")
    assert [status.sha for status in unposted] == debts
    assert {status.status.state for status in unposted} <= {"error"}


# Kubernetes


class StoredJob:
    """The API server's side of one Job whose pods are gone. It merges patches."""

    host = "server"

    def __init__(self, job: Any) -> None:
        self.job = job

    def patch_job(self, namespace: str, name: str, patch: Any) -> Any:
        metadata = self.job["metadata"]
        assert (namespace, name) == (metadata["namespace"], metadata["name"])
        metadata["annotations"] |= patch["metadata"]["annotations"]
        self.job["spec"] |= patch.get("spec", {})
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        return copy.deepcopy(self.job)

    def list_function(self, kind: str) -> Callable[..., object]:
        return lambda **_: {}  # for watches, which are not started

    def list_pods(self, namespace: str, selector: str) -> list[Any]:
        return []


def outcome_text(**members: object) -> str:
    stored = json.loads(golden("jobs/reported.json")["metadata"]["annotations"][OUTCOME])
    return json.dumps(stored | members)


OUTCOME = job_labels.OUTCOME_ANNOTATION
FAILED_CONDITION = {
    "type": "Failed",
    "status": "True",
    "message": "Job has reached the specified backoff limit",
    "lastTransitionTime": "2026-01-02T03:05:00Z",
}
UNREADABLE_OUTCOMES = [
    outcome_text(version=2, later="precious"),
    outcome_text(state="skipped"),
    outcome_text(tries=-1),
    outcome_text(ended_at="soon"),
    "{",
    "",
    "7",
]


def job_with_outcome(outcome: str, reported: str | None = None) -> Any:
    job = golden("jobs/reported.json")
    job["metadata"] |= {"uid": "u", "resourceVersion": "5"}
    job["metadata"]["annotations"][OUTCOME] = outcome
    if reported is not None:
        job["metadata"]["annotations"][job_labels.REPORTED_ANNOTATION] = reported
    job["status"] = {"conditions": [FAILED_CONDITION]}
    return job


@pytest.fixture
def engine_of(tmp_path: Path) -> Iterator[Callable[[StoredJob], KubernetesEngine]]:
    """Make an engine without watches: what it hears is what the test tells it."""
    engines: list[KubernetesEngine] = []

    def make(server: StoredJob) -> KubernetesEngine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(KubernetesEngine, "_start_informers", lambda _: None)
            engine = KubernetesEngine(
                server,  # type: ignore[arg-type]
                tmp_path,
                policy=Policy(),
                delivery=None,  # type: ignore[arg-type]
                instance="fyre-0a1b2c3d",
            )
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine._work.close()


@pytest.mark.parametrize("outcome", UNREADABLE_OUTCOMES)
def test_an_outcome_on_a_job_that_can_not_be_read_is_never_written(
    outcome: str, engine_of: Callable[[StoredJob], KubernetesEngine]
) -> None:
    server = StoredJob(job_with_outcome(outcome))
    stored = copy.deepcopy(server.job)
    engine = engine_of(server)
    key = engine._object_cache.upsert_job(copy.deepcopy(server.job))
    engine._reconcile_run(key)
    until(engine._work.is_idle)
    record = engine.get_record(key)
    assert record is not None
    assert (record.state, record.is_outcome_unreadable) == (RunState.ERROR, True)
    assert record.reason.startswith("how it ended can't be read: ")
    assert record.ended_at is not None
    assert record.exit_code is None
    assert unposted_statuses(record, "") == []
    assert server.job["metadata"]["annotations"] == stored["metadata"]["annotations"]
    engine.annotate(key, reported=record.reported, carried=("b" * 40,), end_posted=True)
    until(engine._work.is_idle)
    assert server.job["metadata"]["annotations"][OUTCOME] == outcome
    assert server.job["spec"]["ttlSecondsAfterFinished"] == Policy().history


@pytest.mark.parametrize(
    ("reported", "debts"),
    [
        ({SHA: "failed", OTHER: "pending"}, [OTHER]),
        ({SHA: "pending"}, [SHA, OTHER]),
        ({SHA: "skipped", OTHER: "skipped"}, []),
    ],
)
def test_nothing_is_posted_over_the_end_of_a_job_whose_outcome_can_not_be_read(
    reported: dict[str, str], debts: list[str]
) -> None:
    cache = ObjectCache()
    key = cache.upsert_job(job_with_outcome(UNREADABLE_OUTCOMES[0], json.dumps(reported)))
    refreshed = cache.refresh_record(key)
    assert refreshed is not None
    unposted = unposted_statuses(refreshed[1], "")
    assert [status.sha for status in unposted] == debts
    assert {status.status.state for status in unposted} <= {"error"}


def test_an_end_that_is_known_stays_though_its_outcome_becomes_unreadable() -> None:
    cache = ObjectCache()
    states = []
    for version, outcome in enumerate((outcome_text(), UNREADABLE_OUTCOMES[0]), 5):
        job = job_with_outcome(outcome)
        job["metadata"]["resourceVersion"] = str(version)
        key = cache.upsert_job(job)
        refreshed = cache.refresh_record(key)
        assert refreshed is not None
        states.append((refreshed[1].state, refreshed[1].exit_code))
    assert states == [(RunState.FAILED, 137)] * 2


def test_an_outcome_that_can_be_read_again_or_is_gone_is_no_error_any_more() -> None:
    unreadable = job_with_outcome(UNREADABLE_OUTCOMES[0])
    record = derive_record(RunRecord(make_run(SHA, "true")), unreadable, [])
    assert record.is_outcome_unreadable
    again = derive_record(record, job_with_outcome(outcome_text()), [])
    assert (again.state, again.exit_code, again.is_outcome_unreadable) == (
        RunState.FAILED,
        137,
        False,
    )
    gone = job_with_outcome("")
    del gone["metadata"]["annotations"][OUTCOME]
    derived = derive_record(record, gone, [])
    assert derived == derive_record(RunRecord(record.run), gone, [])
    assert not derived.is_outcome_unreadable


def test_no_check_run_is_made_of_an_outcome_that_can_not_be_read() -> None:
    reporter = CheckRunReporter.__new__(CheckRunReporter)
    reporter.clock = time.time
    record = RunRecord(make_run(SHA, "true"), RunState.ERROR, ended_at=time.time())
    assert reporter.applies_to(record)
    assert not reporter.applies_to(replace(record, is_outcome_unreadable=True))
