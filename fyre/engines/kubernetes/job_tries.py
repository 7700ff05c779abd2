"""The tries of a Job: which pods its controller made, and how a command knows which one it is in.

Whoever may create pods can give one the labels of a Job's pods, and name the Job as its owner. The
controller's own pods have more: they have had their owner from the beginning, and a finalizer of
the controller's until it has counted them.
"""

from __future__ import annotations

from collections.abc import Iterable

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.pod_facts import KubeObject

_UID_LABEL = "batch.kubernetes.io/controller-uid"
"""The label by which a controller finds the pods of its Job."""

_FINALIZER = "batch.kubernetes.io/job-tracking"

_TRACKED_MARK, _FOREIGN_MARK = "fyreTracked", "fyreForeign"
"""Our marks on a pod: it was seen with that finalizer · it is none of its Job's, for good."""


def index_fields(retries: int) -> KubeObject:
    """Return what makes Kubernetes tell each pod how many failed before it: a single index.

    ``backoffLimit`` still ends the Job, at the same failure and with its own reason.
    """
    return {"completionMode": "Indexed", "backoffLimitPerIndex": retries} if retries else {}


def failure_count_entries(retries: int) -> list[KubeObject]:
    """Return the variable from which ``command.sh`` knows which try this is."""
    if not retries:
        return []
    path = f"metadata.annotations['{job_labels.FAILURE_COUNT_ANNOTATION}']"
    reference = {"apiVersion": "v1", "fieldPath": path}
    return [{"name": "FYRE_FAILURES", "valueFrom": {"fieldRef": reference}}]


def remember_origin(pod: KubeObject, earlier: KubeObject | None) -> None:
    """Mark a pod with what only its earlier versions showed; None if there is none."""
    is_orphan = earlier is None and not _controller_uid(pod)  # who adopts it did not make it
    if is_orphan or (earlier is not None and _FOREIGN_MARK in earlier):
        pod[_FOREIGN_MARK] = True
    if _FINALIZER in (pod["metadata"].get("finalizers") or ()) or _TRACKED_MARK in (earlier or {}):
        pod[_TRACKED_MARK] = True


def is_made_by(pod: KubeObject, job: KubeObject) -> bool:
    """Return True if the controller of a Job made a pod, as far as the two show it.

    A pod that goes on without the finalizer was made by somebody else. That is remembered: the
    controller may adopt it, and it may end.
    """
    uid = job["metadata"].get("uid")
    pod_labels = pod["metadata"].get("labels") or {}
    if uid is None or _controller_uid(pod) != uid or pod_labels.get(_UID_LABEL) != uid:
        return False
    if _FOREIGN_MARK not in pod and _is_untracked(pod, job):
        pod[_FOREIGN_MARK] = True
    return _FOREIGN_MARK not in pod and (_TRACKED_MARK in pod or _may_be_counted(pod, job))


def foreign_success(job: KubeObject, pods: Iterable[KubeObject]) -> str:
    """Return the name of a pod that somebody else made, and the controller took for its own.

    It adopts what has the labels of its pods. Then a Job is complete that is not. "" for none.
    """
    uid = job["metadata"].get("uid")
    names = (
        str(pod["metadata"].get("name"))
        for pod in pods
        if _FOREIGN_MARK in pod
        and _controller_uid(pod) == uid
        and pod_facts.terminated_state(pod).get("exitCode") == 0
    )
    return next(names, "")


def _controller_uid(pod: KubeObject) -> str:
    owners = pod["metadata"].get("ownerReferences") or []
    return next((str(owner.get("uid")) for owner in owners if owner.get("controller")), "")


def _is_untracked(pod: KubeObject, job: KubeObject) -> bool:
    """Return True if a pod goes on, and its Job too, and it lacks what the controller gives it."""
    is_going = pod_facts.nonterminal_pods([pod]) and pod_facts.gone_by(pod) is None
    return bool(is_going) and _TRACKED_MARK not in pod and not _is_ending(job)


def _may_be_counted(pod: KubeObject, job: KubeObject) -> bool:
    """Return False for a pod that has succeeded, if its Job knows of no success.

    The controller counts a pod before it removes its finalizer. A failure need not be counted.
    """
    status = job.get("status", {})
    counted = (status.get("uncountedTerminatedPods") or {}).get("succeeded") or []
    has_succeeded = pod_facts.terminated_state(pod).get("exitCode") == 0
    return not has_succeeded or bool(status.get("succeeded") or counted or _is_ending(job))


def _is_ending(job: KubeObject) -> bool:
    """Return True if a Job's controller has decided on its end: then it lets go of every pod."""
    kinds = ("Complete", "SuccessCriteriaMet", "Failed", "FailureTarget")
    has_ended = any(pod_facts.get_condition(job, kind).get("status") == "True" for kind in kinds)
    return has_ended or bool(job["metadata"].get("deletionTimestamp"))
