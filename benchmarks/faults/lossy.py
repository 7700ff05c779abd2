"""1,000 pushes through a proxy that loses, repeats and reorders webhooks: none is lost or run
twice.

The local forge in one process; ``fyre serve`` with the local engine in another, with a sweep every
10 s, the least that it allows; between them a real HTTP proxy. 30 % of the deliveries get a 202
and are never forwarded, 20 % are forwarded twice, 20 % are held back until others have passed
them. A push is one update of a branch with one new commit that requests a run; one ``git push``
updates many branches, and the forge delivers each by itself, as GitHub does.

Each run appends its SHA to a file as its first act: that file shows what was lost and what ran
twice. The delay is from a push to its launch, as the engine recorded it. ``python
benchmarks/faults/lossy.py [PUSHES] [SEED]`` prints JSON; exits 1 if a run is lost or started
twice, or a status is wrong.
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
from fyre.local_forge.forge import LocalForge
from fyre.runs import run

REPOSITORIES, BRANCHES = 5, 20
SWEEP = 10.0
FATES = {"dropped": 0.3, "duplicated": 0.2, "reordered": 0.2}
# runs that may be waiting when more is pushed: a server that is behind would hide the rest
BACKLOG = 25
PASSED = 5  # deliveries that go before one that is held back, at most for a second


class Delivery(NamedTuple):
    """A webhook as the forge posted it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def sha(self) -> str:
        """Return the SHA of a push; "" for any other event."""
        data = json.loads(self.body)
        return str(data.get("after") or "")


class Proxy(ThreadingHTTPServer):
    """Forwards deliveries, or not, or twice, or late."""

    daemon_threads = True

    def __init__(self, target: str, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._host = target.removeprefix("http://")
        self._rng, self._mutex = random.Random(seed), threading.Lock()
        # the number of deliveries to wait for, the latest time, the delivery
        self._held: list[tuple[int, float, Delivery]] = []
        self._passed = 0
        self.fates: dict[str, str] = {}  # SHA → the fate of its delivery
        self.at: dict[str, float] = {}  # SHA → the time of its delivery
        self.codes: Counter[int] = Counter()

    def take(self, one: Delivery) -> int:
        """Decide the fate of a delivery; return the HTTP status for the forge."""
        with self._mutex:
            drawn, fate = self._rng.random(), "straight"
            for name, share in FATES.items():
                if 0 <= drawn < share:
                    fate = name
                drawn -= share
            self.fates[one.sha], self.at[one.sha] = fate, time.time()
            self._passed += 1
            if fate == "reordered":
                self._held.append((self._passed + PASSED, time.monotonic() + 1, one))
        code = 202 if fate in ("dropped", "reordered") else self.forward(one)
        if fate == "duplicated":
            self.forward(one)
        return code

    def delivered_shas(self) -> set[str]:
        """Return the SHAs of the pushes that are forwarded, sooner or later."""
        with self._mutex:
            return {sha for sha, fate in self.fates.items() if fate != "dropped" and sha}

    def release(self) -> None:
        """Forward what was held back for long enough."""
        with self._mutex:
            now = time.monotonic()
            due = [entry for entry in self._held if self._passed >= entry[0] or now >= entry[1]]
            self._held = [entry for entry in self._held if entry not in due]
        for entry in due:
            self.forward(entry[2])

    def forward(self, one: Delivery) -> int:
        """Forward a delivery; return the HTTP status of the response."""
        connection = http.client.HTTPConnection(self._host, timeout=30)
        connection.request("POST", one.path, one.body, one.headers)
        code = connection.getresponse().status
        connection.close()
        with self._mutex:
            self.codes[code] += 1
        return code


class Handler(BaseHTTPRequestHandler):
    """Receives the deliveries of the forge."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        """Pass the delivery to the proxy."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.take(Delivery(self.path, dict(self.headers), body))
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def run_proxy(target: str, seed: int) -> Iterator[Proxy]:
    """Run the proxy in a thread, and a thread that forwards what it holds back."""
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


def create_histories(path: Path, started: Path, rounds: int) -> list[list[str]]:
    """Create a commit for each round and branch, each on the one before; return SHAs by branch."""
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


def push_all(
    folder: Path, base: str, started: Path, count: int, proxy: Proxy
) -> dict[str, list[str]]:
    """Push round by round, no faster than runs start; return the SHAs of each repository."""
    rounds = count // (REPOSITORIES * BRANCHES)
    work = {}
    for number in range(REPOSITORIES):
        path = up_fixture.create_repository(folder, f"lossy{number}", files=10)
        up_fixture.git("remote", "add", "origin", f"{base}/bench/{path.name}.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        work[path] = create_histories(path, started, rounds)
    for n in range(rounds):
        for path, shas in work.items():
            refs = [f"{branch[n]}:refs/heads/b{b}" for b, branch in enumerate(shas)]
            up_fixture.git("push", "-q", "origin", *refs, cwd=path)
            while len(proxy.delivered_shas() - set(started.read_text().split())) > BACKLOG:
                time.sleep(0.05)
    return {
        f"bench/{path.name}": [sha for branch in shas for sha in branch]
        for path, shas in work.items()
    }


def wait_for_starts(started: Path, count: int, seconds: float) -> None:
    """Wait for so many starts, or so many seconds; then for two sweeps more."""
    deadline = time.monotonic() + seconds
    while len(started.read_text().split()) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2 * SWEEP)


def launch_times(folder: Path) -> dict[str, float]:
    """Return the time at which the engine recorded each commit's run."""
    files = (folder / "serve" / "engine").rglob("run.json")
    found = [(run.from_json(json.loads(file.read_bytes())), file.stat().st_mtime) for file in files]
    return {one.sha: at for one, at in found}


def final_states(forge: LocalForge, pushed: dict[str, list[str]]) -> Counter[str]:
    """Count the final states of every commit, all of them: ``success``, if all went well."""
    reader, found = (
        GitHubClient(f"{forge.base_url}/api", lambda: forge.service_token),
        Counter[str](),
    )
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
        serve_fixture.run_forge(folder) as forge,
        serve_fixture.run_serve(folder, forge, often) as (url, _),
        run_proxy(url, seed) as proxy,
    ):
        started = folder / "started"
        started.touch()
        forge.start(f"http://127.0.0.1:{proxy.server_port}/webhook")
        begun = time.monotonic()
        pushed = push_all(folder, str(forge.base_url), started, count, proxy)
        pushing = time.monotonic() - begun
        shas = [sha for of_one in pushed.values() for sha in of_one]
        wait_for_starts(started, len(shas), 200)
        times, at = Counter(started.read_text().split()), launch_times(folder)
        ends = final_states(forge, pushed)
        seconds = time.monotonic() - begun
    result = {
        "pushes": len(shas),
        "repositories": len(pushed),
        "seed": seed,
        "fates": Counter(proxy.fates[sha] for sha in shas),
        "answered": {str(code): number for code, number in sorted(proxy.codes.items())},
        "lost": sum(not times[sha] for sha in shas),
        "twice": sum(times[sha] > 1 for sha in shas),
        "final_statuses": ends,
        "sweep_seconds": SWEEP,
        "delay_over_sweep": {fate: delays(proxy, at, fate) for fate in ("straight", "dropped")},
        "pushing_seconds": round(pushing, 1),
        "real_seconds": round(seconds, 1),
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(result["lost"] or result["twice"] or set(ends) != {"success"}))


def delays(proxy: Proxy, at: dict[str, float], fate: str) -> dict[str, float]:
    """Return the delays from a push's delivery to its launch, over the time between two sweeps."""
    found = [
        (at[sha] - told) / SWEEP
        for sha, told in proxy.at.items()
        if proxy.fates[sha] == fate and sha in at
    ]
    return {"median": round(statistics.median(found), 2), "worst": round(max(found), 2)}


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 4,
    )
