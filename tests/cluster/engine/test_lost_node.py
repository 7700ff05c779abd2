"""A node whose kubelet stops for minutes, with runs on it, and comes back.

It is the cluster's only node, so this runs by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fyre.engines.kubernetes import pending_monitor, run_status
from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.cluster import access
from tests.contract.engine import await_end
from tests.support import waiting
from tests.support.cluster_profiles import cluster_profile
from tests.support.run_endings import end, launched, own_lines, pods_of, until_log

if TYPE_CHECKING:
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.disruptive

NODE_TIMEOUT = 120
"""Seconds: the node controller takes a node for lost after 40 or 50."""

SOON_TAKEN_AWAY = tuple(
    {
        "key": f"node.kubernetes.io/{taint}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 2,
    }
    for taint in ("unreachable", "not-ready")
)
"""Tolerations of a pod that is deleted soon after its node is lost: by default it is after five
minutes."""


def is_node_ready(admin: access.Admin) -> bool:
    (node,) = admin.core.list_node().items
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


@pytest.fixture
def kubelet(admin: access.Admin) -> Iterator[int]:
    """The process id of the kubelet, which goes on after the test."""
    file = Path(access.KUBECONFIG + ".pid")
    if not file.exists():
        pytest.skip("this cluster is not ours to break")
    found = subprocess.run(
        ["pgrep", "-P", file.read_text().strip(), "-f", " kubelet "],
        check=True,
        capture_output=True,
        text=True,
    )
    pid = int(found.stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)
        waiting.until(lambda: is_node_ready(admin), NODE_TIMEOUT)


def test_9_24_a_kubelet_that_stops_and_comes_back_leaves_no_false_word(  # noqa: PLR0917 - fixtures
    on_cluster: MakeOnCluster,
    admin: access.Admin,
    namespace: str,
    sha: str,
    kubelet: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending_monitor, "LOST_SECONDS", 1.0)
    profile = cluster_profile(
        image=access.IMAGE, termination_grace_seconds=2, tolerations=SOON_TAKEN_AWAY
    )
    engine = on_cluster(Policy(namespace=namespace), profile)
    lost, cancelled, limited = (
        launched(engine, sha, "echo on; sleep 1000", **more)
        for more in ({}, {}, {"timeout": 20, "retries": 2})
    )
    over = launched(engine, sha, "echo over")
    done = await_end(engine, over.key)
    for run in (lost, cancelled, limited):
        until_log(engine, run, "on")
    os.kill(kubelet, signal.SIGSTOP)
    unseen = launched(engine, sha, "echo late")
    waiting.until(lambda: not is_node_ready(admin), NODE_TIMEOUT)
    engine.cancel(cancelled.key, "ada")
    ends = {run.key: await_end(engine, run.key) for run in (lost, cancelled, limited)}
    assert (ends[lost.key].state, ends[lost.key].reason) == (RunState.ERROR, run_status.LOST_NODE)
    assert ends[cancelled.key].state is RunState.CANCELLED
    assert ends[limited.key].state in {RunState.ERROR, RunState.FAILED}
    assert not engine.get_record(unseen.key).ended_at
    os.kill(kubelet, signal.SIGCONT)
    waiting.until(lambda: is_node_ready(admin), NODE_TIMEOUT)
    record, log = end(engine, unseen)
    assert (record.state, own_lines(log)) == (RunState.SUCCEEDED, ["late"])
    for run in (lost, cancelled, limited):
        waiting.until(lambda run=run: not pods_of(admin, namespace, run, 0), NODE_TIMEOUT)
    time.sleep(3)  # nothing starts again
    assert {key: engine.get_record(key) for key in ends} == ends
    assert engine.get_record(over.key) == done
