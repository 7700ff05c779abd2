"""Logs of short runs on a busy cluster: each is what its command wrote, byte by byte.

Each run writes between 1 and 200 kB and ends at once, while other processes take the machine: the
runtime then reports the end of a container before it has written the end of its log. containerd 1.6
may also drop the end, if it has not read it two seconds later: then the log must say so. ``python
benchmarks/faults/whole_logs.py [RUNS]`` prints JSON and exits 1 if a log is another one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture
from fyre.engines.kubernetes.logs.log_resume import LOST_MARKER
from tests.support import written_logs

AT_ONCE = 20


def main(runs: int) -> int:
    """Push so many runs, some at a time, and compare their logs with what they wrote."""
    begun = time.monotonic()
    found: list[dict[str, int | str]] = []
    with cluster.create_namespace() as (_, namespace):
        relay = cluster.relay_address()
        with cluster.run_server(namespace, relay) as (server, folder, _):
            path = up_fixture.create_repository(folder, "logs", files=3)
            up_fixture.git("remote", "add", "origin", f"{server.url}/bench/logs.git", cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
            sizes = written_logs.sizes(runs)
            with written_logs.busy_machine():
                for start in range(0, runs, AT_ONCE):
                    numbers = list(range(start, min(runs, start + AT_ONCE)))
                    logs = run_all(server, path, [sizes[number] for number in numbers])
                    for number, log in zip(numbers, logs, strict=True):
                        expected = written_logs.expected_log("log", sizes[number])
                        found.append(compare(log, expected))
    verdicts = Counter(one["verdict"] for one in found)
    result = {
        "runs": runs,
        "bytes": sum(int(one["written"]) for one in found),
        "seconds": round(time.monotonic() - begun, 1),
        "equal_sha256": verdicts["equal"],
        "cut_by_the_runtime_and_says_so": verdicts["cut"],
        "different": [one for one in found if one["verdict"] == "different"],
    }
    print(json.dumps(result, indent=2))
    return 1 if result["different"] else 0


def compare(log: bytes, expected: bytes) -> dict[str, int | str]:
    """Return whether a log is what was written, or the beginning of that and says so."""
    verdict = "different"
    if hashlib.sha256(log).digest() == hashlib.sha256(expected).digest():
        verdict = "equal"
    elif log.endswith(LOST_MARKER) and expected.startswith(log.removesuffix(LOST_MARKER)):
        verdict = "cut"
    return {"verdict": verdict, "written": len(expected), "kept": len(log)}


def run_all(server: up_fixture.Server, path: Path, sizes: list[int]) -> list[bytes]:
    """Push a run for each size; return their logs as the receiver keeps them."""
    commands = [written_logs.writing_command("log", size) for size in sizes]
    messages = [f"Write\n\nFyre-Run: {command}\n" for command in commands]
    shas = up_fixture.create_commits(path, messages)
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    return [read_log(server, sha) for sha in shas]


def read_log(server: up_fixture.Server, sha: str) -> bytes:
    """Wait for the end of a run, and return its log."""
    deadline = time.monotonic() + 300
    while (combined := server.get(f"/repos/bench/logs/commits/{sha}/status"))["state"] == "pending":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{sha} did not end: {combined}")
        time.sleep(0.2)
    url = combined["statuses"][0]["target_url"] + "/log?follow=1"  # else: what there is of it now
    with urllib.request.urlopen(url, timeout=120) as log:
        return bytes(log.read())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
