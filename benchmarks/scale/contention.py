"""A push and a cancel while something else is slow: a sweep, a fetch, much to read, many branches.

A ``fyre serve`` with a forge whose API takes 100 ms a request. The floor is the same push and the
same cancel while nothing else is going on, in the same run. Then 300 repositories are there, the
receiver starts again, and while its sweep asks about them one repository's git server stops
answering, another one gets 40 MB of messages, another one 1,500 branches. At the end the receiver
gets SIGTERM while that fetch still waits.

``python benchmarks/scale/contention.py [REPOSITORIES] [BRANCHES] [MEGABYTES]`` prints JSON: seconds
from the push to the first output of its command, and from the comment to the command's TERM, the
worst of some rounds. Exits 1 if one is over its target, and over three times the floor: a busy
machine makes both slower.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import serve_fixture, up_fixture
from fyre.local_forge.forge import LocalForge

LATENCY = 0.1  # seconds of each request to the API
ROUNDS = 3
TARGETS = {"push": 2.0, "cancel": 1.0, "sigterm": 5.0}  # seconds
PATIENCE = 90.0  # seconds after which a figure counts as "never"


@dataclass
class SlowForge:
    """In front of the forge: a slow API, and git that does not answer for one repository."""

    app: ASGIApp
    stalled: str = ""  # the path of the repository whose git requests wait
    waiting: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on after its time."""
        path = scope.get("path", "")
        if path.startswith("/api/"):
            await asyncio.sleep(LATENCY)
        elif self.stalled and path.startswith(self.stalled) and _is_receiver(scope):
            self.waiting += 1
            while self.stalled:
                await asyncio.sleep(0.05)
        await self.app(scope, receive, send)


def _is_receiver(scope: Scope) -> bool:
    """Return True for a fetch: people can still push."""
    return "git-upload-pack" in scope["path"] + scope["query_string"].decode()


@dataclass
class Bench:
    """The forge, the clones, and the folder in which commands leave their marks."""

    folder: Path
    forge: LocalForge
    front: SlowForge
    clones: dict[str, Path] = field(default_factory=dict)
    count: int = 0
    address: str = "127.0.0.1:0"  # of the receiver, once it has one

    def clone(self, name: str) -> Path:
        """Return the clone of a repository, made at the first time."""
        if name not in self.clones:
            path = self.clones[name] = up_fixture.create_repository(self.folder, name, files=1)
            url = f"{self.forge.base_url}/bench/{name}.git"
            up_fixture.git("remote", "add", "origin", url, cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
        return self.clones[name]

    def push(self, name: str, command: str) -> str:
        """Push a commit with a run; return its SHA."""
        path = self.clone(name)
        message = f"Work\n\nFyre-Run: {command}\n"
        up_fixture.git("commit", "-q", "--allow-empty", "-m", message, cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        return up_fixture.git("rev-parse", "HEAD", cwd=path)

    def mark(self) -> Path:
        """Return the path of a new mark."""
        self.count += 1
        return self.folder / f"mark-{self.count}"

    def push_seconds(self, name: str = "other") -> float:
        """Return the seconds from a push to the first output of its command."""
        mark = self.mark()
        begun = time.monotonic()
        self.push(name, f"touch {mark}")
        return seconds_until(mark, begun)

    def long_run(self, name: str) -> tuple[str, Path]:
        """Start a command that leaves a mark at TERM; return its SHA and the mark."""
        started, mark = self.mark(), self.mark()
        loop = (
            f"touch {started}; while [ -e {started} ]; do sleep 0.02; done"  # ends with the folder
        )
        sha = self.push(name, f"trap 'touch {mark}; exit 1' TERM; {loop}")
        seconds_until(started, time.monotonic())
        return sha, mark

    def cancel_seconds(self, name: str, sha: str, mark: Path) -> float:
        """Return the seconds from a comment to the TERM of the command."""
        begun = time.monotonic()
        path = f"/repos/bench/{name}/commits/{sha}/comments"
        serve_fixture.request_json(self.forge, path, {"body": "/fyre cancel"})
        return seconds_until(mark, begun)


def seconds_until(mark: Path, begun: float) -> float:
    """Return the seconds until there is a mark; ``PATIENCE`` if there is none so long."""
    while not mark.exists() and time.monotonic() - begun < PATIENCE:
        time.sleep(0.005)
    return min(time.monotonic() - begun, PATIENCE)


def main(repositories: int, branches: int, megabytes: int) -> None:
    """Measure the floor, then everything at once, and print."""
    fronts: list[SlowForge] = []

    def front(app: ASGIApp) -> ASGIApp:
        fronts.append(SlowForge(app))
        return fronts[0]

    with up_fixture.temporary_folder() as folder, serve_fixture.run_forge(folder, front) as forge:
        bench = Bench(folder, forge, fronts[0])
        for name in ("other", "stalled", "large", "branches"):
            bench.clone(name)
        with running_serve(bench) as (url, _):
            until_swept(url)
            floor = measure(bench, "other")
            prepared = {name: bench.long_run(name) for name in ("stalled", "other")}
        figures = {"floor": floor}
        for number in range(repositories):
            forge.repositories.get_or_create(f"bench/r{number:03}")
        with running_serve(bench) as (url, pid):
            figures["sweep"] = measure(bench, "other")
            figures["stalled_fetch"] = stalled_fetch(bench, prepared)
            figures["large_messages"] = held_up(bench, url, lambda: push_large(bench, megabytes))
            figures["many_branches"] = held_up(bench, url, lambda: push_branches(bench, branches))
            still_sweeping = waiting_events(url) > 0 and not is_swept(url)
            figures["sigterm"] = {"sigterm": seconds_to_end(pid)}
        bench.front.stalled = ""
    report = {
        "repositories": repositories,
        "branches": branches,
        "megabytes_of_messages": megabytes,
        "milliseconds_of_a_request": LATENCY * 1000,
        "sweep_lasted_until_the_end": still_sweeping,
        "targets": TARGETS,
        "seconds": {
            name: {kind: round(value, 2) for kind, value in found.items()}
            for name, found in figures.items()
        },
    }
    print(json.dumps(report, indent=2))
    sys.exit(
        any(
            value > max(TARGETS[word], 3 * floor.get(word, 0.0))
            for found in figures.values()
            for kind, value in found.items()
            for word in [kind.partition("_")[0]]
        )
    )


def measure(bench: Bench, name: str) -> dict[str, float]:
    """Return the worst of some pushes and cancels."""
    pushes = [bench.push_seconds(name) for _ in range(ROUNDS)]
    cancels = [bench.cancel_seconds(name, *bench.long_run(name)) for _ in range(ROUNDS)]
    return {"push": max(pushes), "cancel": max(cancels)}


def stalled_fetch(bench: Bench, prepared: dict[str, tuple[str, Path]]) -> dict[str, float]:
    """Return the same while one repository's fetch waits, and a cancel in that repository."""
    bench.front.stalled = "/bench/stalled.git"
    bench.push("stalled", "true")
    while not bench.front.waiting:
        time.sleep(0.01)
    found = measure(bench, "other")
    return found | {"cancel_in_it": bench.cancel_seconds("stalled", *prepared["stalled"])}


def held_up(bench: Bench, url: str, push: Callable[[], None]) -> dict[str, float]:
    """Return the same after a push that takes long to process."""
    before = waiting_events(url)
    push()
    while waiting_events(url) <= before:
        time.sleep(0.01)
    return measure(bench, "other")


def push_large(bench: Bench, megabytes: int) -> None:
    """Push commits with long messages, each of which asks for nothing."""
    path = bench.clone("large")
    lines = "A line of a message that is as long as lines are, and says nothing at all.\n"
    message = f"Work\n\n{lines * (250_000 // len(lines))}"
    up_fixture.create_commits(path, [message] * (4 * megabytes))
    up_fixture.git("push", "-q", "origin", "main", cwd=path)


def push_branches(bench: Bench, branches: int) -> None:
    """Push new branches, each with a commit of its own."""
    path = bench.clone("branches")
    shas = up_fixture.create_commits(path, [f"Branch {n}" for n in range(branches)])
    refs = "".join(f"create refs/heads/b{n} {sha}\n" for n, sha in enumerate(shas))
    up_fixture.git("update-ref", "--stdin", cwd=path, stdin=refs.encode())
    up_fixture.git("push", "-q", "origin", "refs/heads/b*:refs/heads/b*", cwd=path)


@contextmanager
def running_serve(bench: Bench) -> Iterator[tuple[str, int]]:
    """Run a receiver at the address of the one before; yield its URL and process id."""
    settings = {"FYRE_JOBS": "8", "FYRE_LISTEN": bench.address}
    with serve_fixture.run_serve(bench.folder, bench.forge, settings) as (url, pid):
        if bench.address.endswith(":0"):
            bench.forge.start(f"{url}/webhook")
        bench.address = url.removeprefix("http://")
        yield url, pid


def until_swept(url: str) -> None:
    """Wait for the end of the first sweep."""
    while not is_swept(url):
        time.sleep(0.05)


def is_swept(url: str) -> bool:
    """Return True if the first sweep is over."""
    return metric(url, "fyre_last_sweep_timestamp_seconds") > 0


def waiting_events(url: str) -> float:
    """Return the number of events that are not done."""
    return metric(url, "fyre_events_waiting")


def metric(url: str, name: str) -> float:
    """Return one of the receiver's own figures."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def seconds_to_end(pid: int) -> float:
    """Send SIGTERM; return the seconds until the process has ended."""
    begun = time.monotonic()
    subprocess.run(["kill", f"-{signal.SIGTERM.value}", str(pid)], check=True)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
        if time.monotonic() - begun > PATIENCE:
            break
    return time.monotonic() - begun


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]]
    main(*(sizes + [300, 1500, 40][len(sizes) :]))
