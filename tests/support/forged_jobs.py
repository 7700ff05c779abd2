"""Jobs and pods that somebody creates who may do that in the namespace: made up, or copied.

Each exits with 0 at once, whatever the run that it claims to be.
"""

from __future__ import annotations

import json
from typing import Any

from fyre.engines.kubernetes import job_labels
from tests.cluster import access

OWN_LABELS = ("app.kubernetes.io/", "fyre.dev/")


def copy_job(
    admin: access.Admin, namespace: str, job_name: str, *, signed: bool = True, **changes: Any
) -> str:
    """Create a copy of a Job with changes of its run; return its name.

    It has the name that fits the run's key. Without ``signed``, the signature is left out.
    """
    original = admin.api.sanitize_for_serialization(
        admin.batch.read_namespaced_job(job_name, namespace)
    )
    return create_again(admin, namespace, original, signed=signed, **changes)


def create_again(
    admin: access.Admin, namespace: str, original: Any, *, signed: bool = True, **changes: Any
) -> str:
    """Create a copy of a Job, which may be gone; see ``copy_job``."""
    annotations = {
        key: text
        for key, text in original["metadata"]["annotations"].items()
        if key == job_labels.RUN_ANNOTATION or (signed and key == job_labels.SIGNATURE_ANNOTATION)
    }
    run = json.loads(annotations[job_labels.RUN_ANNOTATION]) | changes
    if changes:
        annotations[job_labels.RUN_ANNOTATION] = json.dumps(run)
    labels = {
        key: text
        for key, text in original["metadata"]["labels"].items()
        if key.startswith(OWN_LABELS)
    } | {job_labels.KEY_LABEL: run["key"], "fyre.dev/name": run["name"]}
    template: Any = {"metadata": {"labels": labels}, "spec": _pod_spec()}
    name = job_labels.job_name(labels[job_labels.INSTANCE_LABEL], run["key"])
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    spec = {"backoffLimit": 0, "template": template}
    admin.batch.create_namespaced_job(namespace, {"metadata": metadata, "spec": spec})
    return name


def forge_pod(
    admin: access.Admin, namespace: str, job_name: str, name: str, *left_out: str
) -> None:
    """Create a pod that claims to be a Job's, with all that its own pods have but ``left_out``.

    Of that there is its "finalizers", its "ownerReferences", and the label "controller-uid".
    """
    job = admin.api.sanitize_for_serialization(admin.batch.read_namespaced_job(job_name, namespace))
    uid, labels = job["metadata"]["uid"], job["spec"]["template"]["metadata"]["labels"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": uid}
    metadata = {
        "name": name,
        "labels": {key: text for key, text in labels.items() if key.split("/")[-1] not in left_out},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
        "finalizers": ["batch.kubernetes.io/job-tracking"],
    }
    metadata = {key: value for key, value in metadata.items() if key not in left_out}
    admin.core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": _pod_spec()})


def _pod_spec() -> Any:
    container = {
        "name": job_labels.COMMAND_CONTAINER,
        "image": access.IMAGE,
        "command": ["sh", "-c", "echo forged"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "containers": [container],
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def annotations_of(admin: access.Admin, namespace: str, name: str) -> set[str]:
    """Return the names of our annotations on a Job that is still there."""
    found = admin.batch.read_namespaced_job(name, namespace)
    return {key for key in found.metadata.annotations if key.startswith(job_labels.FYRE_PREFIX)}
