"""Jobs that somebody else created, with our labels and a run in them: none of them is believed."""

from __future__ import annotations

import pytest

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.run_status import JOB_DELETED_REASON
from fyre.errors import UserError
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.cluster import access
from tests.contract.engine import await_end, await_state, make_run
from tests.support.engine_fixtures import MakeOnCluster
from tests.support.forged_jobs import annotations_of, copy_job, create_again, forge_pod
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

AS_CREATED = {job_labels.RUN_ANNOTATION, job_labels.SIGNATURE_ANNOTATION}


@pytest.fixture
def own(admin: access.Admin) -> object:
    """A namespace of the test's own."""
    with admin.namespace() as name:
        yield name


def test_9_30a_forged_and_copied_jobs_are_left_alone(
    on_cluster: MakeOnCluster, admin: access.Admin, own: str, sha: str
) -> None:
    from fyre.runs.policy import Policy

    policy = Policy(namespace=own)
    engine = on_cluster(policy)
    run, later = make_run(sha, "exit 3"), make_run(sha, "true")
    engine.launch(run)
    name = f"fyre-{run.key}"
    forged = {
        copy_job(admin, own, name, key="1" * 26, attempt=3),
        copy_job(admin, own, name, key="2" * 26, attempt=2**53 - 1),
        copy_job(admin, own, name, key="3" * 26, name="required", signed=False),
        copy_job(admin, own, name, key=later.key, signed=False),  # before we launch it
    }
    assert await_end(engine, run.key).state is RunState.FAILED
    with pytest.raises(UserError, match="is not this run's"):
        engine.launch(later)
    for name in forged:
        until(lambda name=name: admin.batch.read_namespaced_job(name, own).status.succeeded)
    for _ in range(2):
        assert [record.run for record in engine.query_runs(ALL_RUNS)] == [run]
        assert engine.get_record("2" * 26) is None
        assert not engine.cancel("1" * 26, "ada")
        engine = on_cluster(policy)  # it lists them all
    assert await_end(engine, run.key).state is RunState.FAILED
    seen = {name: annotations_of(admin, own, name) for name in forged}
    assert all(names <= AS_CREATED for names in seen.values())
    assert engine.launch(make_run(sha, "true"))


def test_9_30a_a_job_that_somebody_deletes_and_creates_again_is_not_believed(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine = on_cluster()
    run = make_run(sha, "sleep 600")
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    name = f"fyre-{run.key}"
    original = admin.api.sanitize_for_serialization(
        admin.batch.read_namespaced_job(name, namespace)
    )
    admin.batch.delete_namespaced_job(
        name, namespace, propagation_policy="Background", grace_period_seconds=0
    )
    create_again(admin, namespace, original)
    record = await_end(engine, run.key)
    assert (record.state, record.reason) == (RunState.ERROR, JOB_DELETED_REASON)
    until(lambda: admin.batch.read_namespaced_job(name, namespace).status.succeeded)
    assert await_end(engine, run.key).state is RunState.ERROR
    assert annotations_of(admin, namespace, name) == AS_CREATED
    engine = on_cluster()  # it lists the Job that has the name now
    assert engine.get_record(run.key) is None
    with pytest.raises(UserError, match="is not this run's"):
        engine.launch(run)


@pytest.mark.parametrize("is_early", [True, False])
def test_9_30a_a_pod_that_claims_to_be_the_jobs_changes_nothing(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str, is_early: bool
) -> None:
    engine, run = on_cluster(), make_run(sha, "sleep 4; exit 3")
    engine.launch(run)
    name = f"fyre-{run.key}"
    if not is_early:
        await_state(engine, run.key, RunState.RUNNING)
    for number, left_out in enumerate(["finalizers", "controller-uid"]):
        forge_pod(admin, namespace, name, f"{name}-forged{number}", left_out)
    record = await_end(engine, run.key)
    assert (record.state, record.exit_code) == (RunState.FAILED, 3)
    assert is_early or record.tries == 1  # its controller may end a pod that is one too many
    assert b"forged" not in b"".join(engine.read_log(run.key))


def test_9_30a_a_job_that_adopts_a_pod_of_somebody_else_is_no_success(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine, run = on_cluster(), make_run(sha, "sleep 4; exit 3")
    engine.launch(run)
    name = f"fyre-{run.key}"
    forge_pod(admin, namespace, name, f"{name}-forged", "ownerReferences")
    record = await_end(engine, run.key)
    told = {
        (RunState.ERROR, f"its Job took a pod of somebody else for its own: {name}-forged"),
        (RunState.FAILED, ""),  # the controller may have removed it before it ended
    }
    assert (record.state, record.reason) in told
    assert b"forged" not in b"".join(engine.read_log(run.key))
