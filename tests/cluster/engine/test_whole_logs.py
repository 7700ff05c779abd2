"""Logs of short runs on a busy node: each is what its command wrote, byte by byte.

``benchmarks/faults/whole_logs.py`` does the same with two hundred.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from fyre.engines.kubernetes.logs.log_resume import LOST_MARKER
from fyre.runs.state import RunState
from tests.cluster import access
from tests.contract.engine import await_end
from tests.support import written_logs
from tests.support.run_endings import launched, pods_of

if TYPE_CHECKING:
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster


def test_9_24_the_log_of_a_short_run_is_whole_on_a_busy_node(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    """Or its end is on no disk of the node, and the log says so: containerd 1.6 may drop what it
    has not read two seconds after the end of a container.
    """
    engine = on_cluster()
    sizes = written_logs.sizes(8)
    with written_logs.busy_machine():
        runs = [launched(engine, sha, written_logs.writing_command("log", n)) for n in sizes]
        assert {await_end(engine, run.key, 240).state for run in runs} == {RunState.SUCCEEDED}
    for run, size in zip(runs, sizes, strict=True):
        log = b"".join(engine.read_log(run.key))
        expected = written_logs.expected_log("log", size)
        if log.endswith(LOST_MARKER):
            (pod,) = pods_of(admin, namespace, run)
            raw = admin.core.read_namespaced_pod_log(pod.metadata.name, namespace, container="run")
            assert "fyre-end" not in raw
            expected = expected[: len(raw)] + LOST_MARKER
        assert len(log) == len(expected)
        assert hashlib.sha256(log).digest() == hashlib.sha256(expected).digest()


def test_9_24_the_end_mark_does_not_show_where_something_writes_on_after_it(
    on_cluster: MakeOnCluster, sha: str
) -> None:
    engine = on_cluster()
    command = "(while :; do echo on; sleep 0.01; done) & sleep 1; printf out"
    run = launched(engine, sha, command)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    log = b"".join(engine.read_log(run.key))
    assert (b"out" in log, b"fyre-end" in log) == (True, False)
