"""Launch a run on a cluster, wait for it, and do to it what an admin does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kubernetes.client import ApiException

from fyre.engines.protocol import Engine
from fyre.runs.run import Run, RunRecord
from tests.contract.engine import await_end, make_run

if TYPE_CHECKING:
    from tests.cluster.access import Admin


def launched(engine: Engine, sha: str, command: str, **spec: object) -> Run:
    """Launch a run and return it."""
    run = make_run(sha, command, **spec)
    assert engine.launch(run)
    return run


def until(
    engine: Engine, run: Run, accept: Callable[[RunRecord], bool], seconds: float = 60.0
) -> RunRecord:
    """Return the record of a run as soon as it is accepted; fail the test after so many seconds."""
    deadline = time.monotonic() + seconds
    while (record := engine.get_record(run.key)) is None or not accept(record):
        assert time.monotonic() < deadline, f"still {record}"
        time.sleep(0.02)
    return record


def until_log(engine: Engine, run: Run, part: str) -> None:
    """Wait until the log contains that text."""
    deadline = time.monotonic() + 60
    while part.encode() not in b"".join(engine.read_log(run.key)):
        assert time.monotonic() < deadline, engine.get_record(run.key)
        time.sleep(0.05)


def end(engine: Engine, run: Run) -> tuple[RunRecord, str]:
    """Wait for the end of a run; return its record and its log."""
    record = await_end(engine, run.key, 90)
    return record, b"".join(engine.read_log(run.key)).decode(errors="replace")


def pods_of(admin: Admin, namespace: str, run: Run, count: int = 1) -> list[Any]:
    """Return the pods of a run, oldest first, as soon as there are so many."""
    deadline = time.monotonic() + 60
    selector = f"fyre.dev/key={run.key}"
    while (
        len(found := admin.core.list_namespaced_pod(namespace, label_selector=selector).items)
        < count
    ):
        assert time.monotonic() < deadline, f"{len(found)} pods"
        time.sleep(0.05)
    return sorted(found, key=lambda pod: pod.metadata.creation_timestamp)


def evict(admin: Admin, namespace: str, name: str) -> None:
    """Evict a pod, as `kubectl drain` does."""
    admin.core.create_namespaced_pod_eviction(
        name, namespace, {"metadata": {"name": name, "namespace": namespace}}
    )


def delete_job(admin: Admin, namespace: str, run: Run, how: str = "Background") -> None:
    """Delete a run's Job, as `kubectl delete job` does."""
    admin.batch.delete_namespaced_job(f"fyre-{run.key}", namespace, propagation_policy=how)


@contextmanager
def on_the_node(admin: Admin, resource: str, amount: int) -> Iterator[None]:
    """Announce a device that no node has on the first node, as a device plugin would."""
    node = admin.core.list_node().items[0].metadata.name
    path = resource.replace("/", "~1")
    where = [f"/status/{kind}/{path}" for kind in ("capacity", "allocatable")]
    admin.core.patch_node_status(
        node, [{"op": "add", "path": path, "value": str(amount)} for path in where]
    )
    try:
        yield
    finally:
        for path in where:
            try:
                admin.core.patch_node_status(node, [{"op": "remove", "path": path}])
            except ApiException as error:  # 422: it is not there; the kubelet may have taken it off
                if error.status != 422:
                    raise


def own_lines(log: str) -> list[str]:
    """Return the lines of a log but those in which a shell names the signal that its child got.

    All of a command is told to end, and not every shell says so.
    """
    return [line for line in log.splitlines() if line != "Terminated"]
