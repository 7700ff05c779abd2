"""How runs end, and what keeps them from beginning, on a real cluster: each row of the fault matrix
of pods.

Rows that truly need more nodes than one, and are not shown here: a node that is lost (its pods'
deletion by the taint manager or the pod collector), and a node that comes back without knowing how
a command ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.cluster import access, images
from tests.support.cluster_profiles import cluster_profile
from tests.support.run_endings import (
    delete_job,
    end,
    evict,
    launched,
    on_the_node,
    own_lines,
    pods_of,
    until,
    until_log,
)

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

MOUNT = {"name": "data", "mountPath": "/data"}
PATIENT = cluster_profile(image=access.IMAGE, termination_grace_seconds=2)


@pytest.fixture
def engine(on_cluster: MakeOnCluster) -> KubernetesEngine:
    return on_cluster()


@pytest.fixture
def patient(on_cluster: MakeOnCluster, namespace: str) -> KubernetesEngine:
    """An engine that waits for somebody to mend what is wrong."""
    return on_cluster(Policy(namespace=namespace, image_grace=3600.0))


# The command's own end.


def test_an_exit_code(engine: KubernetesEngine, sha: str) -> None:
    record, log = end(engine, launched(engine, sha, "echo out; exit 7"))
    assert (record.state, record.exit_code, record.reason, log) == (RunState.FAILED, 7, "", "out\n")


def test_a_signal(engine: KubernetesEngine, sha: str) -> None:
    record, log = end(engine, launched(engine, sha, "echo out; kill -SEGV $$"))
    assert (record.state, record.exit_code, log) == (RunState.FAILED, 139, "out\n")
    assert record.reason == "exit 139 (SIGSEGV)"


def test_out_of_memory(engine: KubernetesEngine, sha: str) -> None:
    command = "echo before; exec python3 -c 'b = bytearray(400 << 20)'"
    record, log = end(engine, launched(engine, sha, command, resources=(("memory", "64Mi"),)))
    assert (record.state, record.exit_code, log) == (RunState.FAILED, 137, "before\n")
    assert record.reason == "out of memory (limit 64Mi): exit 137 (SIGKILL)"


def test_the_pods_own_deadline(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(engine, sha, "echo before; sleep 100", timeout=100)
    until_log(engine, run, "before")
    [pod] = pods_of(admin, namespace, run)
    admin.core.patch_namespaced_pod(
        pod.metadata.name, namespace, {"spec": {"activeDeadlineSeconds": 1}}
    )
    record, log = end(engine, run)
    assert (record.state, record.reason, log) == (
        RunState.FAILED,
        "timed out after 1m 40s",
        "before\n",
    )


def test_an_image_without_a_shell(engine: KubernetesEngine, sha: str) -> None:
    record, log = end(engine, launched(engine, sha, "true", image=images.PAUSE))
    assert (record.state, record.tries, log) == (RunState.ERROR, 0, "")
    assert record.reason.startswith("the container can't be started: ")
    assert '"sh": executable file not found' in record.reason


def test_three_tries_have_their_logs_in_order(engine: KubernetesEngine, sha: str) -> None:
    record, log = end(
        engine, launched(engine, sha, "echo $FYRE_RUN; sleep 1; echo end; exit 1", retries=2)
    )
    assert (record.state, record.exit_code, record.tries) == (RunState.FAILED, 1, 3)
    assert log == "train\nend\n[fyre: try 2 of 3]\ntrain\nend\n[fyre: try 3 of 3]\ntrain\nend\n"


# What keeps it from beginning.


def test_an_image_that_does_not_exist(engine: KubernetesEngine, sha: str) -> None:
    run = launched(engine, sha, "true", image="fyre.test/nothing:1")
    before = until(engine, run, lambda r: "nothing" in r.reason)
    assert before.state is RunState.STARTING
    assert before.reason.startswith("image fyre.test/nothing:1 can't be had: ")
    record, log = end(engine, run)
    assert (record.state, record.tries, log) == (RunState.ERROR, 0, "")
    assert record.reason.startswith("image fyre.test/nothing:1 can't be had: ")


def test_a_malformed_image(engine: KubernetesEngine, sha: str) -> None:
    record, _ = end(engine, launched(engine, sha, "true", image="No Such:Image!"))
    assert record.state is RunState.ERROR
    assert record.reason.startswith("image No Such:Image! can't be had: ")
    assert "invalid reference format" in record.reason or "InvalidImageName" in record.reason


def test_a_missing_secret(engine: KubernetesEngine, sha: str) -> None:
    run = launched(engine, sha, "true", secrets=("wandb",))
    assert until(engine, run, lambda r: "wandb" in r.reason).state is RunState.STARTING
    record, _ = end(engine, run)
    assert (record.state, record.reason, record.tries) == (
        RunState.ERROR,
        'secret "wandb" not found',
        0,
    )


@pytest.mark.parametrize(("kind", "volume"), [
    ("configmap", {"configMap": {"name": "nope"}}),
    ("secret", {"secret": {"secretName": "nope"}}),
])  # fmt: skip
def test_a_missing_volume(
    on_cluster: MakeOnCluster, sha: str, kind: str, volume: dict[str, object]
) -> None:
    engine = on_cluster(
        profile=cluster_profile(
            image=access.IMAGE, volumes=({"name": "data", **volume},), volume_mounts=(MOUNT,)
        )
    )
    record, _ = end(engine, launched(engine, sha, "true"))
    assert (record.state, record.tries) == (RunState.ERROR, 0)
    assert (
        record.reason
        == f'FailedMount: MountVolume.SetUp failed for volume "data" : {kind} "nope" not found'
    )


def test_a_missing_claim_is_waited_for(on_cluster: MakeOnCluster, namespace: str, sha: str) -> None:
    profile = cluster_profile(
        image=access.IMAGE, volumes=({"name": "d", "persistentVolumeClaim": {"claimName": "nope"}},)
    )
    engine = on_cluster(Policy(namespace=namespace, profiles={"default": profile}, queue_limit=4.0))
    run = launched(engine, sha, "true")
    before = until(engine, run, lambda r: "nope" in r.reason)
    assert before.state is RunState.QUEUED
    record, _ = end(engine, run)
    assert record.state is RunState.ERROR
    assert record.reason.startswith("gave up after ")
    assert 'persistentvolumeclaim "nope" not found' in record.reason


def test_no_node_is_large_enough(on_cluster: MakeOnCluster, namespace: str, sha: str) -> None:
    engine = on_cluster(Policy(namespace=namespace, profiles={"default": PATIENT}, queue_limit=4.0))
    run = launched(engine, sha, "true", resources=(("cpu", "1000"),))
    before = until(engine, run, lambda r: "Insufficient cpu" in r.reason)
    assert before.state is RunState.QUEUED
    assert before.reason.startswith("unschedulable: 0/")
    record, _ = end(engine, run)
    assert (record.state, record.tries) == (RunState.ERROR, 0)
    assert record.reason.startswith("gave up after ")
    assert "Insufficient cpu" in record.reason


def test_a_device_is_waited_for_and_found(
    engine: KubernetesEngine, admin: access.Admin, sha: str
) -> None:
    run = launched(engine, sha, "echo on", resources=(("nvidia.com/gpu", "2"),))
    until(engine, run, lambda r: "Insufficient nvidia.com/gpu" in r.reason)
    with on_the_node(admin, "nvidia.com/gpu", 2):
        record, log = end(engine, run)
    assert (record.state, log) == (RunState.SUCCEEDED, "on\n")


def test_a_log_whose_secrets_can_not_be_struck_out_is_not_shown(
    patient: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    """The Role names no secret that only a glob of the profile allows."""
    secret = f"unnamed-{os.getpid()}"
    admin.core.create_namespaced_secret(
        namespace, {"metadata": {"name": secret}, "stringData": {"KEY": "very-secret"}}
    )
    record, log = end(patient, launched(patient, sha, "echo $KEY", secrets=(secret,)))
    assert record.state is RunState.SUCCEEDED
    assert log.startswith(
        "[fyre: this log can't be shown: the cluster does not let us get secrets in namespace "
    )


# Who takes its pod away.


def test_evicted_before_it_began_it_is_begun_again_and_runs_once(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    secret = f"late-{os.getpid()}"
    volume = {"name": "data", "secret": {"secretName": secret}}
    late = cluster_profile(
        image=access.IMAGE, termination_grace_seconds=2, volumes=(volume,), volume_mounts=(MOUNT,)
    )
    engine = on_cluster(Policy(namespace=namespace, image_grace=3600.0, profiles={"default": late}))
    run = launched(engine, sha, "echo on")
    [pod] = pods_of(admin, namespace, run)
    until(engine, run, lambda r: r.state is RunState.STARTING)
    evict(admin, namespace, pod.metadata.name)
    admin.core.create_namespaced_secret(namespace, {"metadata": {"name": secret}})
    record, log = end(engine, run)
    assert (record.state, record.tries, log) == (RunState.SUCCEEDED, 1, "on\n")
    assert pods_of(admin, namespace, run)[0].metadata.uid != pod.metadata.uid


def test_evicted_when_all_but_the_command_was_done(
    patient: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    """The kubelet then gives the container an exit code, which a Job can't tell from a command's
    own.
    """
    run = launched(patient, sha, "echo on", secrets=("never",))
    until(patient, run, lambda r: "never" in r.reason)
    evict(admin, namespace, pods_of(admin, namespace, run)[0].metadata.name)
    record, log = end(patient, run)
    assert (record.state, record.tries, log) == (RunState.ERROR, 0, "")
    assert record.reason.startswith("evicted before the command started: ")


def test_evicted(engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str) -> None:
    run = launched(engine, sha, "echo on; sleep 100")
    until_log(engine, run, "on")
    evict(admin, namespace, pods_of(admin, namespace, run)[0].metadata.name)
    record, log = end(engine, run)
    assert (record.state, record.tries, log) == (RunState.ERROR, 1, "on\n")
    assert record.reason.startswith("evicted: ")


def test_evicted_and_ending_politely_is_no_success(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(
        engine, sha, "trap 'echo saved; exit 0' TERM; echo on; while :; do sleep 0.1; done"
    )
    until_log(engine, run, "on")
    evict(admin, namespace, pods_of(admin, namespace, run)[0].metadata.name)
    record, log = end(engine, run)
    assert (record.state, own_lines(log)) == (RunState.ERROR, ["on", "saved"])
    assert record.reason.startswith("evicted: ")


def test_evicted_with_retries_it_runs_again(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(engine, sha, "echo on; sleep 3; echo off", retries=1)
    until_log(engine, run, "on")
    evict(admin, namespace, pods_of(admin, namespace, run)[0].metadata.name)
    until(engine, run, lambda r: r.tries == 2 or r.state.is_final)
    record, log = end(engine, run)
    assert (record.state, record.tries) == (RunState.SUCCEEDED, 2)
    assert log == "on\n[fyre: try 2 of 2]\non\noff\n"


def test_its_pod_is_deleted_by_hand(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(engine, sha, "echo on; sleep 100")
    until_log(engine, run, "on")
    admin.core.delete_namespaced_pod(pods_of(admin, namespace, run)[0].metadata.name, namespace)
    record, log = end(engine, run)
    assert (record.state, record.reason, log) == (RunState.ERROR, "its pod was deleted", "on\n")


def test_its_pod_is_deleted_by_hand_before_it_began(
    patient: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(patient, sha, "echo on", secrets=("never",))
    until(patient, run, lambda r: "never" in r.reason)
    admin.core.delete_namespaced_pod(pods_of(admin, namespace, run)[0].metadata.name, namespace)
    record, log = end(patient, run)
    assert (record.state, record.tries, log) == (RunState.ERROR, 0, "")
    assert record.reason == "its pod was deleted before the command started"


def test_it_takes_more_disk_than_it_may(engine: KubernetesEngine, sha: str) -> None:
    command = "echo on; head -c 50000000 /dev/zero > /tmp/big; sleep 100"
    record, log = end(
        engine, launched(engine, sha, command, resources=(("ephemeral-storage", "10Mi"),))
    )
    assert (record.state, log) == (RunState.ERROR, "on\n")
    assert record.reason.startswith("evicted: Pod ephemeral local storage usage exceeds")


@pytest.fixture
def ranks(admin: access.Admin) -> Iterator[tuple[str, str]]:
    """Two priority classes, the second above the first."""
    from kubernetes.client import SchedulingV1Api

    api, names = SchedulingV1Api(admin.api), (f"low-{os.getpid()}", f"high-{os.getpid()}")
    for value, name in enumerate(names, 1):
        api.create_priority_class({"metadata": {"name": name}, "value": value})
    yield names
    for name in names:
        api.delete_priority_class(name)


def test_preempted(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str, ranks: tuple[str, str]
) -> None:
    low, high = (
        cluster_profile(image=access.IMAGE, priority_class=rank, termination_grace_seconds=2)
        for rank in ranks
    )
    engine = on_cluster(Policy(namespace=namespace, profiles={"low": low, "high": high}))
    seat = (("fyre.test/seat", "1"),)
    with on_the_node(admin, "fyre.test/seat", 1):
        weak = launched(engine, sha, "echo on; sleep 100", profile="low", resources=seat)
        until_log(engine, weak, "on")
        strong = launched(engine, sha, "echo strong", profile="high", resources=seat)
        record, log = end(engine, weak)
        assert (record.state, record.tries, log) == (RunState.ERROR, 1, "on\n")
        assert record.reason.startswith("preempted: ")
        assert end(engine, strong)[0].state is RunState.SUCCEEDED


# Its Job.


def test_its_job_is_deleted_by_hand(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(engine, sha, "echo on; sleep 100")
    until_log(engine, run, "on")
    delete_job(admin, namespace, run)
    record, log = end(engine, run)
    assert (record.state, record.reason, log) == (RunState.ERROR, "its Job was deleted", "on\n")
    assert not engine.launch(run)
