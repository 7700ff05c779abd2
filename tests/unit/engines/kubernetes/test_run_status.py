"""From a Job and its pods to a record: every ending by name, and no status that can't be read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fyre.engines.kubernetes import job_labels, pod_facts, run_status
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.runs import run as runs
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from tests.unit.engines.kubernetes.test_job_manifest import RUN

Object = dict[str, Any]

BEGIN = 1767323045.0
BEFORE = RunRecord(RUN)
DISRUPTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "lastTransitionTime": "2026-01-02T03:05:10Z",
    "message": "m",
}
SCHEDULED = {"type": "PodScheduled", "status": "True"}

SHARED = "b" * 40  # a commit that shares an outcome


def at(second: int) -> str:
    return f"2026-01-02T03:05:{second:02}Z"


def job(
    *conditions: Object, spec: Object | None = None, labels: Object | None = None, **notes: str
) -> Object:
    annotations = {
        job_labels.FYRE_PREFIX + name.replace("_", "-"): text for name, text in notes.items()
    }
    return {
        "metadata": {"annotations": annotations, "labels": labels or {}},
        "spec": spec or {},
        "status": {"conditions": list(conditions)},
    }


def failed(reason: str = "BackoffLimitExceeded", message: str = "Job has failed") -> Object:
    return {
        "type": "Failed",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": at(40),
    }


def ended(code: int, container: str = job_labels.COMMAND_CONTAINER, **more: object) -> Object:
    state = {
        "exitCode": code,
        "reason": "Completed" if code == 0 else "Error",
        "startedAt": at(5),
        "finishedAt": at(30),
    }
    return {
        "name": container,
        "image": "python:3.12",
        "imageID": "sha256:1",
        "state": {"terminated": {**state, **more}},
    }


def waiting(
    reason: str, message: str = "", container: str = job_labels.COMMAND_CONTAINER
) -> Object:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"name": container, "image": "python:3.12", "state": state}


def running(container: str = job_labels.COMMAND_CONTAINER) -> Object:
    state = {"running": {"startedAt": at(5)}}
    return {"name": container, "image": "python:3.12", "imageID": "sha256:1", "state": state}


def pod(
    *statuses: Object,
    number: int = 1,
    phase: str = "Running",
    conditions: tuple[Object, ...] = (SCHEDULED,),
    gone_at: str = "",
    **status: object,
) -> Object:
    meta: Object = {"name": f"p{number}", "uid": f"u{number}", "creationTimestamp": at(number)}
    if gone_at:
        meta |= {"deletionTimestamp": gone_at, "deletionGracePeriodSeconds": 0}
    split = {True: "initContainerStatuses", False: "containerStatuses"}
    told: Object = {"phase": phase, "conditions": list(conditions), **status}
    for one in statuses:
        told.setdefault(split[one["name"] == job_labels.CHECKOUT_CONTAINER], []).append(one)
    return {"metadata": meta, "spec": {}, "status": told}


def know(
    thing: Object, *found: Object, before: RunRecord = BEFORE, hint: str = ""
) -> tuple[RunState, str]:
    record = run_status.derive_record(before, thing, found, hint)
    return record.state, record.reason


def test_9_33_what_the_checkout_left_out_is_part_of_the_record() -> None:
    said = "not checked out: submodules (a\nb, c)"
    checkout = ended(0, job_labels.CHECKOUT_CONTAINER, message=said)
    record = run_status.derive_record(BEFORE, job(), [pod(checkout, running())])
    assert record.missing_code == ("submodules (a b, c)",)
    record = run_status.derive_record(record, job(), [pod(CLEAN, ended(0))])
    assert record.missing_code == ("submodules (a b, c)",)
    stored = run_status.parse_outcome(run_status.format_outcome(record))
    assert stored["missing_code"] == record.missing_code
    forged = ended(0, message=said)  # the command's own words are none of the checkout's
    assert run_status.derive_record(BEFORE, job(), [pod(CLEAN, forged)]).missing_code == ()


RETRIED = RunRecord(replace(RUN, spec=replace(RUN.spec, retries=1)))
LIMITED = RunRecord(
    replace(RUN, spec=replace(RUN.spec, resources=(("memory", "1Gi"),), timeout=20))
)
SET_UP = RunRecord(
    replace(RUN, spec=replace(RUN.spec, setup=("true", "make\n all"), retries=1, workdir="there"))
)
CLEAN = ended(0, job_labels.CHECKOUT_CONTAINER)
CREATING = waiting("PodInitializing")
EVICTED = {"reason": "Evicted", "message": "The node was low on\nresource: memory."}

PENDING = [
    ("new", job(), [], RunState.QUEUED, ""),
    ("suspended", job(spec={"suspend": True}), [], RunState.QUEUED, "suspended"),
    (
        "kueue",
        job(spec={"suspend": True}, labels={"kueue.x-k8s.io/queue-name": "gpus"}),
        [],
        RunState.QUEUED,
        "waiting in queue gpus",
    ),
    (
        "9-29-architecture",
        job(),
        [pod(waiting("RunContainerError", "exec container process `/bin/sh`: Exec format error"))],
        RunState.STARTING,
        (
            "image python:3.12 is for another architecture: "
            "exec container process `/bin/sh`: Exec format error"
        ),
    ),
    (
        "9-29-no-such-platform",
        job(),
        [pod(waiting("ErrImagePull", "failed to pull: no match for platform in manifest: x"))],
        RunState.STARTING,
        (
            "image python:3.12 is for another architecture: "
            "failed to pull: no match for platform in manifest: x"
        ),
    ),
    (
        "unschedulable",
        job(),
        [
            pod(
                phase="Pending",
                conditions=(
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "message": "0/3 nodes are available:\n 3 Insufficient cpu.",
                    },
                ),
            )
        ],
        RunState.QUEUED,
        "unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
    ),
    (
        "pull",
        job(),
        [pod(waiting("ImagePullBackOff", "Back-off pulling image"), phase="Pending")],
        RunState.STARTING,
        "image python:3.12 can't be had: Back-off pulling image",
    ),
    (
        "image-name",
        job(),
        [pod(waiting("InvalidImageName"), phase="Pending")],
        RunState.STARTING,
        "image python:3.12 can't be had: InvalidImageName",
    ),
    (
        "config",
        job(),
        [pod(CLEAN, waiting("CreateContainerConfigError", 'secret "wandb" not found'))],
        RunState.STARTING,
        'secret "wandb" not found',
    ),
    (
        "checkout",
        job(),
        [pod(running(job_labels.CHECKOUT_CONTAINER), CREATING)],
        RunState.STARTING,
        "checking out",
    ),
    ("pulling", job(), [pod(CLEAN, CREATING)], RunState.STARTING, ""),
    ("running", job(), [pod(CLEAN, running())], RunState.RUNNING, ""),
]

ENDINGS = [
    ("done", BEFORE, job(), [pod(CLEAN, ended(0))], RunState.SUCCEEDED, ""),
    ("complete", BEFORE, job({"type": "Complete", "status": "True"}), [], RunState.SUCCEEDED, ""),
    ("exit", BEFORE, job(), [pod(ended(3))], RunState.FAILED, ""),
    ("not-found", BEFORE, job(), [pod(ended(127))], RunState.FAILED, "exit 127: command not found"),
    ("signal", BEFORE, job(), [pod(ended(139))], RunState.FAILED, "exit 139 (SIGSEGV)"),
    ("killed", BEFORE, job(), [pod(ended(137))], RunState.FAILED, "exit 137 (SIGKILL)"),
    (
        "oom",
        LIMITED,
        job(),
        [pod(ended(137, reason="OOMKilled"))],
        RunState.FAILED,
        "out of memory (limit 1Gi): exit 137 (SIGKILL)",
    ),
    (
        "9-27-oom-of-a-child",
        LIMITED,
        job(),
        [pod(ended(7, reason="OOMKilled"))],
        RunState.FAILED,
        "exit 7: a process of the run was killed for memory (limit 1Gi)",
    ),
    (
        "9-29-architecture",
        BEFORE,
        job(failed()),
        [
            pod(
                ended(1, job_labels.CHECKOUT_CONTAINER, message="exec /bin/sh: exec format error"),
                CREATING,
                phase="Failed",
            )
        ],
        RunState.ERROR,
        "the image is for another architecture: exec /bin/sh: exec format error",
    ),
    *(
        (
            f"9-29-architecture-{name}",
            BEFORE,
            job(failed()),
            [pod(ended(1, **end), phase="Failed")],
            RunState.ERROR,
            f"the image is for another architecture: {end['message']}",
        )
        for name, end in {
            "runc": {"message": "exec /usr/bin/sh: exec format error"},
            "old-runc": {
                "message": "standard_init_linux.go:228: exec user process caused: exec format error"
            },
            "crun": {
                "reason": "StartError",
                "message": "exec container process `/bin/sh`: Exec format error",
            },
        }.items()
    ),
    (
        "9-29-interpreter",
        BEFORE,
        job(failed()),
        [pod(ended(255, message="exec /bin/sh: no such file or directory"), phase="Failed")],
        RunState.ERROR,
        "the container can't be started: exec /bin/sh: no such file or directory",
    ),
    (
        "9-29-words-of-a-command",
        BEFORE,
        job(failed()),
        [pod(ended(1, message="exec /bin/sh: secret: exec format error"), phase="Failed")],
        RunState.FAILED,
        "",
    ),
    (
        "timeout",
        LIMITED,
        job(),
        [pod(ended(143, message="timed out after 20s"))],
        RunState.FAILED,
        "timed out after 20s",
    ),
    (
        "polite",
        LIMITED,
        job(),
        [pod(ended(0, message="timed out after 20s"))],
        RunState.FAILED,
        "timed out after 20s",
    ),
    (
        "deadline",
        LIMITED,
        job(),
        [pod(ended(137), phase="Failed", reason="DeadlineExceeded")],
        RunState.FAILED,
        "timed out after 20s",
    ),
    (
        "deadline-early",
        LIMITED,
        job(),
        [pod(CLEAN, CREATING, phase="Failed", reason="DeadlineExceeded")],
        RunState.ERROR,
        "its pod's deadline came before the command started",
    ),
    (
        "deadline-unknown",
        LIMITED,
        job(),
        [
            pod(
                CLEAN,
                ended(137, reason="ContainerStatusUnknown", startedAt=None),
                phase="Failed",
                reason="DeadlineExceeded",
            )
        ],
        RunState.ERROR,
        "its pod's deadline came before the command started",
    ),
    (
        "deadline-forgot",
        replace(LIMITED, tries=1),
        job(),
        [
            pod(
                CLEAN,
                ended(137, reason="ContainerStatusUnknown", startedAt=None),
                phase="Failed",
                reason="DeadlineExceeded",
            )
        ],
        RunState.FAILED,
        "timed out after 20s",
    ),
    (
        "setup",
        SET_UP,
        job(),
        [pod(ended(113, message="setup failed: `make  all` exit 2"))],
        RunState.ERROR,
        "setup failed: `make all` exit 2",
    ),
    (
        "workdir",
        SET_UP,
        job(),
        [pod(ended(113, message="workdir there is not in this commit"))],
        RunState.ERROR,
        "workdir there is not in this commit",
    ),
    # What a command writes into the termination message is not believed, and not repeated: it may
    # hold a secret.
    (
        "own-words",
        SET_UP,
        job(),
        [pod(ended(113, message="setup failed: `x TOKEN` exit 2"))],
        RunState.FAILED,
        "",
    ),
    (
        "own-words-5",
        BEFORE,
        job(),
        [pod(ended(5, message="setup failed: nothing TOKEN"))],
        RunState.FAILED,
        "",
    ),
    (
        "own-timeout",
        LIMITED,
        job(),
        [
            pod(
                ended(0, message="timed out after 20s")
                | {
                    "state": {
                        "terminated": {
                            "exitCode": 0,
                            "startedAt": at(5),
                            "finishedAt": at(6),
                            "message": "timed out after 20s",
                        }
                    }
                }
            )
        ],
        RunState.SUCCEEDED,
        "",
    ),
    (
        "evicted-unknown",
        replace(LIMITED, tries=1),
        job(),
        [
            pod(
                ended(137, reason="ContainerStatusUnknown", startedAt=None),
                phase="Failed",
                reason="Evicted",
                message="full",
            )
        ],
        RunState.ERROR,
        "evicted: full",
    ),
    (
        "evicted-forgot",
        replace(LIMITED, tries=1),
        job(failed("BackoffLimitExceeded")),
        [pod(waiting("ContainerCreating"), phase="Failed", reason="Evicted", message="full")],
        RunState.ERROR,
        "evicted: full",
    ),
    (
        "overdue",
        LIMITED,
        job(failed("DeadlineExceeded"), given_up="timed out after 20s"),
        [],
        RunState.FAILED,
        "timed out after 20s",
    ),
    ("own-113", BEFORE, job(), [pod(ended(113))], RunState.FAILED, ""),
    (
        "no-start",
        BEFORE,
        job(),
        [pod(ended(128, reason="StartError", message='exec: "sh": not found'))],
        RunState.ERROR,
        'the container can\'t be started: exec: "sh": not found',
    ),
    (
        "checkout",
        RETRIED,
        job(),
        [
            pod(
                ended(90, job_labels.CHECKOUT_CONTAINER, message="no such commit"),
                CREATING,
                phase="Failed",
            )
        ],
        RunState.ERROR,
        "checkout failed: no such commit",
    ),
    (
        "checkout-code",
        BEFORE,
        job(failed()),
        [pod(ended(1, job_labels.CHECKOUT_CONTAINER), CREATING, phase="Failed")],
        RunState.ERROR,
        "checkout failed: exit 1",
    ),
    (
        "evicted",
        BEFORE,
        job(),
        [pod(ended(137), phase="Failed", **EVICTED)],
        RunState.ERROR,
        "evicted: The node was low on resource: memory.",
    ),
    (
        "preempted",
        BEFORE,
        job(),
        [
            pod(
                ended(137),
                phase="Failed",
                conditions=({**DISRUPTED, "reason": "PreemptionByScheduler"},),
            )
        ],
        RunState.ERROR,
        "preempted: m",
    ),
    (
        "lost",
        BEFORE,
        job(),
        [pod(ended(137, reason="ContainerStatusUnknown"), phase="Failed")],
        RunState.ERROR,
        "lost: the node no longer knows how the command ended",
    ),
    (
        "deleted",
        BEFORE,
        job(failed()),
        [pod(ended(143), gone_at=at(20))],
        RunState.ERROR,
        "its pod was deleted",
    ),
    (
        "no-code",
        BEFORE,
        job(),
        [pod(phase="Failed", message="who knows")],
        RunState.ERROR,
        "its pod ended without an exit code: who knows",
    ),
    (
        "no-pod",
        BEFORE,
        job(failed(message="Job was\nactive longer")),
        [],
        RunState.ERROR,
        "no pod is left to inspect: Job was active longer",
    ),
    (
        "cancelled",
        BEFORE,
        job(failed(), cancelled_by="ada"),
        [pod(ended(143))],
        RunState.CANCELLED,
        "",
    ),
    ("cancelled-queued", BEFORE, job(failed(), cancelled_by="ada"), [], RunState.CANCELLED, ""),
    (
        "cancelled-too-late",
        BEFORE,
        job(cancelled_by="ada"),
        [pod(ended(0))],
        RunState.SUCCEEDED,
        "",
    ),
    (
        "given-up",
        BEFORE,
        job(failed(), given_up="image x can't be had"),
        [],
        RunState.ERROR,
        "image x can't be had",
    ),
    ("retried", RETRIED, job(), [pod(ended(1)), pod(ended(0), number=2)], RunState.SUCCEEDED, ""),
    ("twice", RETRIED, job(), [pod(ended(1)), pod(ended(2), number=2)], RunState.FAILED, ""),
]


@pytest.mark.parametrize("case", PENDING, ids=[case[0] for case in PENDING])
def test_why_it_is_pending(case: tuple[str, Object, list[Object], RunState, str]) -> None:
    _, thing, found, state, reason = case
    assert know(thing, *found) == (state, reason)
    assert run_status.derive_record(BEFORE, thing, found).ended_at is None


@pytest.mark.parametrize("case", ENDINGS, ids=[case[0] for case in ENDINGS])
def test_how_it_ended(case: tuple[str, RunRecord, Object, list[Object], RunState, str]) -> None:
    _, before, thing, found, state, reason = case
    assert know(thing, *found, before=before) == (state, reason)
    record = run_status.derive_record(before, thing, found)
    assert record.ended_at is not None
    assert run_status.derive_record(record, job(**noted(thing)), []).state is state, (
        "it is forgotten when its pods are gone"
    )


def noted(thing: Object) -> dict[str, str]:
    return {
        name.removeprefix(job_labels.FYRE_PREFIX).replace("-", "_"): text
        for name, text in pod_facts.get_annotations(thing).items()
    }


def test_the_facts_of_an_end() -> None:
    record = run_status.derive_record(
        RETRIED, job(), [pod(ended(1)), pod(ended(4, imageID="x"), number=2)]
    )
    assert (record.tries, record.exit_code, record.image_id) == (2, 4, "sha256:1")
    assert (record.started_at, record.ended_at) == (BEGIN + 60, BEGIN + 85)


def test_a_failure_that_may_be_retried_is_no_end() -> None:
    assert know(job(), pod(ended(1)), before=RETRIED) == (RunState.QUEUED, "")
    found = [pod(ended(1)), pod(running(), number=2)]
    assert know(job(), *found, before=RETRIED) == (RunState.RUNNING, "try 2 of 2")


def test_a_disruption_that_kubernetes_ignores_is_no_end() -> None:
    assert (
        know(job(), pod(CLEAN, CREATING, phase="Failed", conditions=(DISRUPTED,)))[0]
        is RunState.QUEUED
    )


TAKEN = [
    pod(CLEAN, ended(143), phase="Failed", gone_at=at(20)),
    pod(CLEAN, ended(0), phase="Succeeded", gone_at=at(20)),
    pod(ended(137, job_labels.CHECKOUT_CONTAINER), CREATING, phase="Failed", gone_at=at(20)),
    pod(phase="Pending", gone_at=at(20)),
]


@pytest.mark.parametrize("taken", TAKEN, ids=["killed", "polite", "checkout", "no-node"])
def test_9_22_what_its_controller_will_run_again_is_not_over(taken: Object) -> None:
    gone = taken | {pod_facts.DELETED_MARK: True}
    suspended = job(spec={"suspend": True})
    for one in (taken, gone):
        assert know(suspended, one) == (RunState.QUEUED, "suspended")
        assert know(job(), one)[0] in (RunState.QUEUED, RunState.STARTING)
    again = [gone, pod(CLEAN, running(), number=2)]
    assert know(job(), *again)[0] is RunState.RUNNING
    assert know(job(), gone, pod(CLEAN, ended(3), number=2)) == (RunState.FAILED, "")
    assert know(job(), gone, pod(CLEAN, ended(0), number=2)) == (RunState.SUCCEEDED, "")
    cancelled = job(spec={"suspend": True}, cancelled_by="ada")
    assert know(cancelled, gone)[0] is RunState.CANCELLED


@pytest.mark.parametrize("taken", TAKEN[:3], ids=["killed", "polite", "checkout"])
def test_9_23_a_deleted_pod_is_an_end_once_its_job_says_so(taken: Object) -> None:
    over = job(failed()) if taken is not TAKEN[1] else job({"type": "Complete", "status": "True"})
    state, reason = know(over, taken | {pod_facts.DELETED_MARK: True})
    assert (state, reason.startswith("its pod was deleted")) == (RunState.ERROR, True)


def test_9_24_a_node_that_does_not_answer_is_named_and_its_runs_end() -> None:
    silent = (
        SCHEDULED,
        {"type": "Ready", "status": "False"},
        {"type": "ContainersReady", "status": "True"},
    )
    lost = pod(CLEAN, running(), conditions=silent, gone_at=at(20))
    assert know(job(), lost) == (RunState.RUNNING, "its node does not answer")
    fetching = pod(running(job_labels.CHECKOUT_CONTAINER), CREATING, conditions=silent)
    assert know(job(), fetching) == (RunState.STARTING, "its node does not answer")
    lost[pod_facts.LOST_MARK] = True
    assert know(job(cancelled_by="ada"), lost)[0] is RunState.CANCELLED
    for text, state in (
        (run_status.LOST_NODE, RunState.ERROR),
        ("timed out after 20s", RunState.FAILED),
    ):
        assert know(job(given_up=text), lost) == (state, text)


def test_9_24_a_command_that_was_never_told_to_end_is_told_by_its_own_exit_code() -> None:
    """On a node that comes back, after its pods were to go: nobody could tell them."""
    by_itself = {"message": "started by Fyre" + job_labels.ENDED_BY_ITSELF}
    as_told = {"message": "started by Fyre" + job_labels.TOLD_TO_END}
    gone = {"gone_at": at(20), "conditions": (SCHEDULED, DISRUPTED)}
    complete = job({"type": "Complete", "status": "True"})
    good = pod(CLEAN, ended(0, **by_itself), phase="Succeeded", **gone)
    for over in (job(), complete):
        assert know(over, good) == (RunState.SUCCEEDED, "")
    assert know(job(cancelled_by="ada"), good)[0] is RunState.CANCELLED
    bad = pod(CLEAN, ended(3, **by_itself), phase="Failed", **gone)
    assert know(job(failed()), bad) == (RunState.FAILED, "")
    assert know(job(), bad) == (RunState.QUEUED, "")  # its Job has yet to say what follows
    killed = pod(CLEAN, ended(143, **as_told), phase="Failed", **gone)
    assert know(job(failed()), killed) == (RunState.ERROR, "disrupted: m")
    polite = pod(CLEAN, ended(0, **as_told), phase="Succeeded", **gone)
    assert know(complete, polite) == (RunState.ERROR, "disrupted: m")
    # The kubelet counts it as evicted, and its Job runs the command again.
    evicted = pod(CLEAN, ended(0, **by_itself), phase="Failed", **(gone | EVICTED))
    assert know(job(), evicted)[0] is RunState.QUEUED


def test_9_24_what_becomes_of_a_pod_before_its_command_begins_is_said() -> None:
    lost = DISRUPTED | {"reason": "DeletionByTaintManager"}
    taken = {"gone_at": at(20), "conditions": (SCHEDULED, lost)}
    said = (RunState.STARTING, "its node was tainted or lost")
    for statuses in ([], [running(job_labels.CHECKOUT_CONTAINER), CREATING]):
        assert know(job(), pod(*statuses, phase="Pending", **taken)) == said


def test_events_tell_of_what_has_no_pod() -> None:
    assert know(job(), hint="exceeded quota: few") == (RunState.QUEUED, "exceeded quota: few")
    stuck = pod(waiting("ContainerCreating"), phase="Pending")
    assert run_status.is_creating_containers([stuck])
    assert know(job(), stuck, hint="FailedMount: no volume") == (
        RunState.STARTING,
        "FailedMount: no volume",
    )
    assert not run_status.is_creating_containers([pod(running())])


def test_a_pod_that_was_deleted_still_counts() -> None:
    assert know(job(), pod(ended(0)) | {pod_facts.DELETED_MARK: True}) == (RunState.SUCCEEDED, "")


def test_the_outcome_on_the_job_is_the_record() -> None:
    record = replace(run_status.derive_record(BEFORE, job(), [pod(ended(3))]), reason="é $")
    thing = job(outcome=run_status.format_outcome(record), reported="r", carried=f'["{SHARED}"]')
    again = run_status.derive_record(BEFORE, thing, [pod(running())])
    assert again == replace(record, reported="r", carried=(SHARED,))


TIMES = st.one_of(st.none(), st.integers(0, 59).map(at))
TEXTS = st.sampled_from(["", "a: b\nc", "timed out after 1m", "setup failed: x", "not checked out"])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    """An object in which any field may be missing; None is not written down either."""
    return st.fixed_dictionaries({}, optional=fields).map(
        lambda o: {k: v for k, v in o.items() if v is not None}
    )


REASONS = st.sampled_from(
    ["", "Error", "OOMKilled", "StartError", "ContainerStatusUnknown", "Completed"]
)
WAITS = st.sampled_from(
    [
        *sorted(run_status.IMAGE_WAIT_REASONS | run_status.CONFIG_WAIT_REASONS),
        "PodInitializing",
        "ContainerCreating",
    ]
)
DEAD = st.builds(
    lambda code, more: {"exitCode": code, **more},
    st.sampled_from([0, 1, 90, 113, 126, 127, 137, 139, 143, 255]),
    some(reason=REASONS, message=TEXTS, startedAt=TIMES, finishedAt=TIMES),
)
STATES = st.one_of(
    st.just({}),
    st.builds(lambda w: {"waiting": w}, some(reason=WAITS, message=TEXTS)),
    st.builds(lambda r: {"running": r}, some(startedAt=TIMES)),
    st.builds(lambda t: {"terminated": t}, DEAD),
)


def statuses(container: str) -> st.SearchStrategy[list[Object] | None]:
    more = some(state=STATES, image=st.just("i"), imageID=st.sampled_from(["", "sha256:1"]))
    return st.one_of(st.none(), st.just([]), more.map(lambda o: [{"name": container, **o}]))


def conditions(*kinds: str) -> st.SearchStrategy[list[Object] | None]:
    yes = st.sampled_from(["True", "False", "Unknown"])
    more = some(
        reason=st.sampled_from(["", "DeadlineExceeded", "Unschedulable"]),
        message=TEXTS,
        lastTransitionTime=TIMES,
    )
    one = st.builds(
        lambda kind, s, m: {"type": kind, "status": s, **m}, st.sampled_from(kinds), yes, more
    )
    return st.one_of(st.none(), st.lists(one, max_size=2))


PODS = st.builds(
    lambda number, gone, status, marked: {
        "metadata": {
            "name": f"p{number}",
            "uid": f"u{number}",
            "creationTimestamp": at(number),
            **({"deletionTimestamp": gone} if gone else {}),
        },
        "spec": {},
        "status": status,
        **({pod_facts.DELETED_MARK: True} if marked else {}),
    },
    st.integers(0, 9),
    TIMES,
    some(
        phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        message=TEXTS,
        reason=st.sampled_from(["Evicted", "DeadlineExceeded"]),
        conditions=conditions("PodScheduled", DISRUPTED["type"]),
        initContainerStatuses=statuses(job_labels.CHECKOUT_CONTAINER),
        containerStatuses=statuses(job_labels.COMMAND_CONTAINER),
    ),
    st.booleans(),
)
JOBS = st.builds(
    lambda status, spec, notes: {
        "metadata": {"annotations": notes},
        "spec": spec,
        **({"status": status} if status else {}),
    },
    some(
        completionTime=TIMES,
        conditions=conditions("Complete", "Failed", "FailureTarget", "Suspended"),
    ),
    some(suspend=st.booleans()),
    some(
        **{
            job_labels.CANCELLED_BY_ANNOTATION: st.just("ada"),
            job_labels.GIVEN_UP_ANNOTATION: st.just("no image"),
        }
    ),
)
FOUND = st.lists(PODS, max_size=3)


@settings(max_examples=2 * settings().max_examples)
@given(first=st.tuples(JOBS, FOUND), second=st.tuples(JOBS, FOUND), retries=st.integers(0, 2))
def test_any_status_can_be_read_and_what_has_ended_stays_ended(
    first: tuple[Object, list[Object]], second: tuple[Object, list[Object]], retries: int
) -> None:
    before = RunRecord(replace(RUN, spec=replace(RUN.spec, retries=retries)))
    one = run_status.derive_record(before, *first)
    run_status.find_stuck_reason(first[1])
    two = run_status.derive_record(one, *second)
    assert "\n" not in one.reason
    assert (one.ended_at is not None) == one.state.is_final
    assert (one.exit_code is not None) <= one.state.is_final
    assert two.tries >= one.tries
    if one.state.is_final:
        assert replace(two, cancelled_by="") == replace(one, cancelled_by="")
        told = json.loads(run_status.format_outcome(one))
        assert told["state"] == one.state
    assert run_status.derive_record(one, *first) == one, "the same again is no news"


@pytest.mark.parametrize("text", ["", "nothing", "[]", '{"state": "garbage"}', '{"exit_code": 0}'])
def test_an_outcome_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever of json's and ours
        run_status.parse_outcome(text)


def test_an_outcome_of_a_later_version_is_read() -> None:
    assert run_status.parse_outcome('{"state": "failed", "exit_code": 3, "colour": "red"}') == {
        "state": RunState.FAILED,
        "exit_code": 3,
    }


@pytest.mark.parametrize("settled", [False, True])
def test_9_3_an_end_that_is_not_posted_outlives_its_job(*, settled: bool) -> None:
    cache, run = ObjectCache(), RUN
    outcome = run_status.format_outcome(RunRecord(run, RunState.FAILED, 1, 1.0, 2.0, 3))
    notes = {"run": json.dumps(runs.to_json(run)), "outcome": outcome}
    ended = job(labels={job_labels.INSTANCE_LABEL: "fyre", job_labels.KEY_LABEL: run.key},
                **notes, **({"settled": "true"} if settled else {}))  # fmt: skip
    ended["metadata"] |= {
        "name": f"fyre-{RUN.key}",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "1",
    }
    key = cache.upsert_job(ended)
    assert key is not None
    cache.refresh_record(key)
    assert cache.remove_job(key) is not settled  # if there is something to report
    record = cache.get_record(key)
    assert (record is None) is settled
    assert settled or (record is not None and record.exit_code == 3)
