"""From a signed delivery to its 2xx: 200 deliveries a second of 20 kB, the server on one core.

Open loop: deliveries are due at random moments (Poisson, 200 a second on average), no matter if
the ones before have a response, and the time counts from the moment that one was due. A server
which is slow for a while is thus not spared by a sender who waits for it. The floor, in turn with
it and on the same core: a bare starlette application on the same uvicorn, which reads the body and
responds with 200. ``door`` is a repository that Fyre does not serve; ``planning`` is one that it
does serve, so that each delivery also has the twenty commits of its push read and planned, in the
same process on the same core. Where it is allowed, all of it runs with real-time priority, so that
the figure is of the server and not of other work on the machine; ``priority`` tells it.

``python benchmarks/latency/signature.py [SECONDS] [ROUNDS]`` prints JSON; exits 1 if any response
is not a 2xx.
"""

from __future__ import annotations

import hmac
import json
import os
import random
import re
import select
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import serve_fixture, up_fixture
from fyre.local_forge.forge import LocalForge

RATE, SIZE = 200, 20_000
SERVED, OTHER = "bench/served", "bench/other"

FLOOR = """
import socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def answer(request):
    await request.body()
    return PlainTextResponse("received")

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/webhook", answer, methods=["POST"])])
config = uvicorn.Config(app, http="httptools", lifespan="off", access_log=False, log_config=None)
uvicorn.Server(config).run([listening])
"""


class Load:
    """Sends deliveries at their due times, over as many kept connections as it takes."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: deque[socket.socket] = deque()
        self._poll = select.poll()
        # file descriptor → connection, the time that the delivery was due, the response so far
        self._pending: dict[int, tuple[socket.socket, float, bytes]] = {}
        self.taken: list[float] = []  # seconds
        self.codes: Counter[int] = Counter()
        self.cpu_seconds = 0.0  # of the server, until it had processed all of it

    def run(self, seconds: float, seed: int) -> None:
        """Send for so long, and wait for the last responses.

        Spin before a delivery is due: a timer would be late.
        """
        rng, began = random.Random(seed), time.perf_counter()
        due = began
        while (now := time.perf_counter()) < began + seconds or self._pending:
            if due <= now and due < began + seconds:
                self._send(due)
                due += rng.expovariate(RATE)
            for descriptor, _ in self._poll.poll(1 if due > now + 0.002 else 0):
                self._receive(descriptor)

    def _send(self, due: float) -> None:
        one = (
            self._idle.popleft()
            if self._idle
            else socket.create_connection(("127.0.0.1", self._port))
        )
        one.sendall(self._request)
        self._poll.register(one, select.POLLIN)
        self._pending[one.fileno()] = one, due, b""

    def _receive(self, descriptor: int) -> None:
        connection, due, response = self._pending[descriptor]
        response += connection.recv(65536)
        head, _, body = response.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is None or len(body) < int(length[1]):  # the rest is still to come
            self._pending[descriptor] = connection, due, response
            return
        self.taken.append(time.perf_counter() - due)
        self.codes[int(head[9:12])] += 1
        self._poll.unregister(connection)
        del self._pending[descriptor]
        self._idle.append(connection)

    def close(self) -> None:
        """Close the kept connections."""
        for one in self._idle:
            one.close()


@contextmanager
def run_bare_application(core: int) -> Iterator[tuple[int, int]]:
    """Run the bare application on a core; yield its port and its process id."""
    command = ["taskset", "-c", str(core), sys.executable, "-c", FLOOR]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def push_payload(forge: LocalForge, folder: Path) -> dict[str, Any]:
    """Return the payload of a push of twenty commits to the served repository.

    It is as the forge delivered it, padded to the size.
    """
    path = up_fixture.create_repository(folder, "served", files=3)
    up_fixture.git("push", "-q", f"{forge.base_url}/{SERVED}.git", "main", cwd=path)
    up_fixture.create_commits(path, [f"Change {n}\n\n{'Why it is so. ' * 14}\n" for n in range(20)])
    up_fixture.git("push", "-q", f"{forge.base_url}/{SERVED}.git", "main", cwd=path)
    (hook,) = serve_fixture.request_json(forge, f"/repos/{SERVED}/hooks")
    where = f"/repos/{SERVED}/hooks/{hook['id']}/deliveries"
    while len(listed := serve_fixture.request_json(forge, where)) < 2:
        time.sleep(0.1)
    found: dict[str, Any] = serve_fixture.request_json(forge, f"{where}/{listed[0]['id']}")[
        "request"
    ]["payload"]
    for commit in found["commits"]:
        commit["modified"] = []
    found["pusher"]["name"] = "x" * max(0, SIZE - len(json.dumps(found)))
    return found


def http_request(data: dict[str, Any], name: str, secret: bytes) -> bytes:
    """Return the bytes of the signed HTTP request."""
    data["repository"]["full_name"] = name
    body = json.dumps(data).encode()
    signature = hmac.new(secret, body, "sha256").hexdigest()
    head = (
        "POST /webhook HTTP/1.1\r\nHost: receiver\r\nContent-Type: application/json\r\n"
        "X-GitHub-Event: push\r\nX-GitHub-Delivery: 1\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def percentiles(load: Load) -> dict[str, float]:
    """Return percentiles of the times, in milliseconds."""
    cut = statistics.quantiles(load.taken, n=1000)
    return {
        "p50": cut[499] * 1000,
        "p99": cut[989] * 1000,
        "p99.9": cut[998] * 1000,
        "most": max(load.taken) * 1000,
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(pid: int) -> None:
    """Wait until a process uses no CPU time any more."""
    used = -1.0
    while cpu_seconds(pid) - used > 0.02:
        used = cpu_seconds(pid)
        time.sleep(0.3)


def set_real_time_priority() -> str:
    """Run this process and its children before all others, where that is allowed.

    Return the name of the priority.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return "as anybody's"
    return "real-time"


def main(seconds: float, rounds: int) -> None:
    """Measure the three in turn, each for its rounds."""
    priority = set_real_time_priority()
    mine, *others = sorted(os.sched_getaffinity(0))
    if not others:
        print(json.dumps({"left_out": "two cores are needed: one is the sender's"}))
        return
    with up_fixture.temporary_folder() as folder:
        policy = folder / "policy.yaml"
        policy.write_text(f"repositories: [{SERVED}]\nprofiles: {{default: {{image: none}}}}\n")
        more = {"FYRE_POLICY": str(policy), "FYRE_LOG_LEVEL": "error"}
        pinned = ("taskset", "-c", str(others[0]))
        with (
            serve_fixture.run_forge(folder) as forge,
            serve_fixture.run_serve(folder, forge, more, pinned) as (url, ours),
            run_bare_application(others[0]) as (bare, theirs),
        ):
            forge.start(f"{url}/webhook")
            data, secret = push_payload(forge, folder), forge.webhook_secret.encode()
            port = int(re.sub(r".*:", "", url))
            other, served = http_request(data, OTHER, secret), http_request(data, SERVED, secret)
            scenes = {
                "floor": (bare, theirs, other),
                "door": (port, ours, other),
                "planning": (port, ours, served),
            }
            os.sched_setaffinity(0, {mine})
            loads: dict[str, list[Load]] = {name: [] for name in scenes}
            for number in range(rounds):
                for name, (to, pid, one) in scenes.items():
                    loads[name].append(measure(to, pid, one, seconds, number))
    report(loads, len(other), priority)


def measure(port: int, pid: int, one: bytes, seconds: float, seed: int) -> Load:
    """Measure one round."""
    load, used = Load(port, one), cpu_seconds(pid)
    load.run(seconds, seed)
    load.close()
    wait_until_idle(pid)
    load.cpu_seconds = cpu_seconds(pid) - used
    return load


def cpu_ms_per_delivery(loads: list[Load]) -> float:
    """Return the CPU time of one delivery in milliseconds: other work does not change it."""
    return round(
        sum(one.cpu_seconds for one in loads) / sum(len(one.taken) for one in loads) * 1000, 3
    )


def report(loads: dict[str, list[Load]], size: int, priority: str) -> None:
    """Print the medians over the rounds."""
    figures = {name: [percentiles(one) for one in of] for name, of in loads.items()}
    medians = {
        name: {key: round(statistics.median(one[key] for one in of), 2) for key in of[0]}
        for name, of in figures.items()
    }
    codes = Counter(code for of in loads.values() for one in of for code in one.codes.elements())
    print(json.dumps({
        "deliveries_a_second": RATE,
        "bytes": size,
        "priority": priority,
        "rounds": len(loads["door"]),
        "deliveries": {name: sum(len(one.taken) for one in of) for name, of in loads.items()},
        "answered": {str(code): number for code, number in codes.items()},
        "milliseconds": medians,
        "p99_of_each_round": {
            name: [round(one["p99"], 2) for one in of] for name, of in figures.items()
        },
        "processor_ms_a_delivery": {name: cpu_ms_per_delivery(of) for name, of in loads.items()},
        "p99_over_floor": {
            name: round(one["p99"] / medians["floor"]["p99"], 2) for name, one in medians.items()
        },
        "p99_target_ms": 10,
    }, indent=2))  # fmt: skip
    sys.exit(any(not 200 <= code < 300 for code in codes))


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 6, int(sys.argv[2]) if len(sys.argv) > 2 else 3
    )
