"""What is heard of Jobs and pods: copies and what nobody can read are left alone, and stop
nobody else.
"""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.runs import run as runs
from fyre.runs.run import Run
from fyre.runs.run_query import ALL_RUNS, RunCursor, RunQuery
from fyre.runs.state import RunState
from tests.contract.engine import make_run

RUN = make_run("a" * 40, "true", key="0123456789abcdef0123456789")
LABELS = {job_labels.INSTANCE_LABEL: "fyre", job_labels.KEY_LABEL: RUN.key}

TRACKED = ["batch.kubernetes.io/job-tracking"]


def job(name: str = "", version: int = 1, run: Run = RUN, **notes: str) -> dict[str, Any]:
    name = name or f"fyre-{run.key}"
    told = {
        job_labels.RUN_ANNOTATION: json.dumps(runs.to_json(run)),
        **{job_labels.FYRE_PREFIX + key: text for key, text in notes.items()},
    }
    labels = {**LABELS, job_labels.KEY_LABEL: run.key}
    about = {"name": name, "namespace": "lab", "labels": labels, "uid": f"of {name}"}
    about["resourceVersion"] = str(version)
    return {"metadata": {**about, "annotations": told}, "spec": {}, "status": {}}


def pod(job_name: str = f"fyre-{RUN.key}") -> dict[str, Any]:
    labels = {**LABELS, "batch.kubernetes.io/job-name": job_name}
    labels["batch.kubernetes.io/controller-uid"] = f"of {job_name}"
    return {
        "metadata": {
            "name": "p",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "ownerReferences": [{"uid": f"of {job_name}", "controller": True}],
            "finalizers": TRACKED,
        },
        "spec": {},
        "status": {"phase": "Pending"},
    }


def test_a_job_and_its_pod_are_known() -> None:
    known = ObjectCache()
    assert known.upsert_job(job()) == known.upsert_pod(pod(), deleted=False) == RUN.key
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    assert (seen[1].run, len(seen[3])) == (RUN, 1)


def test_older_news_are_no_news() -> None:
    known = ObjectCache()
    known.upsert_job(job(version=7, reported="new"))
    known.upsert_job(job(version=5, reported="old"))
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    assert seen[1].reported == "new"


def test_copies_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    known = ObjectCache()
    assert known.upsert_job(job("copy")) == ""
    assert known.upsert_pod(pod("copy"), deleted=False) == ""
    assert "left out" in caplog.text
    assert known.query_runs(ALL_RUNS) == []


def test_a_query_selects_records_as_they_were_derived_last() -> None:
    """Nothing is derived for it, neither for what it selects nor for anything else."""
    known = ObjectCache()
    made = [
        replace(RUN, key=f"{number:026x}", ref=f"refs/heads/{number % 2}", created_at=number // 2)
        for number in range(6)
    ]
    for run in made:
        known.upsert_job(job(run=run))
    ended = job(run=made[4], version=2, outcome=json.dumps({"state": "failed", "exit_code": 3}))
    known.upsert_job(ended)

    def found(**wanted: Any) -> list[int]:
        return [int(record.run.key, 16) for record in known.query_runs(RunQuery(**wanted))]

    assert found() == [5, 4, 3, 2, 1, 0]
    assert found(ref="refs/heads/0", limit=2) == [4, 2]
    assert found(before=RunCursor(2.0, made[4].key), limit=2) == [3, 2]
    failed = frozenset({RunState.FAILED})
    assert found(states=failed) == []
    known.refresh_record(made[4].key)
    assert found(states=failed) == [4]
    (record,) = known.query_runs(RunQuery(states=failed))
    assert record is known.get_record(made[4].key)


def test_what_goes_is_told_from_what_is_known() -> None:
    """A copy that somebody deletes, or the Job of that name before this one, takes no run along."""
    known = ObjectCache()
    known.upsert_job(job())
    before = job()
    before["metadata"]["uid"] = "of the one before"
    assert [known.is_same_job(other) for other in (job("copy"), before, job(version=9))] == [
        False,
        False,
        True,
    ]


def test_a_job_that_has_ended_before_its_pods_is_no_verdict() -> None:
    """Each has its own watch, and that of the pods may be behind: their end was made up, and
    their log not read.
    """
    known = ObjectCache()
    over = job()
    over["status"]["conditions"] = [
        {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}
    ]
    known.upsert_job(over)
    known.upsert_pod(pod(), deleted=False)

    def state() -> RunState:
        seen = known.refresh_record(RUN.key)
        assert seen is not None
        return seen[1].state

    assert (state(), known.needs_pod_refresh(RUN.key)) == (RunState.STARTING, True)
    known.replace_pods(RUN.key, [])
    assert (state(), known.needs_pod_refresh(RUN.key)) == (RunState.SUCCEEDED, False)
    found = known.find_pod(RUN.key, "u")
    assert found is not None
    assert pod_facts.DELETED_MARK in found


@pytest.mark.parametrize("owner", ["of another", None])
def test_9_30a_a_pod_that_is_not_owned_by_the_job_is_not_believed(owner: str | None) -> None:
    known, forged = ObjectCache(), pod()
    forged["metadata"] |= {"name": "forged", "uid": "forged", "ownerReferences": []}
    if owner:
        forged["metadata"]["ownerReferences"] = [{"uid": owner, "controller": True}]
    ended = {"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z"}
    command = {"name": job_labels.COMMAND_CONTAINER, "state": {"terminated": ended}}
    forged["status"] = {"phase": "Succeeded", "containerStatuses": [command]}
    known.upsert_pod(pod(), deleted=False)  # pods may be listed before Jobs
    known.upsert_pod(forged, deleted=False)
    known.upsert_pod(forged, deleted=True)
    known.upsert_pod(forged, deleted=False)
    known.upsert_job(job())
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    assert (seen[1].state, seen[1].tries) == (RunState.STARTING, 0)
    assert [one["metadata"]["name"] for one in seen[3]] == ["p"]
    assert known.find_pod(RUN.key, "forged") is None
    assert [len(pods) for _, _, pods in known.list_unfinished()] == [1]


def ended_well(of: dict[str, Any]) -> dict[str, Any]:
    """The same pod once its command has exited with 0, and nobody needs it any more."""
    ended = {"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z"}
    command = {"name": job_labels.COMMAND_CONTAINER, "state": {"terminated": ended}}
    status = {"phase": "Succeeded", "containerStatuses": [command]}
    return {"metadata": of["metadata"] | {"finalizers": []}, "spec": {}, "status": status}


def known_tries(*pods: dict[str, Any], of: dict[str, Any] | None = None) -> list[str]:
    """The names of the pods that count, after these were reported of a Job."""
    known = ObjectCache()
    known.upsert_job(of or job())
    for one in pods:
        known.upsert_pod(copy.deepcopy(one), deleted=False)
        known.refresh_record(RUN.key)
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    return [one["metadata"]["name"] for one in seen[3]]


def test_9_30a_a_pod_that_names_the_job_as_its_owner_is_not_one_that_its_controller_made() -> None:
    untracked, unlabelled, adopted = pod(), pod(), pod()
    untracked["metadata"]["finalizers"] = []
    del unlabelled["metadata"]["labels"]["batch.kubernetes.io/controller-uid"]
    adopted["metadata"]["ownerReferences"] = []
    assert known_tries(pod()) == known_tries(pod(), ended_well(pod())) == ["p"]
    assert known_tries(untracked) == known_tries(untracked, ended_well(pod())) == []
    assert known_tries(untracked, pod()) == []  # its maker adds what was missing
    assert known_tries(unlabelled) == []
    assert known_tries(adopted, pod()) == []
    # Seen for the first time when it has ended: its Job knows of it.
    assert known_tries(ended_well(pod())) == []
    counted = job() | {"status": {"uncountedTerminatedPods": {"succeeded": ["u"]}}}
    assert known_tries(ended_well(pod()), of=counted) == ["p"]
    assert known_tries(ended_well(pod()), of=job() | {"status": {"succeeded": 1}}) == ["p"]
    # A controller that ends its Job lets go of pods that still go on.
    ended = {"conditions": [{"type": "FailureTarget", "status": "True"}]}
    assert known_tries(untracked, of=job() | {"status": ended}) == ["p"]


def test_9_30a_a_job_that_took_a_pod_of_somebody_else_for_its_own_has_not_succeeded() -> None:
    known, adopted = ObjectCache(), pod()
    adopted["metadata"] |= {"name": "forged", "uid": "forged", "ownerReferences": []}
    known.upsert_job(job())
    known.upsert_pod(pod(), deleted=False)
    known.upsert_pod(adopted, deleted=False)
    owned = copy.deepcopy(adopted)
    owned["metadata"]["ownerReferences"] = pod()["metadata"]["ownerReferences"]
    known.upsert_pod(ended_well(owned), deleted=False)
    known.upsert_pod(pod(), deleted=True)
    complete = {"type": "Complete", "status": "True"}
    known.upsert_job(job(version=2) | {"status": {"conditions": [complete], "succeeded": 1}})
    known.replace_pods(RUN.key, [ended_well(owned)])
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    assert seen[1].state is RunState.ERROR
    assert seen[1].reason == "its Job took a pod of somebody else for its own: forged"


@pytest.mark.parametrize("copy_first", [False, True])
def test_9_30a_a_copy_of_a_job_in_another_namespace_is_not_believed(copy_first: bool) -> None:
    known, other, true = ObjectCache(), job(version=9, reported="forged"), job()
    other["metadata"] |= {"namespace": "other", "uid": "copy"}
    other["metadata"]["creationTimestamp"] = "2026-01-01T00:00:09Z"
    true["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    for one in (other, true) if copy_first else (true, other):
        known.upsert_job(one)
    found = known.find_job(RUN.key)
    assert found is not None
    assert found["metadata"]["namespace"] == "lab"
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    assert seen[1].reported == ""


def test_9_22_the_time_of_a_deletion_is_kept_when_its_grace_is_over() -> None:
    known = ObjectCache()
    known.upsert_job(job())
    for version, grace in ((1, 2), (2, 0)):
        news = pod()
        news["metadata"] |= {
            "deletionTimestamp": "2026-01-01T00:00:28Z",
            "resourceVersion": version,
        }
        news["metadata"]["deletionGracePeriodSeconds"] = grace
        known.upsert_pod(news, deleted=False)
    found = known.find_pod(RUN.key, "u")
    assert found is not None
    assert pod_facts.deletion_requested_at(found) == pod_facts.parse_time("2026-01-01T00:00:26Z")


@pytest.mark.parametrize(
    ("command", "other", "held"),
    [("terminated", "running", True), ("running", "running", False), ("terminated", "x", False)],
)
def test_9_25_a_container_that_others_put_in_holds_a_pod(
    command: str, other: str, held: bool
) -> None:
    known, news = ObjectCache(), pod()
    ended = {"exitCode": 0, "finishedAt": "2026-01-01T00:00:09Z"}
    news["status"]["containerStatuses"] = [
        {"name": job_labels.COMMAND_CONTAINER, "state": {command: ended}},
        {"name": "mesh", "state": {other: {}}},
    ]
    known.upsert_job(job())
    known.upsert_pod(news, deleted=False)
    assert known.is_held_by_sidecar(RUN.key) is held


def test_older_news_of_a_pod_are_no_news() -> None:
    known = ObjectCache()
    known.upsert_job(job())
    for version, phase in ((3, "Running"), (7, "Succeeded"), (5, "Running")):
        news = pod()
        news["metadata"]["resourceVersion"], news["status"]["phase"] = str(version), phase
        known.upsert_pod(news, deleted=False)
    found = known.find_pod(RUN.key, "u")
    assert found is not None
    assert found["status"]["phase"] == "Succeeded"


def test_a_pods_secrets_are_those_that_its_command_has() -> None:
    secrets = [
        {"secretRef": {"name": "a"}},
        {"configMapRef": {"name": "b"}},
        {"secretRef": {"name": "c"}},
    ]
    spec = {
        "nodeName": "n",
        "containers": [
            {"name": "sidecar", "envFrom": [{"secretRef": {"name": "x"}}]},
            {"name": job_labels.COMMAND_CONTAINER, "envFrom": secrets},
        ],
    }
    found = pod_facts.strip_unused({"metadata": {}, "spec": spec})
    assert found["spec"] == {pod_facts.ENV_SECRETS_KEY: ["a", "c"]}
    assert pod_facts.strip_unused(found)["spec"] == {
        pod_facts.ENV_SECRETS_KEY: ["a", "c"]
    }  # once more is harmless


@pytest.mark.parametrize(
    ("notes", "state"),
    [
        ({"outcome": '{"state": "garbage"}'}, RunState.ERROR),
        ({"outcome": "{"}, RunState.ERROR),
        ({"carried": "7"}, RunState.QUEUED),
        ({"carried": "{"}, RunState.QUEUED),
    ],
)
def test_notes_that_nobody_can_read_are_not_believed(
    notes: dict[str, str], state: RunState, caplog: pytest.LogCaptureFixture
) -> None:
    known = ObjectCache()
    assert known.upsert_job(job(**notes)) == RUN.key
    seen = known.refresh_record(RUN.key)
    assert seen is not None
    assert seen[1].state is state
    assert "is not what Fyre wrote" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_run_that_nobody_can_read_stops_nobody(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    known, broken = ObjectCache(), job()
    broken["metadata"]["annotations"][job_labels.RUN_ANNOTATION] = text
    assert known.upsert_job(broken) == ""
    assert known.upsert_job(job()) == RUN.key
    again = job(version=2, reported="x")
    again["metadata"]["annotations"][job_labels.RUN_ANNOTATION] = (
        text  # broken while we look on: it is known whose it is
    )
    assert known.upsert_job(again) == RUN.key
    record = known.get_record(RUN.key)
    assert record is not None
    assert record.run == RUN
