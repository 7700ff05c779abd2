"""From a process's end to the status that reports it, beside a bare watcher of pods and Jobs.

The command prints the time as its last act; the watcher is another process, so that neither waits
for the other. ``python benchmarks/latency/cluster_exit.py [RUNS]`` prints JSON. The kubelet and
the Job controller take the greater part.
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
    """Records when the API server first reported a container's end, and a Job's completion.

    Both are by commit, in nanoseconds since the epoch.
    """

    def __init__(self, admin: Admin, namespace: str) -> None:
        self.pods: dict[str, int] = {}
        self.jobs: dict[str, int] = {}
        for list_objects, has_ended, times in (
            (admin.core.list_namespaced_pod, _terminated, self.pods),
            (admin.batch.list_namespaced_job, _complete, self.jobs),
        ):
            threading.Thread(
                target=self._watch, args=(list_objects, namespace, has_ended, times), daemon=True
            ).start()

    def _watch(
        self,
        list_objects: Callable[..., object],
        namespace: str,
        has_ended: Callable[[Any], bool],
        times: dict[str, int],
    ) -> None:
        from kubernetes import watch

        while True:
            with suppress(Exception):  # the namespace goes, at the end
                for event in watch.Watch().stream(list_objects, namespace):
                    sha = event["raw_object"]["metadata"]["labels"].get("fyre.dev/sha", "")
                    if has_ended(event["raw_object"]):
                        times.setdefault(sha, time.time_ns())


def _terminated(pod: dict[str, Any]) -> bool:
    return any("terminated" in s["state"] for s in pod["status"].get("containerStatuses") or [])


def _complete(job: dict[str, Any]) -> bool:
    return any(c["type"] == "Complete" for c in job["status"].get("conditions") or [])


def main(runs: int) -> None:
    """Run one command at a time and watch each to its end; then compare the times."""
    with cluster.create_namespace() as (admin, namespace):
        relay = cluster.relay_address()
        with cluster.run_server(namespace, relay) as (server, folder, seen):
            path = up_fixture.create_repository(folder, "exits", files=10)
            up_fixture.git("remote", "add", "origin", f"{server.url}/bench/exits.git", cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
            watcher = Watcher(admin, namespace)
            ends = dict(run_once(server, path, watcher) for _ in range(runs + 1))
            ends.pop(next(iter(ends)))  # the first one pays for what is loaded once
            records = seen()
    report(ends, records, watcher, relay)


def run_once(server: up_fixture.Server, path: Path, watcher: Watcher) -> tuple[str, int]:
    """Push one run and wait for its end; return its SHA and the time when its process ended."""
    sha = up_fixture.create_commits(path, [f"End\n\nFyre-Run: {COMMAND}\n"])[0]
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


def report(
    ends: dict[str, int], records: list[dict[str, Any]], watcher: Watcher, relay: str
) -> None:
    """Print the times between the steps, in milliseconds."""
    pod_events = {line["sha"]: line["at"] for line in records if line["what"] == "event"}
    posted = {
        line["sha"]: line["at"] for line in records if line["what"] == "post"
    }  # the last one: the final state

    def after(times: dict[str, int], since: dict[str, int]) -> list[float]:
        return [(times[sha] - since[sha]) / 1e6 for sha in ends]

    event_to_post = after(posted, pod_events)
    print(json.dumps({
        "runs": len(ends),
        "code_comes_by": "relay" if relay else "exec",
        "pod_event_to_post_ms": cluster.p50_and_p99(event_to_post),
        "pod_event_to_post_p50_ms_target": 50,
        "exit_to_post_ms": cluster.p50_and_p99(after(posted, ends)),
        "exit_to_our_pod_event_ms": cluster.p50_and_p99(after(pod_events, ends)),
        "exit_to_bare_watchers_pod_event_ms": cluster.p50_and_p99(after(watcher.pods, ends)),
        "exit_to_bare_watchers_job_complete_ms": cluster.p50_and_p99(after(watcher.jobs, ends)),
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
