"""A held run on a real cluster: what an admin, a queue, a restart and version 0.1 do to its Job."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fyre.engines.kubernetes import job_labels
from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.cluster import access
from tests.cluster.engine.test_trouble import (
    HUGE,
    LOOPS,
    engine,
    job_of,
    own,
    patch_job,
    until_over,
)
from tests.contract.engine import make_run
from tests.support import waiting
from tests.support.cluster_profiles import cluster_profile
from tests.support.old_version import old_version
from tests.support.run_endings import delete_job, end, launched, until

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine
    from fyre.runs.run import Run, RunRecord
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

__all__ = ["engine", "old_version", "own"]  # fixtures


def held(engine: KubernetesEngine, sha: str, command: str = "echo on", **spec: object) -> Run:
    run = make_run(sha, command, **spec)
    assert engine.launch(run, hold=True, reason="needs prep")
    return run


def known(engine: KubernetesEngine, run: Run) -> RunRecord:
    record = engine.get_record(run.key)
    assert record is not None
    return record


def pods_made(admin: access.Admin, namespace: str, run: Run) -> int:
    """The pods that were ever created for a run, by the events of its Job."""
    job = job_of(admin, namespace, run)
    selector = f"involvedObject.uid={job.metadata.uid},reason=SuccessfulCreate"
    return len(admin.core.list_namespaced_event(namespace, field_selector=selector).items)


def succeeds_once(engine: KubernetesEngine, admin: access.Admin, namespace: str, run: Run) -> None:
    record, log = end(engine, run)
    assert (record.state, record.tries, log) == (RunState.SUCCEEDED, 1, "on\n")
    assert pods_made(admin, namespace, run) == 1


def test_a_restart_finds_it_held(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = held(on_cluster(), sha)
    then = on_cluster()
    assert (known(then, run).state, known(then, run).reason) == (RunState.WAITING, "needs prep")
    assert not then.launch(run)
    assert then.release(run.key)
    assert not on_cluster().release(run.key)
    succeeds_once(on_cluster(), admin, namespace, run)


def test_a_job_that_is_resumed_by_hand_has_no_pod_until_it_is_released(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = held(engine, sha)
    patch_job(admin, namespace, run, {"suspend": False})
    # Of a suspended Job its controller writes no such time.
    waiting.until(lambda: job_of(admin, namespace, run).status.start_time)
    assert known(engine, run).state is RunState.WAITING
    assert pods_made(admin, namespace, run) == 0
    assert engine.release(run.key)
    succeeds_once(engine, admin, namespace, run)


def test_9_30a_a_job_whose_label_is_taken_away_is_released(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = held(engine, sha)
    gone = {"metadata": {"labels": {job_labels.KEY_LABEL: None}}}
    admin.batch.patch_namespaced_job(f"fyre-{run.key}", namespace, gone)
    assert engine.release(run.key)
    succeeds_once(engine, admin, namespace, run)


def test_9_30a_a_deleted_job_that_a_finalizer_keeps_is_over(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = held(engine, sha)
    name = f"fyre-{run.key}"
    kept = {"metadata": {"finalizers": ["fyre.test/hold"]}}
    admin.batch.patch_namespaced_job(name, namespace, kept)
    delete_job(admin, namespace, run)
    record, _ = end(engine, run)
    assert (record.state, record.reason) == (RunState.ERROR, "its Job was deleted")
    admin.batch.patch_namespaced_job(name, namespace, {"metadata": {"finalizers": None}})


def test_a_job_that_is_started_by_hand_is_followed(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = held(engine, sha, LOOPS)
    patch_job(admin, namespace, run, {"suspend": False, "parallelism": 1})
    until(engine, run, lambda r: r.state is RunState.RUNNING)
    assert not engine.release(run.key)
    assert engine.cancel(run.key, "bob")
    record, log = end(engine, run)
    assert (record.state, record.tries, log) == (RunState.CANCELLED, 1, "on\n")


def test_a_cancelled_job_ends_so_that_it_is_collected(
    on_cluster: MakeOnCluster, admin: access.Admin, own: str, sha: str
) -> None:
    engine = on_cluster(Policy(namespace=own, history=1.0))
    run = held(engine, sha)
    assert engine.cancel(run.key, "bob")
    record, log = end(engine, run)
    assert (record.state, record.cancelled_by, log) == (RunState.CANCELLED, "bob", "")
    until_over(admin, own, run)
    assert pods_made(admin, own, run) == 0
    engine.annotate(run.key, end_posted=True)
    until_gone(engine, run)


def until_gone(engine: KubernetesEngine, run: Run) -> None:
    waiting.until(lambda: engine.get_record(run.key) is None, 60)


def test_a_cancel_by_another_receiver_is_not_undone(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    """The Job has changed before this engine hears of it: the release is for the Job of before."""
    run = held(engine, sha)
    for informer in engine._informers:
        informer.stop()
    annotations = {job_labels.CANCELLED_BY_ANNOTATION: "eve"}
    patch = {
        "metadata": {"annotations": annotations},
        "spec": {"activeDeadlineSeconds": 1, "parallelism": 0},
    }
    admin.batch.patch_namespaced_job(f"fyre-{run.key}", namespace, patch)
    assert known(engine, run).cancelled_by == ""
    assert not engine.release(run.key)
    assert known(engine, run).cancelled_by == "eve"
    assert job_of(admin, namespace, run).spec.suspend


def test_a_queue_has_it_after_the_release(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    profile = cluster_profile(image=access.IMAGE, termination_grace_seconds=2, queue="gpus")
    engine = on_cluster(profile=profile)
    run = held(engine, sha)
    assert job_labels.KUEUE_QUEUE_LABEL not in job_of(admin, namespace, run).metadata.labels
    # The profiles of another day: the run goes to the queue that it was launched for.
    engine = on_cluster(profile=cluster_profile(image=access.IMAGE, queue="others"))
    assert engine.release(run.key)
    job = job_of(admin, namespace, run)
    assert job.metadata.labels[job_labels.KUEUE_QUEUE_LABEL] == "gpus"
    assert (job.spec.suspend, job.spec.parallelism) == (True, 1)
    assert not {"fyre.dev/held", "fyre.dev/queue"} & job.metadata.annotations.keys()
    record = known(engine, run)
    assert (record.state, record.reason) == (RunState.QUEUED, "waiting in queue gpus")
    patch_job(admin, namespace, run, {"suspend": False})  # as Kueue does
    succeeds_once(engine, admin, namespace, run)


def test_it_is_not_given_up_and_its_time_is_its_own(
    on_cluster: MakeOnCluster, admin: access.Admin, own: str, sha: str
) -> None:
    """A run that was launched later is given up for its time in the queue; this one is released
    after that, and has all of its time.
    """
    engine = on_cluster(Policy(namespace=own, queue_limit=15.0))
    run = held(engine, sha, timeout=30)
    other = launched(engine, sha, "true", resources=HUGE)
    assert end(engine, other)[0].reason.startswith("gave up after")
    assert known(engine, run).state is RunState.WAITING
    assert engine.release(run.key)
    succeeds_once(engine, admin, own, run)


OLD_ENGINE = """
import sys, time
from pathlib import Path
from fyre.engines.kubernetes import KubernetesEngine
from fyre.engines.kubernetes.api import Api
from fyre.engines.kubernetes.delivery import ByExec
from fyre.policy import Policy, Profile
kubeconfig, namespace, git_dir, state, key, limit = sys.argv[1:]
policy = Policy(namespace=namespace, queue_limit=float(limit), profiles={"default": Profile()})
api = Api(kubeconfig)
engine = KubernetesEngine(
    api, Path(state), policy=policy, delivery=ByExec(api, lambda _: Path(git_dir))
)
record = engine.record(key)
print(record.state, record.reason)
deadline = time.monotonic() + 60
while float(limit) < 60 and not (record := engine.record(key)).state.final:
    assert time.monotonic() < deadline, record
    time.sleep(0.1)
engine.close()
"""


@pytest.fixture
def serve_old(old_version: Path, namespace: str, tmp_path: Path) -> Callable[..., str]:
    """Have 0.1's engine look after a held run; return what it takes the run for at first."""
    env = {**os.environ, "PYTHONPATH": str(old_version)}
    place = (access.KUBECONFIG, namespace, tmp_path, tmp_path / "old state")

    def serve(*given: Any) -> str:
        words = [sys.executable, "-c", OLD_ENGINE, *map(str, (*place, *given))]
        done = subprocess.run(
            words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return serve


def test_version_0_1_never_starts_it(
    on_cluster: MakeOnCluster,
    admin: access.Admin,
    namespace: str,
    serve_old: Callable[..., str],
    sha: str,
) -> None:
    """To 0.1 it is a Job that somebody suspended: it gives the run up after its queue limit."""
    engine = on_cluster()
    kept, given_up = held(engine, sha), held(engine, sha)
    engine.close()
    assert serve_old(kept.key, 86400) == "queued suspended"
    assert known(on_cluster(), kept).state is RunState.WAITING
    assert serve_old(given_up.key, 0) == "queued suspended"
    engine = on_cluster()
    record, log = end(engine, given_up)
    assert (record.state, record.tries, log) == (RunState.ERROR, 0, "")
    assert record.reason.startswith("gave up after")
    assert not engine.release(given_up.key)
    assert pods_made(admin, namespace, given_up) == 0
