"""The record of a run, derived from its Job and pods: pure, total, level-triggered.

Pods are looked at before the Job: its conditions come about two seconds after a container's end.
Only the kubelet, the scheduler and the Job controller are believed; what they don't say is not
guessed.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from fyre.engines.kubernetes import failure_reason, job_hold, job_labels, pod_facts
from fyre.engines.kubernetes.outputs import run_outputs
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.runs.run import OUTCOME_FORM, Run, RunRecord, outcome_from_json
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT
from fyre.stored_form import UnreadableError, as_shas, parse_json

IMAGE_WAIT_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
CONFIG_WAIT_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
"""The kubelet's words for a container that waits.

They are from k8s.io/kubernetes, pkg/kubelet/images and kuberuntime.
"""


@dataclass(frozen=True, slots=True)
class StuckReason:
    """The reason why a run makes no progress.

    ``permanent``: somebody would have to change something, so the run need not wait.
    """

    reason: str
    permanent: bool = False


def first_record(run: Run, job: KubeObject) -> RunRecord:
    """Return the record of a Job that is seen for the first time, before its pods are known."""
    is_ignored = bool(run.spec.outputs) and not run_outputs.keeps_outputs(job)
    record = RunRecord(run, unsupported=("outputs",) if is_ignored else ())
    return _held_record(record, job) if job_hold.is_held(job) else record


def derive_record(
    previous: RunRecord,
    job: KubeObject,
    run_pods: Collection[KubeObject],
    event_hint: str = "",
    foreign_success: str = "",
) -> RunRecord:
    """Return the record as it is now.

    ``event_hint`` is what events say of a run that has no pod or no container yet,
    ``foreign_success`` a pod that its Job counts as a success, although somebody else made it.
    """
    record = _with_annotations(previous, job)
    outcome = pod_facts.get_annotations(job).get(job_labels.OUTCOME_ANNOTATION)
    if outcome is not None:
        return _with_outcome(record, outcome, job)
    if previous.is_outcome_unreadable:  # somebody has removed it: the run's end is not known yet
        record = _with_annotations(RunRecord(previous.run), job)
    elif previous.state.is_final:
        return record  # what has ended stays ended, whatever becomes of its pods
    tries = sorted(
        run_pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
    )
    record = _with_progress(record, tries)
    final = _final_record(record, job, tries)
    if final is not None:
        return _without_foreign_success(final, tries, foreign_success)
    if job["metadata"].get("deletionTimestamp") and not pod_facts.active_pods(tries):
        return _deleted_record(record, job, tries)
    # A Job with a pod was started by somebody else: what Kubernetes does with it is followed.
    if job_hold.is_held(job) and not tries:
        return _held_record(record, job)
    return _pending_record(record, job, tries, event_hint)


def parse_outcome(text: str) -> dict[str, Any]:
    """Return what ``format_outcome`` wrote, in this version or a later one.

    Raises ``UnreadableError``.
    """
    return OUTCOME_FORM.decode(parse_json(text))


def parse_sha_list(text: str) -> tuple[str, ...]:
    """Return the SHAs that share an outcome. Raises ``UnreadableError``."""
    return as_shas(parse_json(text))


def format_outcome(record: RunRecord) -> str:
    """Return the part of a record that is stored on the Job, as JSON."""
    return json.dumps(OUTCOME_FORM.encode(record), separators=(",", ":"))


def find_stuck_reason(run_pods: Collection[KubeObject]) -> StuckReason | None:
    """Return what keeps the newest pod from starting its command, in Kubernetes' own words."""
    for pod in pod_facts.nonterminal_pods(run_pods):
        unscheduled = pod_facts.get_condition(pod, "PodScheduled")
        if unscheduled.get("status") == "False":
            return StuckReason(
                f"unschedulable: {pod_facts.to_one_line(unscheduled.get('message', ''))}"
            )
        for status in pod_facts.container_statuses(pod):
            waiting = status.get("state", {}).get("waiting", {})
            reason = waiting.get("reason", "")
            message = pod_facts.to_one_line(waiting.get("message", ""))
            explanation = pod_facts.shorten_error_chain(message) or reason
            if reason in IMAGE_WAIT_REASONS | CONFIG_WAIT_REASONS:
                image = pod_facts.requested_image(pod, status["name"])
                if failure_reason.is_other_architecture(message):
                    explanation = failure_reason.other_architecture(message, image)
                elif reason in IMAGE_WAIT_REASONS:
                    explanation = f"image {image} can't be had: {explanation}"
                return StuckReason(explanation, permanent=True)
    return None


def is_creating_containers(run_pods: Collection[KubeObject]) -> bool:
    """Return True if a pod is on a node and none of its containers has begun.

    Then only events say why: a volume, a sandbox.
    """
    return any(
        pod_facts.get_condition(pod, "PodScheduled").get("status") == "True"
        and all(map(_is_being_created, pod_facts.container_statuses(pod)))
        for pod in pod_facts.nonterminal_pods(run_pods)
    )


def _is_being_created(container_status: KubeObject) -> bool:
    waiting = container_status.get("state", {}).get("waiting", {})
    return waiting.get("reason") in ("ContainerCreating", "PodInitializing")


def _with_annotations(previous: RunRecord, job: KubeObject) -> RunRecord:
    job_annotations = pod_facts.get_annotations(job)
    return replace(
        previous,
        reported=job_annotations.get(job_labels.REPORTED_ANNOTATION, ""),
        carried=parse_sha_list(job_annotations.get(job_labels.CARRIED_ANNOTATION, "[]")),
        cancelled_by=job_annotations.get(job_labels.CANCELLED_BY_ANNOTATION, ""),
    )


def _with_outcome(record: RunRecord, text: str, job: KubeObject) -> RunRecord:
    """Return the record with the outcome that is stored on its Job.

    One that can't be read is an error that says so, unless the end was known before: whatever the
    Job and its pods say by now is less than what was written down.
    """
    data = None
    with suppress(UnreadableError):
        data = parse_json(text)
    outcome = outcome_from_json(data)
    if not outcome["is_outcome_unreadable"]:
        return replace(record, **outcome)
    if record.state.is_final and not record.is_outcome_unreadable:
        return record
    unreadable = replace(record, **outcome)
    return unreadable if unreadable.ended_at is not None else _with_end_time(unreadable, job, None)


def _with_progress(record: RunRecord, run_pods: list[KubeObject]) -> RunRecord:
    """Return the record with the starts so far, the first one's time, and the image that truly
    ran.
    """
    started_pods = [pod for pod in run_pods if pod_facts.has_started(pod)]
    times = [start for pod in started_pods if (start := pod_facts.command_started_at(pod))]
    image_ids = (pod_facts.command_status(pod).get("imageID", "") for pod in reversed(started_pods))
    digest = next(filter(None, image_ids), record.image_id)
    missing = next(filter(None, map(pod_facts.missing_code, reversed(run_pods))), "")
    first_start = min(times, default=None)
    if first_start is not None:  # whole seconds, which may lie before the launch
        first_start = max(first_start, record.run.created_at)
    return replace(
        record,
        tries=max(record.tries, len(started_pods)),
        started_at=record.started_at if record.started_at is not None else first_start,
        image_id=digest,
        missing_code=(missing,) if missing else record.missing_code,
    )


def _final_record(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject]
) -> RunRecord | None:
    """Return the record of the run's end, None if it has not ended."""
    exited_0 = [pod for pod in run_pods if pod_facts.terminated_state(pod).get("exitCode") == 0]
    good = next((pod for pod in exited_0 if not pod_facts.ended_after_deletion(pod)), None)
    if good is not None and pod_facts.has_timed_out(good, record.run.spec.timeout):
        return _terminated_record(record, job, good) or _explained_record(record, job, good)
    is_complete = pod_facts.get_condition(job, "Complete").get("status") == "True"
    if good is None and exited_0:
        # The command may have been told to end, and exited with 0 on that. Only its Job knows if it
        # will run again, as after a suspension.
        terminated = _terminated_record(record, job, exited_0[0])
        if terminated is not None:
            return terminated
        good = next(filter(_has_succeeded_by_itself, exited_0), None)
        if good is None and is_complete:
            return _explained_record(record, job, exited_0[0])
    if good is not None or is_complete:
        succeeded = replace(record, state=RunState.SUCCEEDED, exit_code=0, reason="")
        return _with_end_time(succeeded, job, good)
    return _failed_record(record, job, run_pods)


def _without_foreign_success(
    final: RunRecord, run_pods: list[KubeObject], foreign_success: str
) -> RunRecord:
    """Return the record of the end, as an error if only somebody else's pod has succeeded."""
    is_own = any(pod_facts.terminated_state(pod).get("exitCode") == 0 for pod in run_pods)
    if final.state is not RunState.SUCCEEDED or is_own or not foreign_success:
        return final
    reason = f"its Job took a pod of somebody else for its own: {foreign_success}"
    return replace(final, state=RunState.ERROR, exit_code=None, reason=reason)


JOB_DELETED_REASON = "its Job was deleted"


def _deleted_record(record: RunRecord, job: KubeObject, run_pods: list[KubeObject]) -> RunRecord:
    """Return the record of a run whose Job is being deleted, however long a finalizer keeps it.

    The Job controller creates no further pod for it, and puts no end to it.
    """
    deleted_at = pod_facts.parse_time(job["metadata"]["deletionTimestamp"])
    record = replace(record, ended_at=deleted_at)
    error = replace(record, state=RunState.ERROR, reason=JOB_DELETED_REASON)
    last = next(reversed(run_pods), None)
    return _terminated_record(record, job, last) or _with_end_time(error, job, last)


def _explained_record(record: RunRecord, job: KubeObject, pod: KubeObject) -> RunRecord:
    return _with_end_time(failure_reason.explain_failure(record, job, pod), job, pod)


def _failed_record(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject]
) -> RunRecord | None:
    """Return the record of the end where no pod succeeded; None while another try may come."""
    has_job_failed = pod_facts.get_condition(job, "Failed").get("status") == "True"
    ended = [pod for pod in run_pods if _counts_as_failure(pod) or pod_facts.LOST_MARK in pod]
    # What became of a pod that was told to go is its Job's to say: the controller may count it, or
    # run the command again, as after a suspension, or where it had no node yet.
    failed = [pod for pod in ended if not _was_told_to_go(pod)]
    fatal = [pod for pod in failed if _fails_job(pod)]
    last = next(reversed(fatal or failed or run_pods), None)
    has_no_active_pod = not pod_facts.active_pods(run_pods)
    if has_job_failed or ((ended or job["spec"].get("suspend")) and has_no_active_pod):
        terminated = _terminated_record(record, job, last)
        if terminated is not None:
            return terminated
    if has_job_failed or fatal or len(failed) > (record.run.spec.retries or 0):
        # A kubelet that evicts may forget that a command ran: then more starts are known than the
        # pods show.
        has_begun = record.tries > sum(pod_facts.has_started(pod) for pod in run_pods)
        explained = failure_reason.explain_failure(record, job, last, has_begun=has_begun)
        return _with_end_time(explained, job, last)
    return None


def _has_succeeded_by_itself(pod: KubeObject) -> bool:
    """Return True if a command that exited with 0 did not do so on being told to end.

    A node that comes back may report that of a pod which was taken for lost long before. A pod that
    the kubelet evicts fails all the same, and its Job runs the command again.
    """
    return pod_facts.has_ended_by_itself(pod) and pod_facts.pod_phase(pod) == "Succeeded"


def _was_told_to_go(pod: KubeObject) -> bool:
    """Return True if somebody deleted a pod, as the Job controller does for a suspension."""
    return pod_facts.deletion_requested_at(pod) is not None


def _terminated_record(
    record: RunRecord, job: KubeObject, pod: KubeObject | None
) -> RunRecord | None:
    """Return the record of a run that a person or Fyre wanted to end; None for other runs.

    How its pods took that does not matter.
    """
    given_up = pod_facts.get_annotations(job).get(job_labels.GIVEN_UP_ANNOTATION)
    if record.cancelled_by:
        return _with_end_time(replace(record, state=RunState.CANCELLED, reason=""), job, pod)
    if not given_up:
        return None
    state = RunState.FAILED if given_up.startswith(TIMED_OUT) else RunState.ERROR
    return _with_end_time(replace(record, state=state, reason=given_up), job, pod)


def _held_record(record: RunRecord, job: KubeObject) -> RunRecord:
    reason = pod_facts.to_one_line(job_hold.hold_reason(job))
    return replace(record, state=RunState.WAITING, reason=reason)


def _pending_record(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject], event_hint: str
) -> RunRecord:
    """Return the record with what the run is doing, and why if it is doing nothing."""
    active = pod_facts.active_pods(run_pods)
    has_begun = any(map(pod_facts.has_started, active))
    if any(map(pod_facts.is_node_silent, active)):
        state = RunState.RUNNING if has_begun else RunState.STARTING
        return replace(record, state=state, reason="its node does not answer")
    if has_begun:
        return replace(record, state=RunState.RUNNING, reason=_retry_text(record))
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get(job_labels.KUEUE_QUEUE_LABEL, "")
        reason = f"waiting in queue {queue}" if queue else "suspended"
        return replace(record, state=RunState.QUEUED, reason=reason)
    stuck = find_stuck_reason(run_pods)
    if stuck is not None:
        state = RunState.STARTING if stuck.permanent else RunState.QUEUED
        return replace(record, state=state, reason=stuck.reason)
    if not active:
        return replace(record, state=RunState.QUEUED, reason=event_hint or _retry_text(record))
    return replace(record, state=RunState.STARTING, reason=_start_progress(active) or event_hint)


def _start_progress(active: list[KubeObject]) -> str:
    """Return what becomes of pods that are on a node, and whose command has not begun."""
    # Another pod comes once this one is gone. A node that is lost may take long to say so.
    disrupted = next(filter(None, map(failure_reason.disruption_word, active)), "")
    is_fetching = any(map(pod_facts.is_checkout_running, active))
    return disrupted or ("checking out" if is_fetching else "")


LOST_NODE = "lost with its node, which does not answer"
"""The reason of a run whose command was started on such a node."""


def _retry_text(record: RunRecord) -> str:
    tries = (record.run.spec.retries or 0) + 1
    if record.tries > tries:  # a queue took it away, and started it again
        return f"try {record.tries}"
    return f"try {record.tries} of {tries}" if record.tries > 1 else ""


def _counts_as_failure(pod: KubeObject) -> bool:
    """Return True if this pod's failure counts, as in the Job's failure policy."""
    if pod_facts.pod_phase(pod) != "Failed" and not pod_facts.terminated_state(pod).get("exitCode"):
        return False
    if pod_facts.terminated_state(pod).get("exitCode"):
        return True
    return pod_facts.get_condition(pod, "DisruptionTarget").get("status") != "True"


def _fails_job(pod: KubeObject) -> bool:
    command = pod_facts.terminated_state(pod)
    checkout = pod_facts.terminated_state(pod, job_labels.CHECKOUT_CONTAINER)
    return (
        command.get("exitCode") == job_labels.EXIT_NOT_STARTED
        or checkout.get("exitCode") == job_labels.EXIT_NO_CHECKOUT
    )


def _with_end_time(record: RunRecord, job: KubeObject, pod: KubeObject | None) -> RunRecord:
    """Return the record with the time of its end.

    That is the container's, else the Job's, else the time when somebody put an end to it.
    """
    condition_times = (
        pod_facts.get_condition(job, kind).get("lastTransitionTime")
        for kind in ("Failed", "FailureTarget", "Suspended")
    )
    texts = (
        pod_facts.terminated_state(pod).get("finishedAt"),
        job.get("status", {}).get("completionTime"),
        *condition_times,
    )
    times = (pod_facts.parse_time(text) for text in texts if text)
    ended_at = next((time for time in times if time is not None), record.ended_at)
    begin = record.started_at or record.run.created_at
    return replace(record, ended_at=max(ended_at, begin) if ended_at is not None else begin)
