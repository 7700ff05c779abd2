"""A Job that is held: how it is marked, and the patch that releases it. Pure.

A held Job is suspended, and its ``parallelism`` is 0 as well: no pod is created for it, whoever
resumes it. Kueue resumes Jobs that nobody gave to it: it gives a new Job without a queue to the
LocalQueue named ``default``, if the namespace has one (``LocalQueueDefaulting``, since 0.12).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.stored_form import warn_once

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""The value of a label, as the API server takes it: with another one it refuses the release."""

END_HELD_SPEC = {"activeDeadlineSeconds": 1, "suspend": False, "parallelism": 0}
"""The end of a held Job without a start. It is resumed, since a suspended Job never ends, and what
has not ended is never collected."""


def hold_job(job: KubeObject, reason: str) -> KubeObject:
    """Return the Job as it is created for a run that is held.

    The queue's label is kept in an annotation: with the label, Kueue would start the Job.
    """
    metadata = job["metadata"]
    labels = dict(metadata["labels"])
    queue = labels.pop(job_labels.KUEUE_QUEUE_LABEL, "")
    annotations = {**metadata["annotations"], job_labels.HELD_ANNOTATION: reason}
    if queue:
        annotations[job_labels.QUEUE_ANNOTATION] = queue
    return {
        **job,
        "metadata": {**metadata, "labels": labels, "annotations": annotations},
        "spec": {**job["spec"], "suspend": True, "parallelism": 0},
    }


def is_held(job: KubeObject) -> bool:
    """Return True if a Job was not released yet. Somebody else may have started it all the same."""
    return job_labels.HELD_ANNOTATION in pod_facts.get_annotations(job)


def hold_reason(job: KubeObject) -> str:
    """Return what a held Job waits for; "" if that was not said."""
    return pod_facts.get_annotations(job).get(job_labels.HELD_ANNOTATION, "")


def release_patch(job: KubeObject, now: float) -> KubeObject:
    """Return the patch that lets a held Job start, or gives it to its queue.

    It is for this very version of the Job: a Job that changed meanwhile, as by a cancel, refuses
    it.
    """
    labels = job["metadata"].get("labels") or {}
    own_queue = pod_facts.get_annotations(job).get(job_labels.QUEUE_ANNOTATION, "")
    if own_queue and not _LABEL_VALUE.fullmatch(own_queue):
        warn_once(f"the queue of Job {job['metadata'].get('name')}", "no queue has such a name")
        own_queue = ""
    queue = own_queue or labels.get(job_labels.KUEUE_QUEUE_LABEL, "")
    metadata: dict[str, Any] = {
        "resourceVersion": job["metadata"]["resourceVersion"],
        "annotations": {
            job_labels.HELD_ANNOTATION: None,
            job_labels.QUEUE_ANNOTATION: None,
            job_labels.RELEASED_AT_ANNOTATION: datetime.fromtimestamp(now, UTC).isoformat(),
        },
    }
    if queue:
        metadata["labels"] = {job_labels.KUEUE_QUEUE_LABEL: queue}
    return {"metadata": metadata, "spec": {"parallelism": 1, "suspend": bool(queue)}}


def released_at(job: KubeObject) -> float | None:
    """Return when a Job was released, in seconds since the epoch; None if it was never held."""
    text = pod_facts.get_annotations(job).get(job_labels.RELEASED_AT_ANNOTATION)
    try:
        return pod_facts.parse_time(text)
    except ValueError:  # not what Fyre wrote
        return None
