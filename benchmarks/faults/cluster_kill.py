"""kill -9 of ``fyre up --engine kubernetes`` at random moments.

Nothing may be lost, run twice or left pending. Each round pushes some commits, each with a run;
the server is killed at a random moment from the start of the push on, and started again. Starts
are counted in two ways: pods whose command was started, as a watcher of its own saw them and as
they are at the end, and the line that each command prints, in its log. ``python
benchmarks/faults/cluster_kill.py [KILLS] [RUNS] [SEED]`` prints JSON and exits 1 if a promise was
broken.
"""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture
from tests.cluster.starts import StartCounter

LATEST = 8.0
"""The latest moment of a kill, in seconds after the push began: most runs have ended then."""


def main(kills: int, runs: int, seed: int) -> None:
    """Push and kill so many times, then count."""
    rng = random.Random(seed)
    with cluster.create_namespace() as (admin, namespace), up_fixture.temporary_folder() as folder:
        server = up_fixture.Server(
            folder / "state", 2, cluster.up_options(namespace, cluster.relay_address())
        )
        with server.running():
            path = up_fixture.create_repository(folder, "kill", files=10)
            up_fixture.git("remote", "add", "origin", f"{server.url}/bench/kill.git", cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
            starts = StartCounter(admin, namespace)
            shas: list[str] = []
            moments: list[float] = []
            for number in range(kills):
                some = math.ceil((runs - len(shas)) / (kills - number))
                shas += up_fixture.create_commits(
                    path, [f"Round {number}.{n}\n\nFyre-Run: {COMMAND}\n" for n in range(some)]
                )
                moments.append(push_and_kill(server, path, rng.uniform(0, LATEST)))
            final = {sha: wait_for_status(server, sha) for sha in shas}
            statuses = {
                sha: server.get(f"/repos/bench/kill/commits/{sha}/statuses?per_page=100")
                for sha in shas
            }
            lines = {sha: count_starts(final[sha]) for sha in shas}
            starts.count_present()
        log = (folder / "server.log").read_text()
    figures = {
        "kills": kills,
        "seed": seed,
        "runs": len(shas),
        "bugs_in_the_servers_log": log.count("Traceback"),
    }
    broken = report(
        figures, starts, final=final, repeated=repeated_statuses(statuses, moments), lines=lines
    )
    sys.exit(broken)


COMMAND = "echo started $FYRE_SHA; sleep 0.2"


def push_and_kill(server: up_fixture.Server, path: Path, after: float) -> float:
    """Push, kill after so many seconds, start again; return the time of the kill.

    Repeat a push that the kill cut short, as a person would.
    """
    push = subprocess.Popen(
        ["git", "push", "-q", "origin", "main"], cwd=path, stderr=subprocess.DEVNULL
    )
    time.sleep(after)
    killed = time.time()
    server.stop(signal.SIGKILL)
    push.wait()
    server.start()
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    return killed


def wait_for_status(server: up_fixture.Server, sha: str, seconds: float = 300) -> dict[str, Any]:
    """Return the combined status once it is final, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        combined: dict[str, Any] = server.get(f"/repos/bench/kill/commits/{sha}/status")
        if combined["state"] != "pending" or time.monotonic() > deadline:
            return combined
        time.sleep(0.2)


def count_starts(final: dict[str, Any]) -> int:
    """Return how often the log of a run has the line that its command prints first."""
    if not final["statuses"]:
        return 0
    with urllib.request.urlopen(final["statuses"][0]["target_url"] + "/log", timeout=30) as answer:
        return int(answer.read().decode().splitlines().count(f"started {final['sha']}"))


def repeated_statuses(
    statuses: dict[str, list[dict[str, Any]]], moments: list[float]
) -> list[tuple[str, bool]]:
    """Return the state of each status that repeats the one before it, and if a kill explains it.

    A kill just after the first one does. The forge's times are whole seconds, so from that second
    to two seconds later counts as just after.
    """
    found = []
    for posted in statuses.values():
        for before, after in zip(posted[1:], posted, strict=False):  # newest first
            if before["state"] == after["state"]:
                at = datetime.fromisoformat(before["created_at"]).timestamp()
                found.append(
                    (str(after["state"]), any(at <= moment <= at + 2 for moment in moments))
                )
    return found


def report(
    figures: dict[str, int],
    starts: StartCounter,
    *,
    final: dict[str, dict[str, Any]],
    repeated: list[tuple[str, bool]],
    lines: dict[str, int],
) -> bool:
    """Print the counts; return True if a promise was broken."""
    lost = [sha for sha in final if not starts.pods[sha]]
    twice = [
        sha
        for sha in final
        if len(starts.pods[sha]) > 1 or len(starts.jobs[sha]) > 1 or lines[sha] > 1
    ]
    states = Counter(str(one["state"]) for one in final.values())
    unexplained = sum(not beside_a_kill for _, beside_a_kill in repeated)
    print(json.dumps({
        **figures,
        "runs_lost": len(lost),
        "runs_started_twice": len(twice),
        "left_pending": states["pending"],
        "states": states,
        "not_successful": [
            one["statuses"][0]["description"] if one["statuses"] else "no status"
            for one in final.values()
            if one["state"] != "success"
        ],
        "logs_without_their_line": sum(count == 0 for count in lines.values()),
        "statuses_posted_twice": Counter(state for state, _ in repeated),
        "of_these_not_beside_a_kill": unexplained,
    }, indent=2))  # fmt: skip
    return bool(
        lost or twice or unexplained or set(states) != {"success"} or not all(lines.values())
    )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [30, 200, 1][len(numbers) :]))
