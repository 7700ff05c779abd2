"""From a signed delivery to its 2xx: 200 deliveries a second of 20 kB, the receiver on one core.

Open loop: deliveries are due at random moments (Poisson, 200 a second on average) whether or not the ones before are
answered, and the time counts from the moment that one was due, so that a receiver which is slow for a while is not
spared by a sender who waits for it. The floor, in turn with it and on the same core: a bare starlette application on
the same uvicorn, which reads the body and answers 200. ``door`` is a repository that the receiver does not serve;
``planning`` is one that it does serve, so that each delivery also has the twenty commits of its push read and planned,
in the same process on the same core. Where it may, all of it runs with real-time priority, so that the figure is of
the receiver and not of what else the machine does; ``priority`` says so.

``python benchmarks/latency/signature.py [SECONDS] [ROUNDS]`` prints JSON; exits 1 when anything but a 2xx is answered.
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
from fyre.local_forge.forge import LocalForge as EmbeddedForge

RATE, SIZE = 200, 20_000
SERVED, OTHER = "bench/served", "bench/other"

FLOOR = """
import socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def answer(request):
    await request.body()
    return PlainTextResponse("heard")

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/webhook", answer, methods=["POST"])])
config = uvicorn.Config(app, http="httptools", lifespan="off", access_log=False, log_config=None)
uvicorn.Server(config).run([listening])
"""


class Load:
    """Deliveries at their due times over as many kept connections as it takes."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: deque[socket.socket] = deque()
        self._poll = select.poll()
        self._asked: dict[
            int, tuple[socket.socket, float, bytes]
        ] = {}  # when it was due, and what came
        self.taken: list[float] = []  # seconds
        self.codes: Counter[int] = Counter()
        self.processor = (
            0.0  # seconds of a core that the receiver used for it, until it had dealt with all
        )

    def run(self, seconds: float, seed: int) -> None:
        """Send for so long, and wait for the last answers. Spins before one is due: a timer would be late."""
        rng, began = random.Random(seed), time.perf_counter()
        due = began
        while (now := time.perf_counter()) < began + seconds or self._asked:
            if due <= now and due < began + seconds:
                self._send(due)
                due += rng.expovariate(RATE)
            for descriptor, _ in self._poll.poll(1 if due > now + 0.002 else 0):
                self._answered(descriptor)

    def _send(self, due: float) -> None:
        one = (
            self._idle.popleft()
            if self._idle
            else socket.create_connection(("127.0.0.1", self._port))
        )
        one.sendall(self._request)
        self._poll.register(one, select.POLLIN)
        self._asked[one.fileno()] = one, due, b""

    def _answered(self, descriptor: int) -> None:
        one, due, said = self._asked[descriptor]
        said += one.recv(65536)
        head, _, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is None or len(body) < int(length[1]):  # the rest is still to come
            self._asked[descriptor] = one, due, said
            return
        self.taken.append(time.perf_counter() - due)
        self.codes[int(head[9:12])] += 1
        self._poll.unregister(one)
        del self._asked[descriptor]
        self._idle.append(one)

    def close(self) -> None:
        """Close what is kept."""
        for one in self._idle:
            one.close()


@contextmanager
def floor(core: int) -> Iterator[tuple[int, int]]:
    """The bare application on a core; its port and its process."""
    command = ["taskset", "-c", str(core), sys.executable, "-c", FLOOR]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def payload(on: EmbeddedForge, folder: Path) -> dict[str, Any]:
    """A push of twenty commits to the served repository, as the forge delivered it, made as long as it has to be."""
    path = up_fixture.repository(folder, "served", files=3)
    up_fixture.git("push", "-q", f"{on.base_url}/{SERVED}.git", "main", cwd=path)
    up_fixture.commits(path, [f"Change {n}\n\n{'Why it is so. ' * 14}\n" for n in range(20)])
    up_fixture.git("push", "-q", f"{on.base_url}/{SERVED}.git", "main", cwd=path)
    (hook,) = serve_fixture.ask(on, f"/repos/{SERVED}/hooks")
    where = f"/repos/{SERVED}/hooks/{hook['id']}/deliveries"
    while len(listed := serve_fixture.ask(on, where)) < 2:
        time.sleep(0.1)
    found: dict[str, Any] = serve_fixture.ask(on, f"{where}/{listed[0]['id']}")["request"][
        "payload"
    ]
    for commit in found["commits"]:
        commit["modified"] = []
    found["pusher"]["name"] = "x" * max(0, SIZE - len(json.dumps(found)))
    return found


def request(data: dict[str, Any], name: str, secret: bytes) -> bytes:
    """A whole HTTP request."""
    data["repository"]["full_name"] = name
    body = json.dumps(data).encode()
    signature = hmac.new(secret, body, "sha256").hexdigest()
    head = (
        f"POST /webhook HTTP/1.1\r\nHost: receiver\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\n"
        f"X-GitHub-Delivery: 1\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def measured(load: Load) -> dict[str, float]:
    """Milliseconds."""
    cut = statistics.quantiles(load.taken, n=1000)
    return {
        "p50": cut[499] * 1000,
        "p99": cut[989] * 1000,
        "p99.9": cut[998] * 1000,
        "most": max(load.taken) * 1000,
    }


def processor(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rested(pid: int) -> None:
    """Wait until a process has dealt with what it heard."""
    used = -1.0
    while processor(pid) - used > 0.02:
        used = processor(pid)
        time.sleep(0.3)


def before_others() -> str:
    """Have this and what it starts go before whatever else the machine does, where that is allowed; what it is then."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return "as anybody's"
    return "real-time"


def main(seconds: float, rounds: int) -> None:
    """In turn, each its rounds."""
    priority = before_others()
    mine, *others = sorted(os.sched_getaffinity(0))
    if not others:
        print(json.dumps({"left_out": "two cores are needed: one is the sender's"}))
        return
    with up_fixture.folder() as folder:
        policy = folder / "policy.yaml"
        policy.write_text(f"repositories: [{SERVED}]\nprofiles: {{default: {{image: none}}}}\n")
        more = {"FYRE_POLICY": str(policy), "FYRE_LOG_LEVEL": "error"}
        pinned = ("taskset", "-c", str(others[0]))
        with (
            serve_fixture.forge(folder) as on,
            serve_fixture.serve(folder, on, more, pinned) as (url, ours),
            floor(others[0]) as (bare, theirs),
        ):
            on.start(f"{url}/webhook")
            data, secret = payload(on, folder), on.webhook_secret.encode()
            port = int(re.sub(r".*:", "", url))
            other, served = request(data, OTHER, secret), request(data, SERVED, secret)
            scenes = {
                "floor": (bare, theirs, other),
                "door": (port, ours, other),
                "planning": (port, ours, served),
            }
            os.sched_setaffinity(0, {mine})
            loads: dict[str, list[Load]] = {name: [] for name in scenes}
            for number in range(rounds):
                for name, (to, pid, one) in scenes.items():
                    loads[name].append(loaded(to, pid, one, seconds, number))
    report(loads, len(other), priority)


def loaded(port: int, pid: int, one: bytes, seconds: float, seed: int) -> Load:
    """One round."""
    load, used = Load(port, one), processor(pid)
    load.run(seconds, seed)
    load.close()
    rested(pid)
    load.processor = processor(pid) - used
    return load


def processor_ms(loads: list[Load]) -> float:
    """What one delivery costs, whatever else the machine does."""
    return round(
        sum(one.processor for one in loads) / sum(len(one.taken) for one in loads) * 1000, 3
    )


def report(loads: dict[str, list[Load]], size: int, priority: str) -> None:
    """Medians over the rounds."""
    figures = {name: [measured(one) for one in of] for name, of in loads.items()}
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
        "p99_of_each_round": {name: [round(one["p99"], 2) for one in of] for name, of in figures.items()},
        "processor_ms_a_delivery": {name: processor_ms(of) for name, of in loads.items()},
        "p99_over_floor": {name: round(one["p99"] / medians["floor"]["p99"], 2) for name, one in medians.items()},
        "p99_target_ms": 10,
    }, indent=2))  # fmt: skip
    sys.exit(any(not 200 <= code < 300 for code in codes))


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 6, int(sys.argv[2]) if len(sys.argv) > 2 else 3
    )
