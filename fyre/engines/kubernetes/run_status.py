"""From a Job and its pods to what is known of the run: pure, total, level-triggered.

Pods are looked at before the Job: its conditions come about two seconds after a container's end. Only what the
kubelet, the scheduler and the Job controller say is believed; what they don't say is not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from fyre.engines.kubernetes import failure_reason, job_labels, pod_facts
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.runs.run import OUTCOME_FORM, RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT
from fyre.stored_form import as_texts, parse_json

IMAGE_WAIT_REASONS = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
    "RegistryUnavailable", "SignatureValidationFailed",
})  # fmt: skip
CONFIG_WAIT_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
"""What the kubelet says of a container that waits (k8s.io/kubernetes pkg/kubelet/images, kuberuntime)."""


@dataclass(frozen=True, slots=True)
class StuckReason:
    """Why a run does not get on. ``hopeless``: somebody would have to change something, so it is not waited for."""

    reason: str
    permanent: bool = False


def derive_record(
    previous: RunRecord, job: KubeObject, run_pods: Collection[KubeObject], event_hint: str = ""
) -> RunRecord:
    """What is known now. ``hint`` is what events say of a run that has no pod or no container yet."""
    notes = _with_annotations(previous, job)
    if job_labels.OUTCOME_ANNOTATION in pod_facts.get_annotations(job):
        return replace(
            notes, **parse_outcome(pod_facts.get_annotations(job)[job_labels.OUTCOME_ANNOTATION])
        )
    if previous.state.is_final:
        return notes  # what has ended stays ended, whatever becomes of its pods
    tries = sorted(
        run_pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
    )
    seen = _with_progress(notes, tries)
    ended = _final_record(seen, job, tries)
    return ended if ended is not None else _pending_record(seen, job, tries, event_hint)


def parse_outcome(text: str) -> dict[str, Any]:
    """What ``outcome`` wrote, this version's or a later one's. Raises ``UnreadableError``."""
    return OUTCOME_FORM.decode(parse_json(text))


def parse_sha_list(text: str) -> tuple[str, ...]:
    """The SHAs that share an outcome. Raises ``UnreadableError``."""
    return as_texts(parse_json(text))


def format_outcome(record: RunRecord) -> str:
    """The part of a record that is kept on the Job, as JSON."""
    return json.dumps(OUTCOME_FORM.encode(record), separators=(",", ":"))


def find_stuck_reason(run_pods: Collection[KubeObject]) -> StuckReason | None:
    """What keeps the newest pod from starting its command, in the words of who says so."""
    for pod in pod_facts.nonterminal_pods(run_pods):
        unscheduled = pod_facts.get_condition(pod, "PodScheduled")
        if unscheduled.get("status") == "False":
            return StuckReason(
                f"unschedulable: {pod_facts.to_one_line(unscheduled.get('message', ''))}"
            )
        for status in pod_facts.container_statuses(pod):
            waiting = status.get("state", {}).get("waiting", {})
            why, message = (
                waiting.get("reason", ""),
                pod_facts.to_one_line(waiting.get("message", "")),
            )
            if why in IMAGE_WAIT_REASONS:
                return StuckReason(
                    f"image {pod_facts.requested_image(pod, status['name'])} can't be had: {pod_facts.shorten_error_chain(message) or why}",
                    permanent=True,
                )
            if why in CONFIG_WAIT_REASONS:
                return StuckReason(
                    f"{pod_facts.shorten_error_chain(message) or why}", permanent=True
                )
    return None


def is_creating_containers(run_pods: Collection[KubeObject]) -> bool:
    """Whether a pod is on a node and no container of it has begun: only events say why (a volume, a sandbox)."""
    return any(
        pod_facts.get_condition(pod, "PodScheduled").get("status") == "True"
        and all(s.get("state", {}).get("waiting", {}).get("reason") in ("ContainerCreating", "PodInitializing")
                for s in pod_facts.container_statuses(pod))
        for pod in pod_facts.nonterminal_pods(run_pods)
    )  # fmt: skip


def _with_annotations(previous: RunRecord, job: KubeObject) -> RunRecord:
    told = pod_facts.get_annotations(job)
    return replace(
        previous,
        reported=told.get(job_labels.REPORTED_ANNOTATION, ""),
        carried=parse_sha_list(told.get(job_labels.CARRIED_ANNOTATION, "[]")),
        cancelled_by=told.get(job_labels.CANCELLED_BY_ANNOTATION, ""),
    )


def _with_progress(record: RunRecord, run_pods: list[KubeObject]) -> RunRecord:
    """Starts so far, the first one's time, and the image that truly ran."""
    begun = [pod for pod in run_pods if pod_facts.has_started(pod)]
    times = [time for pod in begun if (time := pod_facts.command_started_at(pod))]
    digest = next(
        (d for pod in reversed(begun) if (d := pod_facts.command_status(pod).get("imageID", ""))),
        record.image_id,
    )
    first = min(times, default=None)
    if first is not None:  # whole seconds, which may lie before the launch's fractions
        first = max(first, record.run.created_at)
    known = record.started_at
    return replace(
        record,
        tries=max(record.tries, len(begun)),
        started_at=known if known is not None else first,
        image_id=digest,
    )


def _final_record(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject]
) -> RunRecord | None:
    """How it ended, if it has."""
    good = next(
        (pod for pod in run_pods if pod_facts.terminated_state(pod).get("exitCode") == 0), None
    )
    if good is not None and (
        pod_facts.has_timed_out(good, record.run.spec.timeout)
        or pod_facts.ended_after_deletion(good)
    ):  # and it did so politely
        return _terminated_record(record, job, good) or _with_end_time(
            failure_reason.explain_failure(record, job, good), job, good
        )
    if good is not None or pod_facts.get_condition(job, "Complete").get("status") == "True":
        return _with_end_time(
            replace(record, state=RunState.SUCCEEDED, exit_code=0, reason=""), job, good
        )
    return _failed_record(record, job, run_pods)


def _failed_record(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject]
) -> RunRecord | None:
    """How it ended where no pod of it did well; None while another try may come."""
    over = pod_facts.get_condition(job, "Failed").get("status") == "True"
    bad = [pod for pod in run_pods if _counts_as_failure(pod)]
    for_good = [pod for pod in bad if _fails_job(pod)]
    last = next(reversed(for_good or bad or run_pods), None)
    if over or ((bad or job["spec"].get("suspend")) and not pod_facts.active_pods(run_pods)):
        ended = _terminated_record(record, job, last)
        if ended is not None:
            return ended
    if over or for_good or len(bad) > (record.run.spec.retries or 0):
        # A kubelet that evicts may forget that a command ran: then more starts are known than the pods tell of.
        began = record.tries > sum(pod_facts.has_started(pod) for pod in run_pods)
        return _with_end_time(
            failure_reason.explain_failure(record, job, last, has_begun=began), job, last
        )
    return None


def _terminated_record(
    record: RunRecord, job: KubeObject, pod: KubeObject | None
) -> RunRecord | None:
    """The verdict where a person or Fyre itself wanted it ended, however its pods took that; else None."""
    given_up = pod_facts.get_annotations(job).get(job_labels.GIVEN_UP_ANNOTATION)
    if record.cancelled_by:
        return _with_end_time(replace(record, state=RunState.CANCELLED, reason=""), job, pod)
    if not given_up:
        return None
    state = RunState.FAILED if given_up.startswith(TIMED_OUT) else RunState.ERROR
    return _with_end_time(replace(record, state=state, reason=given_up), job, pod)


def _pending_record(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject], event_hint: str
) -> RunRecord:
    """What it is doing, and if it does nothing, why."""
    ours = pod_facts.active_pods(run_pods)
    if any(pod_facts.has_started(pod) for pod in ours):
        return replace(record, state=RunState.RUNNING, reason=_retry_text(record))
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name", "")
        return replace(
            record,
            state=RunState.QUEUED,
            reason=f"waiting in queue {queue}" if queue else "suspended",
        )
    stuck = find_stuck_reason(run_pods)
    if stuck is not None:
        waits = RunState.STARTING if stuck.permanent else RunState.QUEUED
        return replace(record, state=waits, reason=stuck.reason)
    if not ours:
        return replace(record, state=RunState.QUEUED, reason=event_hint or _retry_text(record))
    if any(pod_facts.is_checkout_running(pod) for pod in ours):
        return replace(record, state=RunState.STARTING, reason="checking out")
    return replace(record, state=RunState.STARTING, reason=event_hint)


def _retry_text(record: RunRecord) -> str:
    return f"try {record.tries} of {(record.run.spec.retries or 0) + 1}" if record.tries > 1 else ""


def _counts_as_failure(pod: KubeObject) -> bool:
    """Whether this pod's failure counts, as the Job's failure policy has it."""
    if pod_facts.pod_phase(pod) != "Failed" and not pod_facts.terminated_state(pod).get("exitCode"):
        return False
    if pod_facts.terminated_state(pod).get("exitCode"):
        return True
    return pod_facts.get_condition(pod, "DisruptionTarget").get("status") != "True"


def _fails_job(pod: KubeObject) -> bool:
    return (
        pod_facts.terminated_state(pod).get("exitCode") == job_labels.EXIT_NOT_STARTED
        or pod_facts.terminated_state(pod, job_labels.CHECKOUT_CONTAINER).get("exitCode")
        == job_labels.EXIT_NO_CHECKOUT
    )


def _with_end_time(record: RunRecord, job: KubeObject, pod: KubeObject | None) -> RunRecord:
    """The same with the time of its end: the container's, else the Job's, else when somebody put an end to it."""
    conditions = (
        pod_facts.get_condition(job, kind).get("lastTransitionTime")
        for kind in ("Failed", "FailureTarget", "Suspended")
    )
    times = (
        pod_facts.terminated_state(pod).get("finishedAt"),
        job.get("status", {}).get("completionTime"),
        *conditions,
    )
    known = (pod_facts.parse_time(time) for time in times if time)
    ended = next((time for time in known if time is not None), record.ended_at)
    since = record.started_at or record.run.created_at
    return replace(record, ended_at=max(ended, since) if ended is not None else since)
