"""Time that the container for outputs adds to a run on a cluster, beside runs without one.

Two servers take turns, one with ``--upload-image`` and one without. The command prints the time as
its first and last act: so the times are those from the push to the command's start, and from its
end to the final status, of runs that leave nothing, and of runs that leave 10 MB in ten files.
``python benchmarks/latency/cluster_outputs.py [RUNS]`` prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture

NOTHING = "date +%s%N; sleep 0.2; date +%s%N"
FILES = (
    "date +%s%N; for i in 0 1 2 3 4 5 6 7 8 9; do "
    '[ -z "$FYRE_OUTPUTS" ] || head -c 1000000 /dev/urandom > "$FYRE_OUTPUTS/$i"; done; date +%s%N'
)


class Lane:
    """One server with a repository, and the times of its runs in milliseconds."""

    def __init__(self, server: up_fixture.Server, path: Path) -> None:
        self.server, self.path = server, path
        self.starts: list[float] = []
        self.ends: dict[str, list[float]] = {NOTHING: [], FILES: []}
        up_fixture.git("remote", "add", "origin", f"{server.url}/bench/outputs.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)

    def run(self, command: str) -> None:
        """Push one run, wait for its final status, and note its times."""
        sha = up_fixture.create_commits(self.path, [f"Run\n\nFyre-Run: {command}\n"])[0]
        pushed_at = time.time_ns()
        up_fixture.git("push", "-q", "origin", "main", cwd=self.path)
        page, posted_at = self._await_end(sha)
        with urllib.request.urlopen(f"{page}/log", timeout=30) as answer:
            began_at, ended_at = map(int, answer.read().split())
        self.starts.append((began_at - pushed_at) / 1e6)
        self.ends[command].append((posted_at - ended_at) / 1e6)

    def _await_end(self, sha: str) -> tuple[str, int]:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            combined = self.server.get(f"/repos/bench/outputs/commits/{sha}/status")
            if combined["state"] not in ("pending", "success"):
                raise RuntimeError(f"{sha} did not succeed: {combined}")
            if combined["state"] == "success":
                return combined["statuses"][0]["target_url"], time.time_ns()
            time.sleep(0.02)
        raise RuntimeError(f"{sha} did not end: {combined}")


def main(runs: int) -> None:
    """Have both servers run the commands in turns; then compare."""
    with ExitStack() as stack:
        _, namespace = stack.enter_context(cluster.create_namespace())
        lanes = {
            keeps: _open_lane(stack, namespace, keeps_outputs=keeps) for keeps in (False, True)
        }
        for number in range(runs + 1):
            for command in (NOTHING, FILES):
                for lane in lanes.values():
                    lane.run(command)
            if not number:  # the first ones pay for what is loaded once
                for lane in lanes.values():
                    lane.starts.clear()
                    for ends in lane.ends.values():
                        ends.clear()
    without, with_outputs = lanes[False], lanes[True]
    print(json.dumps({
        "runs": runs,
        "push_to_start_ms": _compare(without.starts, with_outputs.starts),
        "end_to_status_of_nothing_ms": _compare(without.ends[NOTHING], with_outputs.ends[NOTHING]),
        "end_to_status_of_10_MB_ms": _compare(without.ends[FILES], with_outputs.ends[FILES]),
    }, indent=2))  # fmt: skip


def _open_lane(stack: ExitStack, namespace: str, *, keeps_outputs: bool) -> Lane:
    relay = cluster.relay_address()
    if not relay:
        sys.exit("pods of this cluster have no known way to this machine")
    folder = stack.enter_context(up_fixture.temporary_folder())
    options = cluster.up_options(namespace, relay, keeps_outputs=keeps_outputs)
    server = up_fixture.Server(folder / "state", 2, options)
    stack.enter_context(server.running())
    return Lane(server, up_fixture.create_repository(folder, "outputs", files=10))


def _compare(without: list[float], with_outputs: list[float]) -> dict[str, float]:
    base, ours = median(without), median(with_outputs)
    return {
        "without": round(base, 1),
        "with": round(ours, 1),
        "added": round(ours - base, 1),
        "ratio": round(ours / base, 2),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
