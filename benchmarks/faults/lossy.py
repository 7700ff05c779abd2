"""1,000 pushes through a proxy that loses, repeats and reorders webhooks: no run is lost, and none
runs twice.

The embedded forge in one process; ``fyre serve`` with the local engine in another, sweeping every
10 s, the least that it allows; between them a real HTTP proxy. 30 % of the deliveries are answered
202 and never handed on, 20 % are handed on twice, 20 % are kept back until others have passed
them. A push is one update of a branch with one new commit that asks for a run; one ``git push``
updates many branches, and the forge tells of each by itself, as GitHub does.

Each run appends its SHA to a file as its first act: that file says what was lost and what ran
twice. The delay is from a push to its launch, as the engine wrote it down. ``python
benchmarks/faults/lossy.py [PUSHES] [SEED]`` prints JSON; exits 1 if a run is lost or twice, or a
status wrong.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import serve_fixture, up_fixture
from fyre.github.client import GitHubClient
from fyre.local_forge.forge import LocalForge as EmbeddedForge
from fyre.runs import run

REPOSITORIES, BRANCHES = 5, 20
SWEEP = 10.0
FATES = {"dropped": 0.3, "duplicated": 0.2, "reordered": 0.2}
BACKLOG = 25  # runs that may be on their way when more is pushed: a receiver that is behind would hide the rest
PASSED = 5  # deliveries that go before one that is kept back, or a second


class Delivery(NamedTuple):
    """What the forge posted."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def sha(self) -> str:
        """Of the push; "" for anything else."""
        data = json.loads(self.body)
        return str(data.get("after") or "")


class Proxy(ThreadingHTTPServer):
    """Hands deliveries on, or not, or twice, or late."""

    daemon_threads = True

    def __init__(self, target: str, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._host, self._rng, self._mutex = (
            target.removeprefix("http://"),
            random.Random(seed),
            threading.Lock(),
        )
        self._kept: list[
            tuple[int, float, Delivery]
        ] = []  # until how many have passed, and when at the latest
        self._passed = 0
        self.fates: dict[str, str] = {}  # SHA → what became of its delivery
        self.at: dict[str, float] = {}  # SHA → when the forge told of it
        self.codes: Counter[int] = Counter()

    def take(self, one: Delivery) -> int:
        """Decide its fate; the code that the forge is answered."""
        with self._mutex:
            drawn, fate = self._rng.random(), "straight"
            for name, share in FATES.items():
                if 0 <= drawn < share:
                    fate = name
                drawn -= share
            self.fates[one.sha], self.at[one.sha] = fate, time.time()
            self._passed += 1
            if fate == "reordered":
                self._kept.append((self._passed + PASSED, time.monotonic() + 1, one))
        code = 202 if fate in ("dropped", "reordered") else self.forward(one)
        if fate == "duplicated":
            self.forward(one)
        return code

    def handed_on(self) -> set[str]:
        """SHAs of the pushes that the receiver hears of, sooner or later."""
        with self._mutex:
            return {sha for sha, fate in self.fates.items() if fate != "dropped" and sha}

    def release(self) -> None:
        """Hand on what was kept back for long enough."""
        with self._mutex:
            now = time.monotonic()
            due = [entry for entry in self._kept if self._passed >= entry[0] or now >= entry[1]]
            self._kept = [entry for entry in self._kept if entry not in due]
        for entry in due:
            self.forward(entry[2])

    def forward(self, one: Delivery) -> int:
        """Hand it on; what the receiver answers."""
        connection = http.client.HTTPConnection(self._host, timeout=30)
        connection.request("POST", one.path, one.body, one.headers)
        code = connection.getresponse().status
        connection.close()
        with self._mutex:
            self.codes[code] += 1
        return code


class Handler(BaseHTTPRequestHandler):
    """One delivery."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        """Take it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.take(Delivery(self.path, dict(self.headers), body))
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def proxy(target: str, seed: int) -> Iterator[Proxy]:
    """The proxy in a thread, and what it keeps back."""
    with Proxy(target, seed) as found:
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        ended = threading.Event()

        def release() -> None:
            while not ended.wait(0.05):
                found.release()

        releasing = threading.Thread(target=release)
        releasing.start()
        try:
            yield found
        finally:
            ended.set()
            releasing.join()
            found.shutdown()


def histories(path: Path, started: Path, rounds: int) -> list[list[str]]:
    """A commit for each round and branch, each on the one before: SHAs by branch."""
    base = up_fixture.git("rev-parse", "main", cwd=path)
    found = []
    for branch in range(BRANCHES):
        up_fixture.git("reset", "--quiet", "--hard", base, cwd=path)
        messages = [
            f"{path.name} {branch}.{n}\n\nFyre-Run: echo $FYRE_SHA >> {started}\n"
            for n in range(rounds)
        ]
        found.append(up_fixture.create_commits(path, messages))
    return found


def push(
    folder: Path, base: str, started: Path, count: int, between: Proxy
) -> dict[str, list[str]]:
    """Everything, round by round, no faster than runs start; repository → its SHAs."""
    rounds = count // (REPOSITORIES * BRANCHES)
    work = {}
    for number in range(REPOSITORIES):
        path = up_fixture.create_repository(folder, f"lossy{number}", files=10)
        up_fixture.git("remote", "add", "origin", f"{base}/bench/{path.name}.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        work[path] = histories(path, started, rounds)
    for n in range(rounds):
        for path, shas in work.items():
            refs = [f"{branch[n]}:refs/heads/b{b}" for b, branch in enumerate(shas)]
            up_fixture.git("push", "-q", "origin", *refs, cwd=path)
            while len(between.handed_on() - set(started.read_text().split())) > BACKLOG:
                time.sleep(0.05)
    return {
        f"bench/{path.name}": [sha for branch in shas for sha in branch]
        for path, shas in work.items()
    }


def wait(started: Path, count: int, seconds: float) -> None:
    """Until so many runs have started, or for so long that nothing more will come; then for two sweeps more."""
    deadline = time.monotonic() + seconds
    while len(started.read_text().split()) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2 * SWEEP)


def launched(folder: Path) -> dict[str, float]:
    """SHA → when the engine wrote its run down."""
    files = (folder / "serve" / "engine").rglob("run.json")
    found = [(run.from_json(json.loads(file.read_bytes())), file.stat().st_mtime) for file in files]
    return {one.sha: at for one, at in found}


def statuses(on: EmbeddedForge, pushed: dict[str, list[str]]) -> Counter[str]:
    """The words of every commit's statuses, all of them: ``success``, or what else there is."""
    reader, found = GitHubClient(f"{on.base_url}/api", lambda: on.service_token), Counter[str]()
    repositories = {one.name: one for one in reader.list_repositories()}
    for name, shas in pushed.items():
        for sha in shas:
            posted = [one.status.state for one in reader.list_statuses(repositories[name], sha)]
            ends = [state for state in posted if state != "pending"]
            found[" ".join(ends) or "left pending"] += 1
    return found


def main(count: int, seed: int) -> None:
    """Push, wait, count."""
    often = {"FYRE_SWEEP_EVERY": f"{SWEEP:.0f}s"}
    with (
        up_fixture.temporary_folder() as folder,
        serve_fixture.run_forge(folder) as on,
        serve_fixture.run_serve(folder, on, often) as (url, _),
        proxy(url, seed) as between,
    ):
        started = folder / "started"
        started.touch()
        on.start(f"http://127.0.0.1:{between.server_port}/webhook")
        begun = time.monotonic()
        pushed = push(folder, str(on.base_url), started, count, between)
        pushing = time.monotonic() - begun
        shas = [sha for of_one in pushed.values() for sha in of_one]
        wait(started, len(shas), 200)
        times, at = Counter(started.read_text().split()), launched(folder)
        ends = statuses(on, pushed)
        seconds = time.monotonic() - begun
    result = {
        "pushes": len(shas),
        "repositories": len(pushed),
        "seed": seed,
        "fates": Counter(between.fates[sha] for sha in shas),
        "answered": {str(code): number for code, number in sorted(between.codes.items())},
        "lost": sum(not times[sha] for sha in shas),
        "twice": sum(times[sha] > 1 for sha in shas),
        "final_statuses": ends,
        "sweep_seconds": SWEEP,
        "delay_over_sweep": {fate: delays(between, at, fate) for fate in ("straight", "dropped")},
        "pushing_seconds": round(pushing, 1),
        "real_seconds": round(seconds, 1),
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(result["lost"] or result["twice"] or set(ends) != {"success"}))


def delays(between: Proxy, at: dict[str, float], fate: str) -> dict[str, float]:
    """From the forge's word of a push to its launch, over the time between two sweeps."""
    found = [
        (at[sha] - told) / SWEEP
        for sha, told in between.at.items()
        if between.fates[sha] == fate and sha in at
    ]
    return {"median": round(statistics.median(found), 2), "worst": round(max(found), 2)}


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 4,
    )
