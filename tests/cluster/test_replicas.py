"""Several receivers on a real cluster: each is an endpoint, one leads.

The leader's death loses nothing and doubles nothing.
"""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import pytest

from fyre.engines.kubernetes import rbac
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.leader_election import (
    INSTANCE_ANNOTATION,
    LEASE_DURATION,
    Election,
)
from fyre.errors import UserError
from tests.cluster import access
from tests.cluster.replicas import KEY, LEASES, Start, forge, start
from tests.integration.apps.test_serve import GitHub
from tests.support.local_forge import Served
from tests.support.waiting import until

__all__ = ["forge", "start"]  # fixtures

pytestmark = pytest.mark.cluster


def test_a_leader_that_dies_loses_nothing(
    start: Start, forge: Served, repo: Path, admin: access.Admin, namespace: str
) -> None:
    first = start("first")
    until(lambda: first.leads)
    key = repo.with_name("key")
    key.write_text(KEY)
    second = start("second", FYRE_KEY="", FYRE_KEY_FILE=str(key))
    until(lambda: second.says("/healthz") == "# standby\n")
    key.write_text(
        "the next start's key, and long enough"
    )  # it leads by the one that the Lease was compared with
    forge.forge.start(f"{second.url}/webhook")  # whom the forge tells does not lead
    github = GitHub(forge, repo)
    early = github.push("git rev-parse HEAD")
    assert github.final(early)["state"] == "success"
    assert json.loads(second.says("/readyz"))["cluster"] == "ok"  # the leader's answer

    running = github.push("sleep 5; echo done")
    until(lambda: github.statuses(running))
    first.end(signal.SIGKILL)
    orphan = github.push("echo nobody leads")  # waits at the door, or is found by the sweep
    until(lambda: second.leads, LEASE_DURATION + 60)
    page = github.final(early)["target_url"].removeprefix("https://fyre.example.org")
    assert second.says(f"{page}/log") == f"{early}\n"  # of a run that the first had ended
    ends = [github.final(sha) for sha in (running, orphan)]
    assert [end["state"] for end in ends] == ["success", "success"], ends
    for sha in (early, running, orphan):
        jobs = admin.batch.list_namespaced_job(namespace, label_selector=f"fyre.dev/sha={sha}")
        assert len(jobs.items) == 1
        assert [one["state"] for one in github.statuses(sha)] in (
            ["pending", "success"],
            ["success"],
        )

    third, fourth = start("third"), start("fourth")
    for one in (third, fourth):
        until(lambda one=one: one.says("/healthz") == "# standby\n")
    assert fourth.end(signal.SIGTERM) == 0
    second.end(signal.SIGTERM)  # resigns: nobody waits for the lease to run out
    until(lambda: third.leads)
    assert third.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    lease = admin.leases.read_namespaced_lease("fyre", namespace)
    assert lease.spec.holder_identity is None


def test_a_leader_that_was_stopped_says_nothing_more_when_it_goes_on(
    start: Start, forge: Served, repo: Path, admin: access.Admin, namespace: str
) -> None:
    """It ends before it does anything: what it knows is old, so it would post old states."""
    first = start("first")
    until(lambda: first.leads)
    second = start("second")
    until(lambda: second.says("/healthz") == "# standby\n")
    forge.forge.start(f"{first.url}/webhook")
    github = GitHub(forge, repo)
    pushed = [github.push(f"sleep {number}") for number in range(4)]
    until(lambda: github.statuses(pushed[0]))
    first.process.send_signal(signal.SIGSTOP)
    until(lambda: second.leads, LEASE_DURATION + 60)
    assert [github.final(sha)["state"] for sha in pushed] == ["success"] * 4
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(30) == signal.SIGALRM
    for sha in pushed:
        assert [one["state"] for one in github.statuses(sha)] in (
            ["pending", "success"],
            ["success"],
        )
        assert (
            len(
                admin.batch.list_namespaced_job(
                    namespace, label_selector=f"fyre.dev/sha={sha}"
                ).items
            )
            == 1
        )


def test_who_is_told_to_stop_while_it_comes_to_lead_stops(
    start: Start, admin: access.Admin, namespace: str
) -> None:
    replica = start("only")
    until(lambda: "became leader lease=fyre" in replica.log.read_text())
    assert replica.end(signal.SIGTERM) == 0
    assert admin.leases.read_namespaced_lease("fyre", namespace).spec.holder_identity is None


def test_a_leader_whose_lease_is_taken_ends_at_once(
    start: Start, admin: access.Admin, namespace: str
) -> None:
    replica = start("only")
    until(lambda: replica.leads)
    taken = {"spec": {"holderIdentity": "another 127.0.0.1:1"}}
    admin.leases.patch_namespaced_lease("fyre", namespace, taken)
    assert replica.process.wait(20) == 1
    assert "lost leadership" in replica.log.read_text()


def test_without_the_right_to_a_lease_it_says_which(
    admin: access.Admin, namespace: str, tmp_path: Path
) -> None:
    role = rbac.build_role(namespace, secret_names=(), exec_mode=True)
    api = KubernetesClient(str(admin.kubeconfig(namespace, tmp_path, role["rules"])))
    with pytest.raises(
        UserError, match=f"in namespace {namespace} we may not get, create, update leases"
    ):
        Election(api, namespace, "fyre", "one 127.0.0.1:1", "fyre-one")


def test_who_has_another_key_reports_nothing_as_lost_and_leads_when_an_admin_says_so(
    start: Start, forge: Served, repo: Path, admin: access.Admin, namespace: str
) -> None:
    """Another key is another receiver, which does not know the runs of this one."""
    lease = {"FYRE_LEASE": f"{namespace}/keys"}
    first = start("first", **lease)
    until(lambda: first.leads)
    other = start("other", **lease, FYRE_KEY="of another receiver, and long enough")
    until(lambda: f"{namespace}/keys is of fyre-" in other.log.read_text())
    assert "give this receiver their key" in json.loads(other.says("/readyz"))["lease"]
    forge.forge.start(f"{other.url}/webhook")  # a door it is all the same
    github = GitHub(forge, repo)
    running = github.push("sleep 5; echo done")
    until(lambda: github.statuses(running))
    first.end(signal.SIGKILL)
    third = start("third", **lease)  # after the other one, whose turn it would be
    until(lambda: third.leads, LEASE_DURATION + 60)
    assert github.final(running)["state"] == "success"
    third.end(signal.SIGTERM)
    mark = {"metadata": {"annotations": {INSTANCE_ANNOTATION: None}}}
    assert not other.leads
    admin.leases.patch_namespaced_lease("keys", namespace, mark)
    until(lambda: other.leads)
    assert [one["state"] for one in github.statuses(running)] in (
        ["pending", "success"],
        ["success"],
    )


def test_of_two_with_other_keys_that_start_at_once_one_leads(
    admin: access.Admin, namespace: str, tmp_path: Path
) -> None:
    config, led = str(admin.kubeconfig(namespace, tmp_path, [LEASES])), list[str]()
    names = ("fyre-one", "fyre-two")
    both = [
        Election(KubernetesClient(config), namespace, "race", f"{name} 127.0.0.1:1", name)
        for name in names
    ]
    for name, one in zip(names, both, strict=True):
        one.start(partial(led.append, name), lambda: None)
    try:
        until(lambda: led and any(one.block_reason() for one in both))
        assert [
            admin.leases.read_namespaced_lease("race", namespace).metadata.annotations[
                INSTANCE_ANNOTATION
            ]
        ] == led
    finally:
        for one in both:
            one.resign()
