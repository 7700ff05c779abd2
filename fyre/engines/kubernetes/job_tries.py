"""Tell a command which try it is, as the Job's controller counts. Pure."""

from __future__ import annotations

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.pod_facts import KubeObject


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
