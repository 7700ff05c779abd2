"""Pods that are taken away, pods of a lost node, and pods that somebody forged: on a real cluster.

What is told follows the Job. The lost node is one that no kubelet serves: nobody else is disturbed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fyre.engines.kubernetes import job_labels, job_manifest, pending_monitor, run_status
from fyre.engines.kubernetes.code_delivery import ExecDelivery
from fyre.errors import TransientError
from fyre.runs.commit_status import status_from_record
from fyre.runs.policy import Policy
from fyre.runs.run import Run
from fyre.runs.state import RunState
from tests.cluster import access
from tests.contract.engine import await_end
from tests.support import waiting
from tests.support.cluster_profiles import cluster_profile
from tests.support.run_endings import end, launched, own_lines, pods_of, until, until_log

if TYPE_CHECKING:
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

HUGE = (("cpu", "1000"),)


def suspend(admin: access.Admin, namespace: str, run: Run, *, yes: bool) -> None:
    """Suspend or resume a Job, as a queue does."""
    admin.batch.patch_namespaced_job(f"fyre-{run.key}", namespace, {"spec": {"suspend": yes}})


def is_suspended(admin: access.Admin, namespace: str, run: Run) -> bool:
    status = admin.batch.read_namespaced_job(f"fyre-{run.key}", namespace).status
    return any(one.type == "Suspended" for one in status.conditions or [])


def test_9_22_a_run_that_is_suspended_and_resumed_is_no_error(
    on_cluster: MakeOnCluster,
    admin: access.Admin,
    namespace: str,
    sha: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, deliver = threading.Event(), ExecDelivery.deliver_code

    def deliver_later(self: ExecDelivery, run: Run, *where: str) -> None:
        if run.spec.command == "echo late" and not gate.is_set():
            raise TransientError("not yet")
        deliver(self, run, *where)

    monkeypatch.setattr(ExecDelivery, "deliver_code", deliver_later)
    engine = on_cluster()
    fetching = launched(engine, sha, "echo late")
    begun, unseen = (launched(engine, sha, "echo on; sleep 6; echo off") for _ in range(2))
    until(engine, fetching, lambda r: r.reason == "checking out")
    for run in (begun, unseen):
        until_log(engine, run, "on")
    for run in (fetching, begun):
        suspend(admin, namespace, run, yes=True)
    for run in (fetching, begun):
        until(engine, run, lambda r: (r.state, r.reason) == (RunState.QUEUED, "suspended"))
    engine.close()
    suspend(admin, namespace, unseen, yes=True)  # with the receiver away
    waiting.until(lambda: is_suspended(admin, namespace, unseen))
    for run in (unseen, fetching, begun):
        suspend(admin, namespace, run, yes=False)
    gate.set()
    engine = on_cluster()
    for run in (fetching, begun, unseen):
        record, log = end(engine, run)
        assert (record.state, record.reason) == (RunState.SUCCEEDED, ""), run.spec.command
        assert ("late" if run is fetching else "off") in own_lines(log)


def test_9_40_a_queue_that_takes_a_run_away_leaves_its_retries(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    """Its controller forgets the number of the try, and not how many are left."""
    engine = on_cluster()
    command = 'echo "try $FYRE_TRY"; [ "$FYRE_TRY" = 1 ] || sleep 100; exit 1'
    run = launched(engine, sha, command, retries=1)
    until_log(engine, run, "try 2")
    suspend(admin, namespace, run, yes=True)
    until(engine, run, lambda r: (r.state, r.reason) == (RunState.QUEUED, "suspended"))
    suspend(admin, namespace, run, yes=False)
    record, log = end(engine, run)
    assert (record.state, record.exit_code, record.tries) == (RunState.FAILED, 1, 3)
    said = [line for line in own_lines(log) if line.startswith("try")]
    assert said == ["try 1", "try 2", "try 1"]


def test_9_23_and_30a_a_pod_without_a_node_and_a_forged_one_end_nothing(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine = on_cluster()
    run = launched(engine, sha, "echo on; sleep 100")
    large = launched(engine, sha, "true", resources=HUGE)
    until(engine, large, lambda r: "unschedulable" in r.reason)
    (first,) = pods_of(admin, namespace, large)
    admin.core.delete_namespaced_pod(first.metadata.name, namespace)

    until_log(engine, run, "on")
    (pod,) = pods_of(admin, namespace, run)
    forged = admin.api.sanitize_for_serialization(pod)
    labels = {
        name: text for name, text in forged["metadata"]["labels"].items() if "uid" not in name
    }
    forged["metadata"] = {"name": f"forged-{run.key}", "labels": labels}
    forged["spec"].pop("initContainers")
    forged["spec"]["containers"][0]["command"] = ["sh", "-c", "echo forged"]
    forged = {key: forged[key] for key in ("metadata", "spec")}
    admin.core.create_namespaced_pod(namespace, forged)
    name = f"forged-{run.key}"
    waiting.until(
        lambda: admin.core.read_namespaced_pod(name, namespace).status.phase == "Succeeded", 60
    )
    selector = f"{job_labels.KEY_LABEL}={large.key}"
    waiting.until(
        lambda: (
            (found := admin.core.list_namespaced_pod(namespace, label_selector=selector).items)
            and first.metadata.uid not in {one.metadata.uid for one in found}
        ),
        60,
    )
    until(engine, large, lambda r: r.state is RunState.QUEUED and "unschedulable" in r.reason)
    record = engine.get_record(run.key)
    assert record is not None
    assert (record.state, record.tries) == (RunState.RUNNING, 1)
    for one in (run, large):
        engine.cancel(one.key, "ada")
        record, log = end(engine, one)
        assert record.state is RunState.CANCELLED
        assert "forged" not in log


@pytest.fixture
def dead_node(admin: access.Admin) -> Iterator[str]:
    """A node that no kubelet serves; its name comes after that of the node that tests take."""
    name = admin.core.create_node({"metadata": {"generateName": "silent-"}}).metadata.name
    yield name
    admin.core.delete_node(name)


def run_on(admin: access.Admin, namespace: str, pod: Any, node: str) -> None:
    """Bind a pod to a node, and say what its kubelet would say of a command that runs."""
    name = pod.metadata.name
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    admin.core.create_namespaced_pod_binding(
        name, namespace, {"metadata": {"name": name}, "target": target}, _preload_content=False
    )
    begun = {"startedAt": "2026-01-01T00:00:00Z"}
    common = {"image": "x", "imageID": "x", "ready": True, "restartCount": 0}
    fetched = {"terminated": {"exitCode": 0, **begun, "finishedAt": begun["startedAt"]}}
    status = {
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": "False"},  # what the node controller changes
            {"type": "ContainersReady", "status": "True"},
        ],
        "initContainerStatuses": [{"name": "checkout", "state": fetched, **common}],
        "containerStatuses": [{"name": "run", "state": {"running": begun}, **common}],
    }
    admin.core.patch_namespaced_pod_status(name, namespace, {"status": status})


def test_9_24_runs_on_a_node_that_is_lost_end(  # noqa: PLR0917 - fixtures
    on_cluster: MakeOnCluster,
    admin: access.Admin,
    namespace: str,
    sha: str,
    dead_node: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending_monitor, "LOST_SECONDS", 1.0)
    engine = on_cluster()
    lost, cancelled = (launched(engine, sha, "true", resources=HUGE) for _ in range(2))
    for run in (lost, cancelled):
        (pod,) = pods_of(admin, namespace, run)
        run_on(admin, namespace, pod, dead_node)
        until(
            engine,
            run,
            lambda r: (r.state, r.reason) == (RunState.RUNNING, "its node does not answer"),
        )
    engine.cancel(cancelled.key, "ada")
    (pod,) = pods_of(admin, namespace, lost)
    # As the control plane does some minutes after it last heard of the node.
    admin.core.delete_namespaced_pod(pod.metadata.name, namespace)
    assert await_end(engine, cancelled.key).state is RunState.CANCELLED
    record = await_end(engine, lost.key)
    assert (record.state, record.reason) == (RunState.ERROR, run_status.LOST_NODE)
    job = admin.batch.read_namespaced_job(f"fyre-{lost.key}", namespace)
    assert job.spec.active_deadline_seconds == 1  # it never runs again


def test_9_25_and_26_a_sidecar_is_ended_and_a_quota_on_limits_lets_the_run_in(
    on_cluster: MakeOnCluster, admin: access.Admin, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (("cpu", "100m"), ("memory", "64Mi"))
    build = job_manifest.build_job

    def inject(*given: Any) -> Any:
        """Do to the pod what a mesh's webhook does."""
        job = build(*given)
        containers = job["spec"]["template"]["spec"]["containers"]
        containers.append({**containers[0], "name": "mesh", "command": ["sleep", "1000"]})
        return job

    monkeypatch.setattr(job_manifest, "build_job", inject)
    with admin.namespace() as own:
        hard = {"limits.cpu": "4", "limits.memory": "4Gi"}
        quota = {"metadata": {"name": "limits"}, "spec": {"hard": hard}}
        admin.core.create_namespaced_resource_quota(own, quota)
        profile = cluster_profile(image=access.IMAGE, termination_grace_seconds=2, resources=small)
        engine = on_cluster(Policy(namespace=own), profile)
        run = launched(engine, sha, "exit 3")
        record, _ = end(engine, run)
        assert (record.state, record.exit_code) == (RunState.FAILED, 3)
        job = f"fyre-{run.key}"
        waiting.until(lambda: not admin.batch.read_namespaced_job(job, own).status.active, 60)
        assert engine.get_record(run.key) == record
        engine.close()


def test_9_30c_a_log_that_may_not_be_read_as_the_run_ends_is_read_later(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine = on_cluster()
    roles = admin.rbac.list_namespaced_role(namespace).items
    role = max(roles, key=lambda one: int(one.metadata.name.rpartition("-")[2]))  # the engine's
    rules = admin.api.sanitize_for_serialization(role.rules)
    without = [rule for rule in rules if rule["resources"] != ["pods/log"]]
    admin.rbac.patch_namespaced_role(role.metadata.name, namespace, {"rules": without})
    waiting.until(lambda: not engine._cluster.has_permission(namespace, "", "pods/log", "get"))
    run = launched(engine, sha, "echo on; sleep 1; exit 3")
    record = until(engine, run, lambda r: r.state is RunState.FAILED and bool(r.log_trouble))
    assert "its log can't be read: the cluster does not let us get pods/log" in (
        status_from_record(record).description
    )
    assert b"can't be shown" in b"".join(engine.read_log(run.key))
    admin.rbac.patch_namespaced_role(role.metadata.name, namespace, {"rules": rules})
    waiting.until(lambda: not until(engine, run, lambda r: r.state.is_final).log_trouble)
    assert end(engine, run)[1] == "on\n"
