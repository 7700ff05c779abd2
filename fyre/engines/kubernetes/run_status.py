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
from fyre.engines.kubernetes.pod_facts import Object
from fyre.runs.run import OUTCOME_FORM, Record
from fyre.runs.state import State
from fyre.runs.status_text import TIMED_OUT
from fyre.stored_form import as_texts, parse_json

IMAGE_TROUBLE = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
    "RegistryUnavailable", "SignatureValidationFailed",
})  # fmt: skip
CONFIG_TROUBLE = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
"""What the kubelet says of a container that waits (k8s.io/kubernetes pkg/kubelet/images, kuberuntime)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a run does not get on. ``hopeless``: somebody would have to change something, so it is not waited for."""

    reason: str
    hopeless: bool = False


def record(before: Record, job: Object, found: Collection[Object], hint: str = "") -> Record:
    """What is known now. ``hint`` is what events say of a run that has no pod or no container yet."""
    notes = _notes(before, job)
    if job_labels.OUTCOME in pod_facts.notes(job):
        return replace(notes, **read_outcome(pod_facts.notes(job)[job_labels.OUTCOME]))
    if before.state.final:
        return notes  # what has ended stays ended, whatever becomes of its pods
    tries = sorted(
        found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
    )
    seen = _seen(notes, tries)
    ended = _ended(seen, job, tries)
    return ended if ended is not None else _pending(seen, job, tries, hint)


def read_outcome(text: str) -> dict[str, Any]:
    """What ``outcome`` wrote, this version's or a later one's. Raises ``UnreadableError``."""
    return OUTCOME_FORM.decode(parse_json(text))


def read_carried(text: str) -> tuple[str, ...]:
    """The SHAs that share an outcome. Raises ``UnreadableError``."""
    return as_texts(parse_json(text))


def outcome(record: Record) -> str:
    """The part of a record that is kept on the Job, as JSON."""
    return json.dumps(OUTCOME_FORM.encode(record), separators=(",", ":"))


def trouble(tries: Collection[Object]) -> Trouble | None:
    """What keeps the newest pod from starting its command, in the words of who says so."""
    for pod in pod_facts.living(tries):
        unscheduled = pod_facts.condition(pod, "PodScheduled")
        if unscheduled.get("status") == "False":
            return Trouble(f"unschedulable: {pod_facts.line(unscheduled.get('message', ''))}")
        for status in pod_facts.containers(pod):
            waiting = status.get("state", {}).get("waiting", {})
            why, message = waiting.get("reason", ""), pod_facts.line(waiting.get("message", ""))
            if why in IMAGE_TROUBLE:
                return Trouble(
                    f"image {pod_facts.image(pod, status['name'])} can't be had: {pod_facts.short(message) or why}",
                    hopeless=True,
                )
            if why in CONFIG_TROUBLE:
                return Trouble(f"{pod_facts.short(message) or why}", hopeless=True)
    return None


def is_waiting_for_a_container(tries: Collection[Object]) -> bool:
    """Whether a pod is on a node and no container of it has begun: only events say why (a volume, a sandbox)."""
    return any(
        pod_facts.condition(pod, "PodScheduled").get("status") == "True"
        and all(s.get("state", {}).get("waiting", {}).get("reason") in ("ContainerCreating", "PodInitializing")
                for s in pod_facts.containers(pod))
        for pod in pod_facts.living(tries)
    )  # fmt: skip


def _notes(before: Record, job: Object) -> Record:
    told = pod_facts.notes(job)
    return replace(
        before,
        reported=told.get(job_labels.REPORTED, ""),
        carried=read_carried(told.get(job_labels.CARRIED, "[]")),
        cancelled_by=told.get(job_labels.CANCELLED_BY, ""),
    )


def _seen(record: Record, tries: list[Object]) -> Record:
    """Starts so far, the first one's time, and the image that truly ran."""
    begun = [pod for pod in tries if pod_facts.started(pod)]
    times = [time for pod in begun if (time := pod_facts.started_at(pod))]
    digest = next(
        (d for pod in reversed(begun) if (d := pod_facts.command(pod).get("imageID", ""))),
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


def _ended(seen: Record, job: Object, tries: list[Object]) -> Record | None:
    """How it ended, if it has."""
    good = next((pod for pod in tries if pod_facts.terminated(pod).get("exitCode") == 0), None)
    if good is not None and (
        pod_facts.timed_out(good, seen.run.spec.timeout) or pod_facts.told_to_end(good)
    ):  # and it did so politely
        return _put_to_an_end(seen, job, good) or _at(
            failure_reason.judged(seen, job, good), job, good
        )
    if good is not None or pod_facts.condition(job, "Complete").get("status") == "True":
        return _at(replace(seen, state=State.SUCCEEDED, exit_code=0, reason=""), job, good)
    return _ended_badly(seen, job, tries)


def _ended_badly(seen: Record, job: Object, tries: list[Object]) -> Record | None:
    """How it ended where no pod of it did well; None while another try may come."""
    over = pod_facts.condition(job, "Failed").get("status") == "True"
    bad = [pod for pod in tries if _counts(pod)]
    for_good = [pod for pod in bad if _never_again(pod)]
    last = next(reversed(for_good or bad or tries), None)
    if over or ((bad or job["spec"].get("suspend")) and not pod_facts.active(tries)):
        ended = _put_to_an_end(seen, job, last)
        if ended is not None:
            return ended
    if over or for_good or len(bad) > (seen.run.spec.retries or 0):
        # A kubelet that evicts may forget that a command ran: then more starts are known than the pods tell of.
        began = seen.tries > sum(pod_facts.started(pod) for pod in tries)
        return _at(failure_reason.judged(seen, job, last, began=began), job, last)
    return None


def _put_to_an_end(seen: Record, job: Object, pod: Object | None) -> Record | None:
    """The verdict where a person or Fyre itself wanted it ended, however its pods took that; else None."""
    given_up = pod_facts.notes(job).get(job_labels.GIVEN_UP)
    if seen.cancelled_by:
        return _at(replace(seen, state=State.CANCELLED, reason=""), job, pod)
    if not given_up:
        return None
    state = State.FAILED if given_up.startswith(TIMED_OUT) else State.ERROR
    return _at(replace(seen, state=state, reason=given_up), job, pod)


def _pending(seen: Record, job: Object, tries: list[Object], hint: str) -> Record:
    """What it is doing, and if it does nothing, why."""
    ours = pod_facts.active(tries)
    if any(pod_facts.started(pod) for pod in ours):
        return replace(seen, state=State.RUNNING, reason=_again(seen))
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name", "")
        return replace(
            seen, state=State.QUEUED, reason=f"waiting in queue {queue}" if queue else "suspended"
        )
    stuck = trouble(tries)
    if stuck is not None:
        waits = State.STARTING if stuck.hopeless else State.QUEUED
        return replace(seen, state=waits, reason=stuck.reason)
    if not ours:
        return replace(seen, state=State.QUEUED, reason=hint or _again(seen))
    if any(pod_facts.checkout_waits(pod) for pod in ours):
        return replace(seen, state=State.STARTING, reason="checking out")
    return replace(seen, state=State.STARTING, reason=hint)


def _again(seen: Record) -> str:
    return f"try {seen.tries} of {(seen.run.spec.retries or 0) + 1}" if seen.tries > 1 else ""


def _counts(pod: Object) -> bool:
    """Whether this pod's failure counts, as the Job's failure policy has it."""
    if pod_facts.phase(pod) != "Failed" and not pod_facts.terminated(pod).get("exitCode"):
        return False
    if pod_facts.terminated(pod).get("exitCode"):
        return True
    return pod_facts.condition(pod, "DisruptionTarget").get("status") != "True"


def _never_again(pod: Object) -> bool:
    return (
        pod_facts.terminated(pod).get("exitCode") == job_labels.NOT_STARTED
        or pod_facts.terminated(pod, job_labels.CHECKOUT).get("exitCode") == job_labels.NO_CHECKOUT
    )


def _at(record: Record, job: Object, pod: Object | None) -> Record:
    """The same with the time of its end: the container's, else the Job's, else when somebody put an end to it."""
    conditions = (
        pod_facts.condition(job, kind).get("lastTransitionTime")
        for kind in ("Failed", "FailureTarget", "Suspended")
    )
    times = (
        pod_facts.terminated(pod).get("finishedAt"),
        job.get("status", {}).get("completionTime"),
        *conditions,
    )
    known = (pod_facts.seconds(time) for time in times if time)
    ended = next((time for time in known if time is not None), record.ended_at)
    since = record.started_at or record.run.created_at
    return replace(record, ended_at=max(ended, since) if ended is not None else since)
