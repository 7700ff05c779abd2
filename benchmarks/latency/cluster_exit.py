"""From a process's end to the status that says so, beside a bare watcher of pods and Jobs in the same run.

The command writes the time as its last act; the watcher is another process, so that neither waits for the other.
``python benchmarks/latency/cluster_exit.py [RUNS]`` prints JSON. The kubelet and the Job controller take the greater part.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture

if TYPE_CHECKING:
    from tests.cluster.access import Admin

COMMAND = "sleep 0.2; date +%s%N"


class Watcher:
    """When the API server first said that a run's container had terminated, and that its Job was complete."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self.pods: dict[str, int] = {}
        self.jobs: dict[str, int] = {}
        for lists, said, into in (
            (admin.core.list_namespaced_pod, _terminated, self.pods),
            (admin.batch.list_namespaced_job, _complete, self.jobs),
        ):
            threading.Thread(
                target=self._watch, args=(lists, namespace, said, into), daemon=True
            ).start()

    def _watch(
        self,
        lists: Callable[..., object],
        namespace: str,
        said: Callable[[Any], bool],
        into: dict[str, int],
    ) -> None:
        from kubernetes import watch

        while True:
            with suppress(Exception):  # the namespace goes, at the end
                for event in watch.Watch().stream(lists, namespace):
                    sha = event["raw_object"]["metadata"]["labels"].get("fyre.dev/sha", "")
                    if said(event["raw_object"]):
                        into.setdefault(sha, time.time_ns())


def _terminated(pod: dict[str, Any]) -> bool:
    return any("terminated" in s["state"] for s in pod["status"].get("containerStatuses") or [])


def _complete(job: dict[str, Any]) -> bool:
    return any(c["type"] == "Complete" for c in job["status"].get("conditions") or [])


def main(runs: int) -> None:
    """One run at a time, each watched to its end; then the times side by side."""
    with cluster.namespace() as (admin, namespace):
        relay = cluster.relay()
        with cluster.server(namespace, relay) as (server, folder, seen):
            path = up_fixture.repository(folder, "exits", files=10)
            up_fixture.git("remote", "add", "origin", f"{server.url}/bench/exits.git", cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
            watcher = Watcher(admin, namespace)
            ends = dict(one(server, path, watcher) for _ in range(runs + 1))
            ends.pop(next(iter(ends)))  # the first one pays for what is loaded once
            noted = seen()
    report(ends, noted, watcher, relay)


def one(server: up_fixture.Server, path: Path, watcher: Watcher) -> tuple[str, int]:
    """A run, and when its process ended."""
    sha = up_fixture.commits(path, [f"End\n\nFyre-Run: {COMMAND}\n"])[0]
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        combined = server.get(f"/repos/bench/exits/commits/{sha}/status")
        if combined["state"] != "pending" and sha in watcher.jobs:
            with urllib.request.urlopen(
                combined["statuses"][0]["target_url"] + "/log", timeout=30
            ) as answer:
                return sha, int(answer.read().split()[-1])
        time.sleep(0.1)
    raise RuntimeError(f"{sha} did not end: {combined}")


def report(ends: dict[str, int], noted: list[dict[str, Any]], watcher: Watcher, relay: str) -> None:
    """Milliseconds."""
    heard = {line["sha"]: line["at"] for line in noted if line["what"] == "event"}
    posted = {
        line["sha"]: line["at"] for line in noted if line["what"] == "post"
    }  # the last one: the final state

    def after(there: dict[str, int], since: dict[str, int]) -> list[float]:
        return [(there[sha] - since[sha]) / 1e6 for sha in ends]

    event_to_post = after(posted, heard)
    print(json.dumps({
        "runs": len(ends),
        "code_comes_by": "relay" if relay else "exec",
        "pod_event_to_post_ms": cluster.spread(event_to_post),
        "pod_event_to_post_p50_ms_target": 50,
        "exit_to_post_ms": cluster.spread(after(posted, ends)),
        "exit_to_our_pod_event_ms": cluster.spread(after(heard, ends)),
        "exit_to_bare_watchers_pod_event_ms": cluster.spread(after(watcher.pods, ends)),
        "exit_to_bare_watchers_job_complete_ms": cluster.spread(after(watcher.jobs, ends)),
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
