"""kill -9 of ``fyre up --engine kubernetes`` at random moments: nothing lost, nothing run twice,
nothing left pending.

Each round pushes some commits, each with a run; the server is killed at a random moment from the
start of the push on, and started again. Starts are counted twice over: pods whose command was
started, as a watcher of its own saw them and as they lie there at the end, and the line that each
command prints, in its log. ``python benchmarks/faults/cluster_kill.py [KILLS] [RUNS] [SEED]``
prints JSON and exits 1 if a promise was broken.
"""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture

if TYPE_CHECKING:
    from tests.cluster.access import Admin

LATEST = 8.0
"""Seconds after the push began at which the server is killed at the latest: most of a push's runs have ended then."""


class Starts:
    """The pods whose command was started, by commit, and every Job that there ever was, by commit."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self.pods: defaultdict[str, set[str]] = defaultdict(set)
        self.jobs: defaultdict[str, set[str]] = defaultdict(set)
        self._admin, self._namespace = admin, namespace
        for lists, into, counts in (
            (admin.core.list_namespaced_pod, self.pods, _was_started),
            (admin.batch.list_namespaced_job, self.jobs, lambda _: True),
        ):
            threading.Thread(target=self._watch, args=(lists, into, counts), daemon=True).start()

    def _watch(self, lists: Any, into: dict[str, set[str]], counts: Any) -> None:  # noqa: ANN401 - two kinds of each
        from kubernetes import watch

        while True:
            with suppress(Exception):  # the namespace goes, at the end
                for event in watch.Watch().stream(lists, self._namespace):
                    self._count(event["raw_object"], into, counts)

    def look(self) -> None:
        """Count what lies there now."""
        api = self._admin.api.sanitize_for_serialization
        for pod in self._admin.core.list_namespaced_pod(self._namespace).items:
            self._count(api(pod), self.pods, _was_started)

    def _count(self, thing: dict[str, Any], into: dict[str, set[str]], counts: Any) -> None:  # noqa: ANN401
        if counts(thing):
            into[thing["metadata"]["labels"]["fyre.dev/sha"]].add(thing["metadata"]["uid"])


def _was_started(pod: dict[str, Any]) -> bool:
    states = [s.get("state", {}) for s in pod["status"].get("containerStatuses") or []]
    return any("running" in state or "terminated" in state for state in states)


def main(kills: int, runs: int, seed: int) -> None:
    """So many rounds, then the count."""
    rng = random.Random(seed)
    with cluster.create_namespace() as (admin, namespace), up_fixture.temporary_folder() as folder:
        server = up_fixture.Server(
            folder / "state", 2, cluster.up_options(namespace, cluster.relay_address())
        )
        with server.running():
            path = up_fixture.create_repository(folder, "kill", files=10)
            up_fixture.git("remote", "add", "origin", f"{server.url}/bench/kill.git", cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
            starts = Starts(admin, namespace)
            shas: list[str] = []
            moments: list[float] = []
            for number in range(kills):
                some = math.ceil((runs - len(shas)) / (kills - number))
                shas += up_fixture.create_commits(
                    path, [f"Round {number}.{n}\n\nFyre-Run: {COMMAND}\n" for n in range(some)]
                )
                moments.append(one_round(server, path, rng.uniform(0, LATEST)))
            final = {sha: wait(server, sha) for sha in shas}
            statuses = {
                sha: server.get(f"/repos/bench/kill/commits/{sha}/statuses?per_page=100")
                for sha in shas
            }
            lines = {sha: printed(final[sha]) for sha in shas}
            starts.look()
        log = (folder / "server.log").read_text()
    told = {
        "kills": kills,
        "seed": seed,
        "runs": len(shas),
        "bugs_in_the_servers_log": log.count("Traceback"),
    }
    broken = report(
        told, starts, final=final, doubled=doubled_statuses(statuses, moments), lines=lines
    )
    sys.exit(broken)


COMMAND = "echo started $FYRE_SHA; sleep 0.2"


def one_round(server: up_fixture.Server, path: Path, after: float) -> float:
    """Push, kill at that moment, start again; a push that the kill cut short is repeated, as a person would."""
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


def wait(server: up_fixture.Server, sha: str, seconds: float = 300) -> dict[str, Any]:
    """The combined status once it is final."""
    deadline = time.monotonic() + seconds
    while True:
        combined: dict[str, Any] = server.get(f"/repos/bench/kill/commits/{sha}/status")
        if combined["state"] != "pending" or time.monotonic() > deadline:
            return combined
        time.sleep(0.2)


def printed(final: dict[str, Any]) -> int:
    """How often its log says that the command was started."""
    if not final["statuses"]:
        return 0
    with urllib.request.urlopen(final["statuses"][0]["target_url"] + "/log", timeout=30) as answer:
        return int(answer.read().decode().splitlines().count(f"started {final['sha']}"))


def doubled_statuses(
    statuses: dict[str, list[dict[str, Any]]], moments: list[float]
) -> list[tuple[str, bool]]:
    """Statuses that say what the one before them said: the state, and whether a kill came just
    after the first one.

    The forge's times are whole seconds, so from that second to two seconds later counts as just
    after.
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
    told: dict[str, int],
    starts: Starts,
    *,
    final: dict[str, dict[str, Any]],
    doubled: list[tuple[str, bool]],
    lines: dict[str, int],
) -> bool:
    """What was promised, counted; whether any of it was broken."""
    lost = [sha for sha in final if not starts.pods[sha]]
    twice = [
        sha
        for sha in final
        if len(starts.pods[sha]) > 1 or len(starts.jobs[sha]) > 1 or lines[sha] > 1
    ]
    states = Counter(str(one["state"]) for one in final.values())
    unexplained = sum(not beside_a_kill for _, beside_a_kill in doubled)
    print(json.dumps({
        **told,
        "runs_lost": len(lost),
        "runs_started_twice": len(twice),
        "left_pending": states["pending"],
        "states": states,
        "logs_without_their_line": sum(count == 0 for count in lines.values()),
        "statuses_posted_twice": Counter(state for state, _ in doubled),
        "of_these_not_beside_a_kill": unexplained,
    }, indent=2))  # fmt: skip
    return bool(
        lost or twice or unexplained or set(states) != {"success"} or not all(lines.values())
    )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [30, 200, 1][len(numbers) :]))
