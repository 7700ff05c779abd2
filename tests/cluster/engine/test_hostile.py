"""What a hostile tester did to the engine on a real cluster."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fyre.engines.kubernetes.logs.log_resume import LOST_MARKER
from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.cluster import access
from tests.contract.engine import await_end, await_state, make_run
from tests.support.cluster_profiles import cluster_profile
from tests.support.waiting import until

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

SECRET = "goneSecretValue777"


@pytest.fixture
def engine(on_cluster: MakeOnCluster) -> KubernetesEngine:
    return on_cluster()


def log_of(engine: KubernetesEngine, key: str) -> bytes:
    return b"".join(engine.read_log(key))


def ended(
    engine: KubernetesEngine, sha: str, command: str, **spec: object
) -> tuple[RunState, str, bytes]:
    run = make_run(sha, command, **spec)
    assert engine.launch(run)
    record = await_end(engine, run.key, 120)
    return record.state, record.reason, log_of(engine, run.key)


def test_the_end_of_a_log_that_grew_faster_than_it_was_read(
    engine: KubernetesEngine, sha: str
) -> None:
    """All of it, or a line that says that something is missing. Debian's containerd 1.6 itself may
    drop the last 64 kB or so that a command writes at its end: no file of the node's has them then.
    """
    run = make_run(sha, "seq 1 4000000; echo THE-END")
    assert engine.launch(run)
    assert await_end(engine, run.key, 120).state is RunState.SUCCEEDED
    written = b"".join(b"%d\n" % number for number in range(1, 4_000_001)) + b"THE-END\n"
    log = log_of(engine, run.key)
    assert LOST_MARKER in log or hashlib.sha256(log).digest() == hashlib.sha256(written).digest()


def test_a_timeout_outlives_a_command_that_signals_its_group(
    engine: KubernetesEngine, sha: str
) -> None:
    state, reason, log = ended(
        engine, sha, "trap '' TERM; kill 0; trap - TERM; sleep 40; echo outlived", timeout=3
    )
    assert (state, reason) == (RunState.FAILED, "timed out after 3s")
    assert b"outlived" not in log


@pytest.mark.parametrize(
    ("words", "code"),
    [("setup failed: nothing TOKEN", 5), ("x TOKEN", 113), ("timed out after 5 years", 0)],
)
def test_what_a_command_says_in_the_kubelets_place_is_not_repeated(
    engine: KubernetesEngine, sha: str, words: str, code: int
) -> None:
    state, reason, _ = ended(engine, sha, f"printf '{words}' > /dev/termination-log; exit {code}")
    assert (state, reason) == ((RunState.FAILED if code else RunState.SUCCEEDED), "")


def test_a_second_try_that_is_stuck_is_given_up(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    name = "second-try"
    admin.core.create_namespaced_secret(
        namespace, {"metadata": {"name": name}, "stringData": {"TOK": SECRET}}
    )
    engine = on_cluster(
        Policy(namespace=namespace, image_grace=3),
        cluster_profile(image=access.IMAGE, termination_grace_seconds=2, secrets=(name,)),
    )
    run = make_run(sha, "sleep 3; exit 1", retries=1)
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    admin.core.delete_namespaced_secret(name, namespace)
    record = await_end(engine, run.key, 120)
    assert (record.state, record.reason) == (RunState.ERROR, f'secret "{name}" not found')


def test_a_secret_that_is_gone_takes_the_rest_of_the_log_along(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    name = "gone-meanwhile"
    admin.core.create_namespaced_secret(
        namespace, {"metadata": {"name": name}, "stringData": {"TOK": SECRET}}
    )
    policy, profile = (
        Policy(namespace=namespace),
        cluster_profile(image=access.IMAGE, termination_grace_seconds=2, secrets=(name,)),
    )
    engine = on_cluster(policy, profile)
    run = make_run(sha, 'echo "$TOK"; sleep 8; echo "again $TOK"')
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    admin.core.delete_namespaced_secret(name, namespace)
    engine = on_cluster(policy, profile)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    log = log_of(engine, run.key)
    assert SECRET.encode() not in log
    assert b"this log can't be shown" in log


def test_a_job_with_notes_that_nobody_can_read_stops_nothing(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine = on_cluster()
    run = make_run(sha, "exit 6")
    engine.launch(run)
    await_end(engine, run.key)
    log_of(engine, run.key)
    bad = {"metadata": {"annotations": {"fyre.dev/outcome": '{"state": "garbage"}'}}}
    admin.batch.patch_namespaced_job(f"fyre-{run.key}", namespace, bad)
    engine = on_cluster()
    record = await_end(engine, run.key)
    assert (record.state, record.is_outcome_unreadable) == (RunState.ERROR, True)
    other = make_run(sha, "true")
    engine.launch(other)
    assert await_end(engine, other.key).state is RunState.SUCCEEDED
    found = admin.batch.read_namespaced_job(f"fyre-{run.key}", namespace)
    assert found.metadata.annotations["fyre.dev/outcome"] == '{"state": "garbage"}'


def test_secrets_are_struck_out_that_the_policy_no_longer_gives(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    """A run goes on while the admin takes a secret from its profile, and the receiver is started
    anew.
    """
    name = "taken-from-the-profile"
    admin.core.create_namespaced_secret(
        namespace, {"metadata": {"name": name}, "stringData": {"TOK": SECRET}}
    )
    policy, profile = (
        Policy(namespace=namespace),
        cluster_profile(image=access.IMAGE, termination_grace_seconds=2),
    )
    engine = on_cluster(policy, replace(profile, secrets=(name,)))
    run = make_run(sha, 'sleep 8; echo "it is $TOK"')
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    engine = on_cluster(policy, profile)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    log = log_of(engine, run.key)
    assert SECRET.encode() not in log
    assert b"this log can't be shown" in log  # under the new Role that secret can't be read either


def test_a_copy_of_its_job_that_somebody_deletes_takes_no_run_along(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run, other = make_run(sha, "sleep 10; echo done"), make_run(sha, "true")
    engine.launch(run)
    copy = admin.api.sanitize_for_serialization(
        admin.batch.read_namespaced_job(f"fyre-{run.key}", namespace)
    )
    del copy["spec"]["selector"], copy["status"]
    labels = {
        key: text
        for key, text in copy["metadata"]["labels"].items()
        if key.startswith(("app.", "fyre."))
    }
    copy["metadata"] = {
        "name": "copy",
        "labels": labels,
        "annotations": copy["metadata"]["annotations"],
    }
    copy["spec"]["template"]["metadata"]["labels"] = {}
    admin.batch.create_namespaced_job(
        namespace, {**copy, "spec": {**copy["spec"], "suspend": True}}
    )
    admin.batch.delete_namespaced_job("copy", namespace, propagation_policy="Background")
    engine.launch(other)  # news come in their order
    await_end(engine, other.key)
    record = await_end(engine, run.key)
    assert (record.state, record.reason, log_of(engine, run.key)) == (
        RunState.SUCCEEDED,
        "",
        b"done\n",
    )


def test_an_ended_job_is_collected_in_time_whichever_mark_came_first(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    """The ledger's mark and the log's may be written in the same moment: then neither request
    gave it its TTL.
    """

    def ttl() -> int | None:
        found: int | None = admin.batch.read_namespaced_job(
            f"fyre-{run.key}", namespace
        ).spec.ttl_seconds_after_finished
        return found

    run = make_run(sha, "true")
    engine.launch(run)
    await_end(engine, run.key)
    engine.annotate(run.key, end_posted=True)
    until(ttl)
    admin.batch.patch_namespaced_job(
        f"fyre-{run.key}", namespace, {"spec": {"ttlSecondsAfterFinished": None}}
    )
    assert until(ttl) == int(engine._policy.history)
