"""What becomes of a record when the command has ended, and its outputs are on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.outputs import run_outputs
from fyre.engines.kubernetes.outputs.run_outputs import OutputFacts, SealedOutputs
from fyre.engines.kubernetes.outputs.upload_agent import ALL_KEPT, NOTHING_TO_KEEP
from fyre.message.spec import RunSpec
from fyre.runs.results import RunResults
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from tests.unit.engines.kubernetes.test_job_manifest import RUN
from tests.unit.engines.kubernetes.test_run_status import Object, at, ended, running

JOB: Object = {
    "metadata": {"annotations": {job_labels.UPLOAD_ANNOTATION: "600"}},
    "spec": {},
    "status": {},
}
GOOD = RunRecord(RUN, RunState.SUCCEEDED, tries=1, started_at=1.0, ended_at=2.0, exit_code=0)
BAD = replace(GOOD, state=RunState.FAILED, exit_code=3)
CHECKED = OutputFacts(is_checked=True)
SEALED = SealedOutputs(RunResults(2, 10))


def pod(uid: str = "u1", *, code: int = 0, agent: Object | None = None, **more: Any) -> Object:
    """A pod whose command has ended; by default its agent is at work."""
    agent = agent or running(job_labels.UPLOAD_CONTAINER)
    return {
        "metadata": {"uid": uid, "name": uid, "creationTimestamp": at(int(uid[1:]))},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [ended(0, job_labels.CHECKOUT_CONTAINER), agent],
            "containerStatuses": [ended(code)],
            **more.pop("status", {}),
        },
        **more,
    }


def agent_said(words: str, code: int = 0) -> Object:
    return ended(code, job_labels.UPLOAD_CONTAINER, message=words)


@pytest.mark.parametrize(
    ("facts", "pods", "state", "reason"),
    [
        (OutputFacts(), [pod()], RunState.UPLOADING, ""),
        (CHECKED, [pod()], RunState.UPLOADING, ""),
        (OutputFacts(("u1",)), [pod(agent=agent_said(ALL_KEPT))], RunState.UPLOADING, ""),
        (OutputFacts(("u1",), True), [pod(phase="Succeeded")], RunState.UPLOADING, ""),
        (
            OutputFacts(("u1",), True, trouble="No space left on device"),
            [pod()],
            RunState.UPLOADING,
            "its outputs can't be stored yet: No space left on device",
        ),
        (OutputFacts(), [pod(agent=agent_said(NOTHING_TO_KEEP))], RunState.SUCCEEDED, ""),
        (OutputFacts(), [pod(agent=agent_said("no way", 1))], RunState.UPLOADING, ""),
        (CHECKED, [pod(agent=agent_said("no way", 1))], RunState.ERROR, "outputs lost: no way"),
        (
            CHECKED,
            [pod(**{pod_facts.DELETED_MARK: True})],
            RunState.ERROR,
            "outputs lost: its pod ended before they were stored",
        ),
        (
            CHECKED,
            [pod(**{pod_facts.LOST_MARK: True})],
            RunState.ERROR,
            "outputs lost: its pod ended before they were stored",
        ),
        (
            OutputFacts(lost="it can't be read"),
            [pod()],
            RunState.ERROR,
            "outputs lost: it can't be read",
        ),
        # The listing of a try that failed is not the run's.
        (OutputFacts(("u1",), True), [pod(code=1), pod("u2")], RunState.UPLOADING, ""),
        (
            OutputFacts(("u1",), True),
            [pod(code=1), pod("u2", agent=agent_said("no way"))],
            RunState.ERROR,
            "outputs lost: no way",
        ),
        # All pods are gone, as after a long absence of the receiver.
        (OutputFacts(), [], RunState.UPLOADING, ""),
        (OutputFacts(("u1",), True), [], RunState.UPLOADING, ""),
        (CHECKED, [], RunState.SUCCEEDED, ""),
        # An image without Python: what was said before the kubelet gave up.
        (
            CHECKED,
            [
                pod(
                    agent={
                        **agent_said(""),
                        "lastState": {"terminated": {"message": "sh: python3: not found"}},
                    }
                )
            ],
            RunState.ERROR,
            "outputs lost: sh: python3: not found",
        ),
    ],
)
def test_10_what_a_success_becomes(
    facts: OutputFacts, pods: list[Object], state: RunState, reason: str
) -> None:
    record = run_outputs.with_outputs(GOOD, JOB, pods, facts)
    assert (record.state, record.reason) == (state, reason)
    if state is RunState.UPLOADING:
        assert (record.exit_code, record.ended_at) == (None, None)


@pytest.mark.parametrize("tries", [0, 1])
def test_10_declared_outputs_of_a_pod_that_is_gone_are_lost(tries: int) -> None:
    """After a restart not even a start is known of a run whose pods are gone."""
    for declared, state in ((("m.pt",), RunState.ERROR), (("?m.pt",), RunState.SUCCEEDED)):
        run = replace(RUN, spec=RunSpec("c", outputs=declared))
        good = replace(GOOD, run=run, tries=tries)
        record = run_outputs.with_outputs(good, JOB, [], CHECKED)
        assert record.state is state
        kept = run_outputs.with_outputs(good, JOB, [], OutputFacts(("u1",), is_checked=True))
        assert kept.state is RunState.UPLOADING
    failed = {**JOB, "status": {"failed": 1}}
    bad = replace(BAD, tries=tries)
    record = run_outputs.with_outputs(bad, failed, [], CHECKED)
    assert record.results is not None
    assert "what it left is not known" in record.results.problems[0]


def test_10_what_failed_stays_what_it_is_and_says_what_is_lost() -> None:
    record = run_outputs.with_outputs(BAD, JOB, [pod(code=3, agent=agent_said("no"))], CHECKED)
    assert (record.state, record.exit_code) == (RunState.FAILED, 3)
    assert record.results == RunResults(problems=("outputs lost: no",), is_partial=True)


def test_10_sealed_outputs_end_it() -> None:
    facts = OutputFacts(("u1",), True, SEALED)
    assert run_outputs.with_outputs(GOOD, JOB, [pod()], facts) == replace(
        GOOD, results=SEALED.results
    )
    missing = replace(facts, sealed=replace(SEALED, failure_reason="it wrote no m.pt"))
    record = run_outputs.with_outputs(GOOD, JOB, [pod()], missing)
    assert (record.state, record.reason) == (RunState.FAILED, "it wrote no m.pt")
    assert run_outputs.with_outputs(BAD, JOB, [pod(code=3)], missing) == replace(
        BAD, results=SEALED.results
    )


def test_10_a_job_without_an_agent_and_a_run_that_never_began_end_as_before() -> None:
    plain = {**JOB, "metadata": {"annotations": {}}}
    assert run_outputs.with_outputs(GOOD, plain, [pod()], OutputFacts()) == GOOD
    waiting = replace(BAD, tries=0, exit_code=None)
    assert run_outputs.with_outputs(waiting, JOB, [], OutputFacts()) == waiting
