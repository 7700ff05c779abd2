"""Version 0.1 reads what today's Fyre stores: a rollback, or a rolling upgrade, loses no run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fyre.engines.kubernetes import job_hold, job_labels, job_manifest, run_status
from fyre.engines.local import run_dir
from fyre.engines.local.run_dir import RunDirectory
from fyre.message.spec import RunSpec
from fyre.runs import commit_status, posted_states
from fyre.runs.profiles import Profile
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState
from tests.support.ci_marks import easier_cases, long_case
from tests.support.old_version import old_version

__all__ = ["old_version"]  # a fixture

SHA, OTHER = "a1" * 20, "b2" * 20
PLACE = job_manifest.JobContext("fyre-0a1b2c3d", "lab", "alpine/git:2.45")
LIMITS = (("cpu", "4"), ("memory", "16Gi"))
FULL = RunSpec("python train.py é\U0001f525", "train", "gpu", "ghcr.io/ada/lab:1", LIMITS, 3600, 2,
            (("SEED", "1"), ("NAME", "é")), ("wandb",), "experiments", ("make deps",))  # fmt: skip
REPOSITORY = Repository("https://api.github.com", 7, "ada/lab", "trunk")
RUN = Run("0123456789abcdef0123456789", REPOSITORY, SHA, "c3" * 20,
          (OTHER,), "refs/heads/main", "ada", "train", FULL, FULL.digest,
          "01HZXW4Q8N0123456789ABCDEF", 2, 1767323045.25)  # fmt: skip
PLAIN = replace(RUN, key="fedcba9876543210fedcba9876", spec=RunSpec("make"),
                digest=RunSpec("make").digest, fyre_id="", attempt=1, actor="",
                parents=())  # fmt: skip
ENDED = RunRecord(
    RUN,
    RunState.FAILED,
    2,
    1767323050.0,
    1767323100.0,
    137,
    None,
    "exit 137 (SIGKILL)",
    image_id="sha256:1",
)


def read_by_old(old_version: Path, tmp_path: Path, **given: list[Any]) -> dict[str, Any]:
    """What 0.1 takes it for."""
    told = tmp_path / "told.json"
    told.write_text(json.dumps({"jobs": [], "folders": [], "statuses": [], **given}))
    words = [sys.executable, str(Path(__file__).with_name("old_reader.py")), str(told)]
    done = subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(old_version)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def job(run: Run, **notes: str) -> dict[str, Any]:
    made = job_manifest.build_job(run, Profile(image="python:3.12"), PLACE)
    made["metadata"] |= {"uid": run.key, "resourceVersion": "7"}
    made["metadata"]["annotations"] |= {
        job_labels.FYRE_PREFIX + name: text for name, text in notes.items()
    }
    return made


def as_known(run: Run) -> dict[str, Any]:
    """The run's fields as 0.1 calls them, all of which have kept their stored names."""
    from fyre.runs import run as runs

    known: dict[str, Any] = json.loads(json.dumps(runs.to_json(run)))
    return known


def as_read(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["run"])


def test_jobs_at_each_stage(old_version: Path, tmp_path: Path) -> None:
    pending = posted_states.with_posted_state("", SHA, "pending")
    failed = posted_states.with_posted_state(pending, SHA, "failed")
    outcome = run_status.format_outcome(ENDED)
    given = [
        job(RUN),
        job(PLAIN),
        job(RUN, reported=pending, carried=json.dumps((OTHER,))),
        job(RUN, reported=pending, outcome=outcome),
        job(RUN, reported=failed, outcome=outcome, settled="true"),
    ]
    found = read_by_old(old_version, tmp_path, jobs=given)["jobs"]
    assert None not in found, "0.1 leaves a Job of today's alone: its run is lost to it"
    assert [as_read(one) for one in found] == [as_known(RUN), as_known(PLAIN), *[as_known(RUN)] * 3]
    assert [one["spec_digest"] for one in found] == [one["run"]["digest"] for one in found]
    assert [one["state"] for one in found] == ["queued"] * 3 + ["failed"] * 2
    assert [one["note"] for one in found] == [
        {},
        {},
        {SHA: "pending"},
        {SHA: "pending"},
        {SHA: "failed"},
    ]
    assert [one["carried"] for one in found] == [[], [], [OTHER], [], []]
    assert (found[3]["exit_code"], found[3]["tries"], found[3]["reason"]) == (
        137,
        2,
        "exit 137 (SIGKILL)",
    )


@long_case
def test_a_held_job_is_one_that_somebody_suspended(old_version: Path, tmp_path: Path) -> None:
    held = job_hold.hold_job(job(RUN), "needs prep")
    released = {**job(RUN), "spec": {"suspend": False, "parallelism": 1}}
    released["metadata"]["annotations"][job_labels.RELEASED_AT_ANNOTATION] = "2026-01-02T03:04:05Z"
    found = read_by_old(old_version, tmp_path, jobs=[held, released])["jobs"]
    assert [as_read(one) for one in found] == [as_known(RUN)] * 2
    assert [(one["state"], one["reason"]) for one in found] == [
        ("queued", "suspended"),
        ("queued", ""),
    ]


def test_local_runs_at_each_stage(old_version: Path, tmp_path: Path) -> None:
    told = run_dir.build_supervisor_job(
        RUN, Path("/srv/lab.git"), Path("/srv/work"), grace=10.0, log_cap=1024, keep=False
    )
    waiting = RunDirectory.create_for_run(tmp_path / "waiting", RUN, told)
    ended = RunDirectory.create_for_run(tmp_path / "ended", RUN, told)
    assert waiting is not None
    assert ended is not None
    ended.write_notes(reported=posted_states.with_posted_state("", SHA, "failed"), carried=(OTHER,))
    ended.request_cancel("bob")
    ended.write_outcome(1767323100.0, RunState.CANCELLED, "why")
    found = read_by_old(old_version, tmp_path, folders=[str(waiting.path), str(ended.path)])[
        "folders"
    ]
    assert [as_read(one) for one in found] == [as_known(RUN)] * 2
    assert [one["state"] for one in found] == ["queued", "cancelled"]
    assert (found[1]["note"], found[1]["carried"]) == ({SHA: "failed"}, [OTHER])
    assert (found[1]["ended_at"], found[1]["cancelled_by"], found[1]["reason"]) == (
        1767323100.0,
        "bob",
        "why",
    )


@pytest.mark.parametrize("carried", [*easier_cases(False), True])
def test_statuses(carried: bool, old_version: Path, tmp_path: Path) -> None:
    """0.1 reads `carried from` in every place, also of a pending status, which it never wrote."""
    reasons = [
        "",
        "timed out after 2h 00m",
        "exit 137 (SIGKILL)",
        "x" * 300,
        "setup failed: `make` exit 2",
    ]
    states = [
        RunState.QUEUED,
        RunState.STARTING,
        RunState.RUNNING,
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.ERROR,
        RunState.CANCELLED,
    ]
    made = [
        (
            state,
            commit_status.status_from_record(
                replace(ENDED, state=state, reason=reason, cancelled_by="bob"), carried=carried
            ),
        )
        for state in states
        for reason in reasons
    ]
    found = read_by_old(
        old_version, tmp_path, statuses=[(said.state, said.description) for _, said in made]
    )["statuses"]
    assert found == [
        str(RunState.CARRIED if carried and state.is_final else state) for state, _ in made
    ]


@long_case
def test_a_waiting_status_is_a_queued_one(old_version: Path, tmp_path: Path) -> None:
    held = replace(ENDED, state=RunState.WAITING, reason="needs prep", ended_at=None)
    made = [commit_status.status_from_record(held, carried=carried) for carried in (False, True)]
    given = [(status.state, status.description) for status in made]
    assert read_by_old(old_version, tmp_path, statuses=given)["statuses"] == ["queued"] * 2
