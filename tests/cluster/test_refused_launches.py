"""A cluster that does not take a run for now: its commit says why, and its other runs go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from fyre.apps.up import FyreUp
from fyre.engines.factory import EngineOptions
from fyre.runs.policy import Policy
from tests.cluster import access
from tests.cluster.conftest import somebody
from tests.conftest import one_at_a_time
from tests.support.cluster_profiles import cluster_profile
from tests.support.person import Person
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

LASTS = " · if this lasts, ask an admin of the repository"


@contextmanager
def full_quota(admin: access.Admin, namespace: str) -> Iterator[None]:
    """A namespace has room for no Job."""
    quota = {"metadata": {"name": "jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    admin.core.create_namespaced_resource_quota(namespace, quota)
    until(lambda: admin.core.read_namespaced_resource_quota("jobs", namespace).status.used)
    yield
    admin.core.delete_namespaced_resource_quota("jobs", namespace)


@contextmanager
def broken_webhook(admin: access.Admin, namespace: str) -> Iterator[None]:
    """A webhook that nobody answers is asked about each Job of a namespace, and of no other."""
    gates = client.AdmissionregistrationV1Api(admin.api)
    labels = {"kubernetes.io/metadata.name": namespace}
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"]}
    webhook = {
        "name": "gate.fyre.test",
        "clientConfig": {"service": {"name": "gone", "namespace": namespace}},
        "rules": [{**rule, "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": labels},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    body = {"metadata": {"name": namespace}, "webhooks": [webhook]}
    gates.create_validating_webhook_configuration(body)
    try:
        until(lambda: _asks_webhook(admin, namespace))  # the API server learns of it by a watch
        yield
    finally:
        gates.delete_validating_webhook_configuration(namespace)


def _asks_webhook(admin: access.Admin, namespace: str) -> bool:
    container = {"name": "c", "image": access.SMALL}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"metadata": {"generateName": "asked-"}, "spec": {"template": template}}
    try:
        admin.batch.create_namespaced_job(namespace, job, dry_run="All")
    except client.ApiException as error:
        return "failed calling webhook" in error.body
    return False


@pytest.fixture
def closed(admin: access.Admin) -> Iterator[str]:
    """A namespace that does not take every run."""
    with admin.namespace() as name:
        yield name


@pytest.fixture
def person(
    admin: access.Admin, namespace: str, closed: str, repo: Path, tmp_path: Path
) -> Iterator[Person]:
    """Somebody whose profile ``closed`` has a namespace of its own."""
    profiles = {
        name: cluster_profile(
            name, image=access.IMAGE, namespace=where, termination_grace_seconds=2
        )
        for name, where in {"default": "", "closed": closed}.items()
    }
    policy = Policy(namespace=namespace, profiles=profiles)
    options = EngineOptions(kubeconfig=access.KUBECONFIG, checkout_image=access.IMAGE)

    def make() -> FyreUp:
        state = tmp_path / "state"
        return FyreUp(state, "127.0.0.1", 0, engine="kubernetes", policy=policy, options=options)

    with one_at_a_time(60) as start:
        yield somebody(start(make), repo)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (full_quota, "exceeded quota: jobs, requested: count/jobs.batch=1, "),
        (broken_webhook, 'admission webhook "gate.fyre.test" does not work: '),
    ],
)
def test_9_26_a_commit_says_what_a_run_waits_for_and_its_other_runs_go_on(
    admin: access.Admin,
    closed: str,
    person: Person,
    trouble: Callable[[access.Admin, str], AbstractContextManager[None]],
    reason: str,
) -> None:
    with trouble(admin, closed):
        sha = person.commit(
            "Fyre-Run: echo waited",
            "Fyre-Name: waits",
            "Fyre-Profile: closed",
            "Fyre-Run: true",
            "Fyre-Name: goes-on",
        )
        person.push()
        assert person.final(sha, "fyre/goes-on")["state"] == "success"
        (told,) = [one for one in person.statuses(sha) if one["context"] == "fyre/waits"]
        assert told["state"] == "pending"
        assert told["description"].startswith(f"waiting · {reason}")
        assert told["description"].endswith(LASTS)
    final = person.final(sha, "fyre/waits")
    assert (final["state"], person.log(final)) == ("success", "waited\n")
