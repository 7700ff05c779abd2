"""A real API server accepts the Jobs of the golden files: known fields and valid values."""

from __future__ import annotations

import pytest

from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import AlreadyExists
from fyre.errors import UserError
from tests.cluster import access
from tests.unit.engines.kubernetes import test_job_manifest as manifests

pytestmark = pytest.mark.cluster


@pytest.fixture
def api(admin: access.Admin) -> KubernetesClient:
    return KubernetesClient(access.KUBECONFIG)


@pytest.mark.parametrize("name", manifests.GOLDENS)
def test_a_golden_job_is_valid(api: KubernetesClient, namespace: str, name: str) -> None:
    job = manifests.golden(name)
    job["metadata"]["namespace"] = namespace
    answer = api.create_job(namespace, job, dry_run=True)
    assert answer["metadata"]["name"] == job["metadata"]["name"]
    (sent,), (kept,) = (thing["spec"]["template"]["spec"]["containers"] for thing in (job, answer))
    for pair in sent["env"]:
        if pair.get("value") == "":
            del pair["value"]  # an empty value is not written down
    assert {name: kept[name] for name in sent} == sent


def test_a_plain_pod_passes_restricted_pod_security(admin: access.Admin, namespace: str) -> None:
    template = manifests.golden("plain")["spec"]["template"]
    pod = {"metadata": {**template["metadata"], "generateName": "fyre-"}, "spec": template["spec"]}
    made = admin.core.create_namespaced_pod(
        namespace, pod, dry_run="All", field_validation="Strict"
    )
    assert [container.name for container in made.spec.containers] == ["run"]


def test_a_field_that_kubernetes_does_not_know_is_refused(
    api: KubernetesClient, namespace: str
) -> None:
    job = manifests.golden("plain")
    job["metadata"]["namespace"] = namespace
    job["spec"]["template"]["spec"]["nodeSelectro"] = {}
    with pytest.raises(UserError, match="nodeSelectro"):
        api.create_job(namespace, job, dry_run=True)


def test_the_same_job_twice_is_taken(api: KubernetesClient, namespace: str) -> None:
    job = manifests.golden("plain")
    job["metadata"]["namespace"] = namespace
    job["spec"]["suspend"] = True
    api.create_job(namespace, job)
    with pytest.raises(AlreadyExists):
        api.create_job(namespace, job)
