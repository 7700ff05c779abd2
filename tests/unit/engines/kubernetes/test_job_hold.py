"""A held Job, from its creation to its release: what is written, and what is read off it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from fyre.engines.kubernetes import job_hold, job_labels, job_manifest
from fyre.engines.kubernetes.job_writer import JobWriter
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.runs.profiles import Profile
from fyre.runs.run import RunRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.unit.engines.kubernetes.test_job_manifest import FULL, GPU, PLACE, RELAY, RUN
from tests.unit.engines.kubernetes.test_run_status import know, pod, running, waiting

PLAIN = Profile(image="python:3.12")
QUEUE = job_labels.KUEUE_QUEUE_LABEL


def held(profile: Profile = PLAIN, reason: str = "needs prep") -> dict[str, Any]:
    run, context = (FULL, RELAY) if profile is GPU else (RUN, PLACE)
    job = job_hold.hold_job(job_manifest.build_job(run, profile, context), reason)
    job["metadata"] |= {"resourceVersion": "7", "uid": "u"}
    return job


def merged(target: Any, patch: Any) -> Any:
    """What the API server makes of a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def test_a_held_job_is_suspended_with_no_pod_and_no_queue() -> None:
    job = held(GPU)
    assert (job["spec"]["suspend"], job["spec"]["parallelism"]) == (True, 0)
    assert QUEUE not in job["metadata"]["labels"]
    annotations = job["metadata"]["annotations"]
    assert (annotations["fyre.dev/held"], annotations["fyre.dev/queue"]) == ("needs prep", "gpus")
    assert "fyre.dev/queue" not in held()["metadata"]["annotations"]


@pytest.mark.parametrize("profile", [PLAIN, GPU])
def test_what_is_released_is_the_job_that_was_not_held(profile: Profile) -> None:
    run, context = (FULL, RELAY) if profile is GPU else (RUN, PLACE)
    never_held = job_manifest.build_job(run, profile, context)
    job = held(profile)
    patch = job_hold.release_patch(job, 1767323045.25)
    assert patch["metadata"]["resourceVersion"] == "7"
    released = merged(job, patch)
    assert released["metadata"].pop("resourceVersion") == "7"
    released["metadata"].pop("uid")
    time = released["metadata"]["annotations"].pop("fyre.dev/released-at")
    assert time == "2026-01-02T03:04:05.250000+00:00"
    assert released["spec"].pop("suspend") is (profile is GPU)  # its queue starts it
    assert released == never_held


def test_a_queue_that_kueue_chose_is_kept() -> None:
    job = held()
    job["metadata"]["labels"][QUEUE] = "default"
    released = merged(job, job_hold.release_patch(job, 0.0))
    assert released["metadata"]["labels"][QUEUE] == "default"
    assert (released["spec"]["suspend"], released["spec"]["parallelism"]) == (True, 1)


def test_the_time_of_a_release_is_read_back() -> None:
    job = held()
    assert job_hold.released_at(job) is None
    released = merged(job, job_hold.release_patch(job, 1767323045.25))
    assert job_hold.released_at(released) == 1767323045.25
    released["metadata"]["annotations"]["fyre.dev/released-at"] = "yesterday"
    assert job_hold.released_at(released) is None


@pytest.mark.parametrize("suspended", [True, False])
def test_a_held_job_waits_also_where_somebody_resumed_it(suspended: bool) -> None:
    job = held(reason="needs\n prep")
    job["spec"]["suspend"] = suspended
    assert know(job) == (RunState.WAITING, "needs prep")
    assert know(job, hint="exceeded quota: few") == (RunState.WAITING, "needs prep")


def test_a_pod_that_somebody_else_let_start_is_followed() -> None:
    job = held()
    job["spec"] |= {"suspend": False, "parallelism": 1}
    assert know(job, pod(running())) == (RunState.RUNNING, "")
    assert know(job, pod(waiting("ContainerCreating")))[0] is RunState.STARTING


def test_a_released_job_is_queued() -> None:
    released = merged(held(), job_hold.release_patch(held(), 0.0))
    assert know(released) == (RunState.QUEUED, "")
    released = merged(held(GPU), job_hold.release_patch(held(GPU), 0.0))
    assert know(released) == (RunState.QUEUED, "waiting in queue gpus")


def test_a_held_job_is_waiting_as_soon_as_it_is_seen() -> None:
    cache = ObjectCache()
    cache.upsert_job(held())
    assert cache.query_runs(ALL_RUNS) == [RunRecord(RUN, RunState.WAITING, reason="needs prep")]


class Answering:
    """An API server's answers to patches: the patched Job, or what another made of it first."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.patches = job, list[dict[str, Any]]()

    def patch_job(self, _namespace: str, _name: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.patches.append(patch)
        self.job = merged(self.job, patch)
        version = int(self.job["metadata"]["resourceVersion"]) + 1
        self.job["metadata"]["resourceVersion"] = str(version)
        return self.job


def create_writer(server: Answering, cache: ObjectCache) -> JobWriter:
    return JobWriter(
        server,  # type: ignore[arg-type] # only its answers are needed
        cache,
        60.0,
        reconcile_run=cache.refresh_record,
        on_job_deleted=cache.remove_job,
    )


@pytest.mark.parametrize(
    ("spec", "end"),
    [
        ({}, {"activeDeadlineSeconds": 1, "suspend": False, "parallelism": 0}),
        ({"suspend": False, "parallelism": 1}, {"activeDeadlineSeconds": 1}),
    ],
    ids=["held", "started by somebody else"],
)
def test_a_cancel_gives_a_held_job_an_end_and_no_pod(
    spec: dict[str, Any], end: dict[str, Any]
) -> None:
    job = held()
    job["spec"] |= spec
    server, cache = Answering(job), ObjectCache()
    cache.upsert_job(merged(job, {}))
    writer = create_writer(server, cache)
    assert writer.terminate_run(RUN.key, {job_labels.CANCELLED_BY_ANNOTATION: "bob"})
    assert [patch["spec"] for patch in server.patches] == [end]
    assert not writer.release_run(RUN.key)
    assert len(server.patches) == 1


def test_9_30a_a_held_job_without_its_label_is_still_released() -> None:
    server, cache = Answering(held()), ObjectCache()
    cache.upsert_job(merged(held(), {}))
    del server.job["metadata"]["labels"][job_labels.KEY_LABEL]
    server.job["metadata"]["resourceVersion"] = "8"
    after_restart = ObjectCache()
    assert after_restart.upsert_job(deepcopy(server.job)) == RUN.key
    assert after_restart.is_same_job(server.job)
    assert cache.upsert_job(deepcopy(server.job)) == RUN.key
    writer = create_writer(server, cache)
    assert writer.release_run(RUN.key)
    (record,) = cache.query_runs(ALL_RUNS)
    assert record.state is RunState.QUEUED


@pytest.mark.parametrize(
    ("annotations", "state"), [({}, RunState.ERROR), ({"cancelled-by": "bob"}, RunState.CANCELLED)]
)
def test_9_30a_a_job_that_a_finalizer_keeps_from_going_is_over(
    annotations: dict[str, str], state: RunState
) -> None:
    job = held()
    job["metadata"]["deletionTimestamp"] = "2026-01-02T03:05:00Z"
    job["metadata"]["annotations"] |= {
        f"fyre.dev/{name}": text for name, text in annotations.items()
    }
    assert know(job)[0] is state
    assert know(job, pod(running())) == (RunState.RUNNING, "")
