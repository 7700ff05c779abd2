"""A real node that is lost with runs on it, and comes back or does not: what is told is true.

It is a node of this module's own, beside the cluster's, so that nobody else is disturbed. The
control plane takes it for lost some 50 seconds after it last heard of it.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fyre.engines.kubernetes import pending_monitor, run_status
from fyre.engines.kubernetes.code_delivery import ExecDelivery
from fyre.engines.kubernetes.logs.log_resume import LOST_MARKER
from fyre.errors import TransientError
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from fyre.runs.run import Run, RunRecord
from fyre.runs.state import RunState
from tests.cluster import access, extra_node
from tests.cluster.extra_node import ExtraNode
from tests.contract.engine import await_end
from tests.support import waiting
from tests.support.cluster_profiles import cluster_profile
from tests.support.run_endings import launched, own_lines, pods_of, until, until_log

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LONG = 240
"""Seconds for what takes the control plane one minute where nobody else needs the machine."""

UNTIL_TOLD = "until [ -e go ]; do sleep 0.2; done"
"""What waits for a file in its checkout, which is on this machine."""

SILENT = "its node does not answer"


@pytest.fixture(scope="module")
def node(admin: access.Admin) -> Iterator[ExtraNode]:
    """A node of our own. There is one at a time: of too many lost nodes no pods are taken away."""
    if why_not := extra_node.why_not():
        pytest.skip(why_not)
    with Path("/run/fyre-test-extra-node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = ExtraNode(Path(tempfile.mkdtemp(prefix="fyre-spare-")), admin)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def profile_on(node: ExtraNode, name: str, taken_after: int, grace: int) -> Profile:
    """Pods for that node, which are deleted so many seconds after it is lost: by default 300."""
    taken = [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": taken_after,
        }
        for taint in ("unreachable", "not-ready")
    ]
    return cluster_profile(
        name,
        image=access.IMAGE,
        termination_grace_seconds=grace,
        node_selector=node.selector,
        tolerations=(*node.tolerations, *taken),
    )


@pytest.fixture
def engine(
    on_cluster: MakeOnCluster, namespace: str, node: ExtraNode, monkeypatch: pytest.MonkeyPatch
) -> KubernetesEngine:
    """Runs on that node; those of the profile "later" are given up much later.

    Their pods bear the node's taint for longer than it takes to go once the node is back.
    """
    monkeypatch.setattr(pending_monitor, "LOST_SECONDS", 1.0)
    node.wake()
    waiting.until(node.is_ready, LONG)
    soon, later = profile_on(node, "default", 2, 2), profile_on(node, "later", 10, 100)
    return on_cluster(Policy(namespace=namespace, profiles={"default": soon, "later": later}))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands whose code does not come yet."""
    waits, deliver = [], ExecDelivery.deliver_code

    def deliver_code(self: ExecDelivery, run: Run, *where: Any) -> None:
        if run.spec.command in waits:
            raise TransientError("not yet")
        deliver(self, run, *where)

    monkeypatch.setattr(ExecDelivery, "deliver_code", deliver_code)
    return waits


@pytest.fixture
def is_deleted(admin: access.Admin, namespace: str) -> Callable[[Run], bool]:
    def ask(run: Run) -> bool:
        return any(pod.metadata.deletion_timestamp for pod in pods_of(admin, namespace, run, 0))

    return ask


def ended(engine: KubernetesEngine, run: Run) -> tuple[RunRecord, list[str]]:
    record = await_end(engine, run.key, LONG)
    return record, own_lines(b"".join(engine.read_log(run.key)).decode())


def begun(engine: KubernetesEngine, sha: str, command: str, **spec: object) -> Run:
    run = launched(engine, sha, command, **spec)
    until_log(engine, run, "on")
    return run


def test_9_24_a_node_that_is_silent_for_a_while_leaves_no_false_word(  # noqa: PLR0917 - fixtures
    engine: KubernetesEngine,
    admin: access.Admin,
    namespace: str,
    sha: str,
    node: ExtraNode,
    gate: list[str],
    is_deleted: Callable[[Run], bool],
) -> None:
    lost, cancelled = (begun(engine, sha, "echo on; sleep 1000") for _ in range(2))
    asleep = begun(engine, sha, "echo on; sleep 1000", profile="later")
    good, bad = (
        begun(engine, sha, f"echo on; {UNTIL_TOLD}; echo off; exit {code}", profile="later")
        for code in (0, 3)
    )
    over = launched(engine, sha, "echo over")
    done, _ = ended(engine, over)
    gate.append("echo fetched")
    fetching = launched(engine, sha, gate[0], profile="later")
    until(engine, fetching, lambda r: r.reason == "checking out")
    # Its timeout comes while the node is silent, before that is known.
    limited = begun(engine, sha, "echo on; sleep 1000", timeout=40, retries=2)

    node.freeze()
    unseen = launched(engine, sha, "echo late", profile="later")
    until(engine, lost, lambda r: r.state is not RunState.RUNNING or r.reason == SILENT, LONG)
    engine.cancel(cancelled.key, "ada")
    ends = {run.key: await_end(engine, run.key, LONG) for run in (lost, cancelled, limited)}
    assert (ends[lost.key].state, ends[lost.key].reason) == (RunState.ERROR, run_status.LOST_NODE)
    assert b"".join(engine.read_log(lost.key)) == b"on\n" + LOST_MARKER  # nobody waits for the rest
    assert ends[cancelled.key].state is RunState.CANCELLED
    assert ends[limited.key].state in {RunState.ERROR, RunState.FAILED}
    for run in (unseen, fetching, good, bad, asleep):
        waiting.until(lambda run=run: is_deleted(run), LONG)
    for run in (unseen, fetching):
        until(engine, run, lambda r: r.reason == "its node was tainted or lost", LONG)
    for run in (good, bad):
        (pod,) = pods_of(admin, namespace, run)
        node.tell(pod)
        waiting.until(lambda pod=pod: "fyre-end" in node.raw_log(pod))
    for run in (good, bad, asleep):
        assert engine.get_record(run.key).reason == SILENT

    gate.clear()
    node.thaw()
    record, said = ended(engine, good)
    assert (record.state, said) == (RunState.SUCCEEDED, ["on", "off"])
    record, said = ended(engine, bad)
    assert (record.state, record.exit_code, said) == (RunState.FAILED, 3, ["on", "off"])
    record, said = ended(engine, asleep)
    assert (record.state, said) == (RunState.ERROR, ["on"])
    assert record.reason.startswith("its node was tainted or lost")
    for run, text in ((unseen, "late"), (fetching, "fetched")):
        record, said = ended(engine, run)
        assert (record.state, record.exit_code, said[-1]) == (RunState.SUCCEEDED, 0, text), record
    assert {key: engine.get_record(key) for key in ends} == ends
    assert engine.get_record(over.key) == done


def test_9_24_a_node_that_never_comes_back_holds_no_run(
    engine: KubernetesEngine,
    sha: str,
    node: ExtraNode,
    is_deleted: Callable[[Run], bool],
) -> None:
    lost = begun(engine, sha, "echo on; sleep 1000")
    node.end_program("kubelet")
    unseen = launched(engine, sha, "echo late")
    record = await_end(engine, lost.key, LONG)
    assert (record.state, record.reason) == (RunState.ERROR, run_status.LOST_NODE)
    waiting.until(lambda: is_deleted(unseen), LONG)
    node.leave()  # as somebody does who knows that it is gone, or the cloud
    until(engine, unseen, lambda r: "unschedulable" in r.reason, LONG)
    node.start_kubelet()
    record, said = ended(engine, unseen)
    assert (record.state, said) == (RunState.SUCCEEDED, ["late"])
    assert engine.get_record(lost.key).reason == run_status.LOST_NODE
