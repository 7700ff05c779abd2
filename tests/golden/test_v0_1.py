"""Read what Fyre 0.1 stored; write what has nothing new in it as 0.1 did, byte for byte.

``make_v0_1.py`` made the files. None of them may be changed: a later version has its own folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fyre.engines.kubernetes import job_labels, run_status
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.local import run_dir
from fyre.engines.local.run_dir import RunDirectory
from fyre.message import spec_form
from fyre.message.spec import RunSpec
from fyre.reporter.unposted_statuses import unposted_statuses
from fyre.runs import run, status_text
from fyre.runs.run import Repository
from fyre.runs.state import RunState

GOLDEN = Path(__file__).parent / "v0.1"
SHA, OTHER = "a1" * 20, "b2" * 20
STAGES = sorted(path.stem for path in (GOLDEN / "jobs").iterdir())


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_bytes())


def from_arguments(given: dict[str, Any]) -> RunSpec:
    """A spec of 0.1's arguments, whatever they are called today."""
    return spec_form.from_json(given)


@pytest.mark.parametrize("case", golden("specs.json"), ids=lambda case: case["digest"])
def test_a_digest_and_what_is_stored_of_a_spec_stay_as_they_were(case: dict[str, Any]) -> None:
    found = from_arguments(case["spec"])
    assert found.digest == case["digest"]
    assert json.dumps(spec_form.to_json(found)) == json.dumps(case["stored"])


def test_a_spec_made_in_python_has_the_same_digest() -> None:
    by_digest = {case["digest"]: case for case in golden("specs.json")}
    assert RunSpec("make").digest in by_digest
    assert RunSpec("make", retries=0).digest in by_digest
    assert RunSpec("make").digest != RunSpec("make", retries=0).digest


def test_no_field_was_added_to_the_form_that_every_digest_is_made_of() -> None:
    always = [field.name for field in spec_form.SPEC_FORM.fields if not field.since]
    assert always == [*golden("specs.json")[0]["stored"]], (
        "a later field has ``since``, or each digest changes"
    )
    always = [field.name for field in run.RUN_FORM.fields if not field.since]
    assert always == [*golden_run("waiting")], (
        "a later field has ``since``, or 0.1 reads no run any more"
    )


@pytest.mark.parametrize("case", golden("keys.json"), ids=lambda case: case["key"])
def test_a_key_stays_as_it_was(case: dict[str, Any]) -> None:
    repository = Repository(case["forge"], case["id"], "whatever/it-is-called")
    found = run.run_key(
        repository, case["identity"], case["digest"], case["ordinal"], case["attempt"]
    )
    assert found == case["key"]


@pytest.mark.parametrize("case", golden("statuses.json"), ids=lambda case: case["description"][:40])
def test_a_status_is_read_back(case: dict[str, Any]) -> None:
    said = case["github_state"], case["description"]
    found = status_text.parse_status(*said)
    assert (found.state, found.attempt) == (case["state"], case["attempt"])
    if found.state is RunState.FAILED:
        assert found.timed_out == case["timed_out"]
    assert status_text.is_push_refusal(*said) == case["push_refusal"]


def golden_run(stage: str) -> Any:
    return json.loads(
        golden(f"jobs/{stage}.json")["metadata"]["annotations"][job_labels.RUN_ANNOTATION]
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_s_run_is_read_and_would_be_written_as_it_was(stage: str) -> None:
    text = golden(f"jobs/{stage}.json")["metadata"]["annotations"][job_labels.RUN_ANNOTATION]
    found = run.from_json(json.loads(text))
    assert json.dumps(run.to_json(found), separators=(",", ":"), ensure_ascii=False) == text
    assert found.spec.digest == found.digest


@pytest.mark.parametrize(
    ("stage", "state", "debts"),
    [
        ("plain", RunState.QUEUED, [SHA]),
        ("waiting", RunState.QUEUED, [SHA]),
        ("running", RunState.QUEUED, [OTHER]),  # no pod of it is in the file
        ("cancelled", RunState.QUEUED, [OTHER]),
        ("given_up", RunState.QUEUED, [OTHER]),
        ("ended", RunState.FAILED, [SHA, OTHER]),
        ("reported", RunState.FAILED, []),
    ],
)
def test_a_job_is_known_at_each_stage_of_its_life(
    stage: str, state: RunState, debts: list[str]
) -> None:
    known = ObjectCache()
    key = known.upsert_job(golden(f"jobs/{stage}.json"))
    seen = known.refresh_record(key)
    assert seen is not None
    record = seen[1]
    assert record.state is state
    assert [debt.sha for debt in unposted_statuses(record, "")] == debts
    assert record.cancelled_by == ("bob" if stage == "cancelled" else "")
    assert record.carried == (() if stage in ("plain", "waiting") else (OTHER,))
    if state is RunState.FAILED:
        ended = (record.exit_code, record.tries, record.started_at, record.ended_at, record.reason)
        assert ended == (137, 2, 1767323050.0, 1767323100.0, "exit 137 (SIGKILL)")
        assert (
            run_status.format_outcome(record)
            == golden(f"jobs/{stage}.json")["metadata"]["annotations"][
                job_labels.OUTCOME_ANNOTATION
            ]
        )


@pytest.mark.parametrize(
    ("stage", "state", "debts"),
    [
        ("waiting", RunState.QUEUED, [SHA]),
        ("running", RunState.RUNNING, []),
        ("lost", RunState.ERROR, [SHA, OTHER]),
        ("reported", RunState.CANCELLED, []),
        ("ended", RunState.FAILED, []),
    ],
)
def test_a_local_run_is_known_at_each_stage_of_its_life(
    stage: str, state: RunState, debts: list[str], tmp_path: Path
) -> None:
    (place,) = (GOLDEN / "local" / stage).iterdir()
    copied = tmp_path / place.name
    shutil.copytree(place, copied)
    folder = RunDirectory(copied)
    record = folder.read_record()
    assert record.state is state
    assert [debt.sha for debt in unposted_statuses(record, "")] == debts
    assert json.dumps(run.to_json(record.run)) == (place / "run.json").read_text()
    assert folder.is_lost() == (stage == "lost")
    assert record.cancelled_by == ("bob" if stage == "reported" else "")
    assert not folder.is_torn()
    assert folder.conclude_without_supervisor(0.0) == (stage != "waiting")
    if stage == "ended":
        assert (record.exit_code, record.tries) == (3, 2)


def test_what_a_supervisor_is_told_is_what_0_1_told_it() -> None:
    (place,) = (GOLDEN / "local" / "waiting").iterdir()
    told = json.loads((place / "job.json").read_bytes())
    settings = {name: told[name] for name in ("grace", "log_cap", "keep")}
    made = run_dir.build_supervisor_job(
        RunDirectory(place).read_run(), Path(told["git_dir"]), Path(told["work"]), **settings
    )
    assert json.loads(json.dumps(made)) == told
    assert [field.name for field in run_dir.JOB_FORM.fields if not field.since] == [*told]


def test_the_words_of_a_pod_of_0_1_are_the_ones_that_are_read() -> None:
    """Pods of before an upgrade still run its scripts, and their last words are read after it."""
    container = golden("jobs/waiting.json")["spec"]["template"]["spec"]["containers"][0]
    assert status_text.TIMED_OUT in container["command"][2]


def test_the_words_that_a_supervisor_does_not_load_are_the_same() -> None:
    from fyre.engines.local import supervisor

    assert supervisor._TIMED_OUT == status_text.TIMED_OUT
    assert supervisor.LOST_REASON.startswith(status_text.LOST_PREFIX)
