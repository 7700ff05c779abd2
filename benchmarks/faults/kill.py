"""kill -9 of the server at random moments during pushes: nothing lost, run twice or left pending.

Each round pushes some commits, each with a run that appends its SHA to a file as its very first
act; the server is killed at a random moment from the start of the push on, and started again.
``python benchmarks/faults/kill.py [KILLS] [SEED]`` prints JSON and exits 1 if a promise was
broken.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture

PER_PUSH = 8


def main(kills: int, seed: int) -> None:
    """Push and kill so many times, then count."""
    rng = random.Random(seed)
    with up_fixture.run_up() as (server, folder):
        path = up_fixture.create_repository(folder, "kill", files=30)
        started = folder / "started"
        started.touch()
        up_fixture.git("remote", "add", "origin", f"{server.url}/bench/kill.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        shas: list[str] = []
        moments = []
        for number in range(kills):
            shas += up_fixture.create_commits(
                path, [commit_message(started, number, n) for n in range(PER_PUSH)]
            )
            moments.append(push_and_kill(server, path, rng.uniform(0, 0.8)))
        final = {sha: wait_for_state(server, sha) for sha in shas}
        statuses = {
            sha: server.get(f"/repos/bench/kill/statuses/{sha}?per_page=100") for sha in shas
        }
        times = Counter(started.read_text().split())
    lost = [sha for sha in shas if not times[sha]]
    twice = [sha for sha in shas if times[sha] > 1]
    result = {
        "kills": kills,
        "seed": seed,
        "runs": len(shas),
        "runs_lost": len(lost),
        "runs_started_twice": len(twice),
        "left_pending": sum(state == "pending" for state in final.values()),
        "states": Counter(final.values()),
        "statuses_posted": sum(map(len, statuses.values())),
        "terminal_statuses_posted_twice": sum(
            sum(one["state"] != "pending" for one in found) > 1 for found in statuses.values()
        ),
        "kill_seconds_after_the_push_began": [round(min(moments), 2), round(max(moments), 2)],
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(lost or twice or result["left_pending"] or set(final.values()) != {"success"}))


def commit_message(started: Path, number: int, n: int) -> str:
    """Return a message whose run records at once that it was started, and then takes a moment."""
    return f"Round {number}.{n}\n\nFyre-Run: echo $FYRE_SHA >> {started}; sleep 0.05\n"


def push_and_kill(server: up_fixture.Server, path: Path, after: float) -> float:
    """Push, kill after so many seconds, start again.

    Repeat a push that the kill cut short, as a person would.
    """
    push = subprocess.Popen(
        ["git", "push", "-q", "origin", "main"], cwd=path, stderr=subprocess.DEVNULL
    )
    time.sleep(after)
    server.stop(signal.SIGKILL)
    push.wait()
    server.start()
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    return after


def wait_for_state(server: up_fixture.Server, sha: str, seconds: float = 120) -> str:
    """Return the combined state once it is final, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        combined = server.get(f"/repos/bench/kill/commits/{sha}/status")
        if combined["state"] != "pending" or time.monotonic() > deadline:
            return str(combined["state"])
        time.sleep(0.1)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 50, int(sys.argv[2]) if len(sys.argv) > 2 else 1
    )
