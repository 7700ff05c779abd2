"""Jobs that somebody creates who may create Jobs in the namespace: made up, or a copy of a run's.

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
    container = {
        "name": job_labels.COMMAND_CONTAINER,
        "image": access.IMAGE,
        "command": ["sh", "-c", "echo forged"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    template: Any = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    template["spec"] |= {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    name = job_labels.job_name(labels[job_labels.INSTANCE_LABEL], run["key"])
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    spec = {"backoffLimit": 0, "template": template}
    admin.batch.create_namespaced_job(namespace, {"metadata": metadata, "spec": spec})
    return name


def annotations_of(admin: access.Admin, namespace: str, name: str) -> set[str]:
    """Return the names of our annotations on a Job that is still there."""
    found = admin.batch.read_namespaced_job(name, namespace)
    return {key for key in found.metadata.annotations if key.startswith(job_labels.FYRE_PREFIX)}
