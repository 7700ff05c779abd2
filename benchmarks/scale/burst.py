"""One push of 500 commits, a run each, against the bare loop of checkout and spawn at the same concurrency.

``python benchmarks/scale/burst.py [COMMITS] [JOBS]`` prints JSON: seconds of both, the ratio, the server's memory, and
whether every SHA ended with the right status.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import bare_loop, up_fixture


def command(number: int) -> str:
    """Every tenth run fails, so that "the right status" means something."""
    return f"cat counter; exit {3 if number % 10 == 0 else 0}"


def main(count: int, jobs: int) -> None:
    """Push, wait for every status, then run the loop."""
    with up_fixture.server(jobs) as (server, folder):
        path = up_fixture.repository(folder, "burst")
        up_fixture.git("remote", "add", "origin", f"{server.url}/bench/burst.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        time.sleep(1)
        shas = up_fixture.commits(
            path, [f"Change {n}\n\nFyre-Run: {command(n)}\n" for n in range(count)]
        )
        before = server.memory_mb()
        begun = time.perf_counter()
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        states = wait(server, shas)
        fyre = time.perf_counter() - begun
        right = sum(
            state == ("failure" if n % 10 == 0 else "success") for n, state in enumerate(states)
        )
        memory = server.memory_mb()
        begun = time.perf_counter()
        commands = [(sha, command(n)) for n, sha in enumerate(shas)]
        codes = bare_loop.run_commands(next(server.root.rglob("burst.git")), commands, jobs)
        loop = time.perf_counter() - begun
    assert codes == [3 if n % 10 == 0 else 0 for n in range(count)], codes[:20]
    print(json.dumps({
        "commits": count,
        "jobs": jobs,
        "right_statuses": right,
        "states": Counter(states),
        "fyre_seconds": round(fyre, 2),
        "bare_loop_seconds": round(loop, 2),
        "ratio": round(fyre / loop, 2),
        "ratio_target": 2,
        "server_memory_mb_before": round(before, 1),
        "server_memory_mb_most": round(memory, 1),
        "server_memory_mb_target": 150,
    }, indent=2))  # fmt: skip
    sys.exit(right != count)


def wait(server: up_fixture.Server, shas: list[str]) -> list[str]:
    """The final combined state of every SHA; the last one is looked at first, for as long as it is not final."""
    states: dict[str, str] = {}
    for sha in reversed(shas):
        while states.get(sha, "pending") == "pending":
            states[sha] = server.get(f"/repos/bench/burst/commits/{sha}/status")["state"]
            if states[sha] == "pending":
                time.sleep(0.2)
    return [states[sha] for sha in shas]


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 500, int(sys.argv[2]) if len(sys.argv) > 2 else 2
    )
