"""One push of 500 commits, a run each, against the bare loop of checkout and spawn.

Both run as many commands at a time. ``python benchmarks/scale/burst.py [COMMITS] [JOBS] [--rounds
N] [--against CHECKOUT]`` prints JSON: seconds of both, the ratio, the server's memory, and if
every SHA ended with the right status. With ``--against``, another version of Fyre takes its turn
in each round, and ``fyre_over_against`` is the ratio of their seconds. Figures of several rounds
are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import bare_loop, up_fixture, versions
from benchmarks.lib.versions import Version


@dataclass(frozen=True)
class Burst:
    """The outcome of one push, and of the bare loop over the same commits just after it."""

    states: list[str]
    seconds: float
    loop_seconds: float
    memory_before: float  # megabytes
    memory_peak: float

    @property
    def right_statuses(self) -> int:
        """Return the number of commits whose final state is that of their command."""
        return sum(
            state == ("failure" if exit_code(n) else "success")
            for n, state in enumerate(self.states)
        )


def exit_code(number: int) -> int:
    """Return the exit code of a run: every tenth fails, so that statuses can be wrong."""
    return 3 if number % 10 == 0 else 0


def command(number: int) -> str:
    """Return the command of a run."""
    return f"cat counter; exit {exit_code(number)}"


def main(commits: int, jobs: int, rounds: int, against: Path | None) -> None:
    """Measure every version in each round, and print."""
    compared = versions.select_versions(against)
    bursts: dict[str, list[Burst]] = {version.name: [] for version in compared}
    for number in range(rounds or (1 if against is None else 3)):
        for version in versions.in_turn(compared, number):
            bursts[version.name].append(measure(version, commits, jobs))
    figures = {"commits": commits, "jobs": jobs, **report(bursts["fyre"])}
    if against is not None:
        figures["against"] = report(bursts["against"])
        figures["fyre_over_against"] = versions.median_ratio(
            *([one.seconds for one in bursts[version.name]] for version in compared)
        )
    print(json.dumps(figures, indent=2))
    sys.exit(any(one.right_statuses != commits for one in bursts["fyre"]))


def measure(version: Version, count: int, jobs: int) -> Burst:
    """Push to a server of its own, wait for every status, then run the loop."""
    with up_fixture.run_up(jobs, version) as (server, folder):
        path = up_fixture.create_repository(folder, "burst")
        up_fixture.git("remote", "add", "origin", f"{server.url}/bench/burst.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        time.sleep(1)
        messages = [f"Change {n}\n\nFyre-Run: {command(n)}\n" for n in range(count)]
        shas = up_fixture.create_commits(path, messages)
        memory_before = server.memory_mb()
        begun = time.perf_counter()
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        states = wait_for_statuses(server, shas)
        seconds = time.perf_counter() - begun
        memory_peak = server.memory_mb()
        begun = time.perf_counter()
        commands = [(sha, command(n)) for n, sha in enumerate(shas)]
        codes = bare_loop.run_commands(next(server.root.rglob("burst.git")), commands, jobs)
        loop_seconds = time.perf_counter() - begun
    assert codes == [exit_code(n) for n in range(count)], codes[:20]
    return Burst(states, seconds, loop_seconds, memory_before, memory_peak)


def wait_for_statuses(server: up_fixture.Server, shas: list[str]) -> list[str]:
    """Return the final combined state of every SHA.

    The last one is asked for first, for as long as it is not final.
    """
    states: dict[str, str] = {}
    for sha in reversed(shas):
        while states.get(sha, "pending") == "pending":
            states[sha] = server.get(f"/repos/bench/burst/commits/{sha}/status")["state"]
            if states[sha] == "pending":
                time.sleep(0.2)
    return [states[sha] for sha in shas]


def report(bursts: Sequence[Burst]) -> dict[str, object]:
    """Return the figures of one version: medians, and the worst of statuses and memory."""
    worst = min(bursts, key=lambda one: one.right_statuses)
    loop_seconds = [one.loop_seconds for one in bursts]
    return {
        "rounds": len(bursts),
        "right_statuses": worst.right_statuses,
        "states": Counter(worst.states),
        "fyre_seconds": round(statistics.median(one.seconds for one in bursts), 2),
        "bare_loop_seconds": round(statistics.median(loop_seconds), 2),
        "ratio": versions.median_ratio([one.seconds for one in bursts], loop_seconds),
        "ratio_target": 2,
        "server_memory_mb_before": round(max(one.memory_before for one in bursts), 1),
        "server_memory_mb_most": round(max(one.memory_peak for one in bursts), 1),
        "server_memory_mb_target": 150,
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("commits", type=int, nargs="?", default=500)
    arguments.add_argument("jobs", type=int, nargs="?", default=2)
    arguments.add_argument("--rounds", type=int, default=0, help="default: 1, or 3 to compare")
    versions.add_option(arguments)
    main(**vars(arguments.parse_args()))
