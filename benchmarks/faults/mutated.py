"""100,000 mutated deliveries against a ``fyre serve``: no 5xx, no forgery accepted, memory flat.

Mutated are deliveries of the local forge (a branch created, moved, forced, deleted, a tag, a
comment) and, where ``FYRE_NODE_MODULES`` has @octokit/webhooks-examples, GitHub's recorded
payloads of every event: bodies as bytes and as JSON, signed before or after; signatures; headers;
and requests that are not HTTP. All of it follows from the seed. Real HTTP over kept connections.
The server serves one repository, and none that the mutations name: it forgets events of others.
Before and after, that one is pushed to, and its run must end.

``python benchmarks/faults/mutated.py [DELIVERIES] [SEED]`` prints JSON; exits 1 at a 5xx, an
accepted forgery, a genuine delivery that is refused as forged, or if the server does not respond
any more.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import serve_fixture, up_fixture
from benchmarks.lib.fuzzer import Fuzzer, Request
from fyre.local_forge.forge import LocalForge

SERVED, FUZZED = "bench/served", "bench/fuzzed"
WRONG = ("5xx", "forgery_accepted", "genuine_refused_as_forged", "not_answered")
WARM = 0.1  # of the deliveries: memory is measured after those


class Sender:
    """Sends requests over a kept connection; opens it again if it was closed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._file: Any = None

    def send(self, request: Request) -> int:
        """Send a request; return the HTTP status, or 0 if a new connection was closed instead."""
        for _ in range(2):  # a kept one may be closed after a response
            fresh = self._socket is None
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=30)
                self._file = self._socket.makefile("rb")
            with suppress(OSError):
                self._socket.sendall(request.raw)
            code = read_status(self._file)
            if code:
                return code
            self._socket.close()
            self._socket = None
            if fresh:
                break
        return 0


def read_status(file: Any) -> int:  # noqa: ANN401 - a socket's file
    """Read the next response; return its HTTP status, or 0 if there is none."""
    with suppress(OSError):
        code, length = 0, 0
        while (line := file.readline()) not in (b"\r\n", b""):
            if line.startswith(b"HTTP/1.1 "):
                code = int(line[9:12])
            elif line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        file.read(length)
        return read_status(file) if code == 100 else code
    return 0


def send_no_http(address: tuple[str, int], rng: random.Random, body: bytes) -> int:
    """Send bytes that are not HTTP, or end early, on a connection of their own.

    Return the HTTP status of the response, or 0 if there is none.
    """
    start = b"POST /webhook HTTP/1.1\r\nHost: receiver\r\n"
    sent = rng.choice([
        rng.randbytes(300), b"\r\n" * 50,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
        start + b"Content-Length: 999999999999\r\n\r\n", start + b"Content-Length: -1\r\n\r\n",
        start + b"Content-Length: x\r\n\r\n", start + b"Content-Length: 5000\r\n\r\n" + body[:100],
        start + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        start + b"Bad Header: x\r\n\r\n",
        start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        start + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        start + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"GET /webhook HTTP/1.1\r\nHost: receiver\r\n\r\n",
        b"POST /webhook/../x HTTP/1.1\r\nHost: receiver\r\n\r\n",
        b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: receiver\r\n\r\n",
        b"POST /webhook HTTP/9.9\r\n\r\n",
    ])  # fmt: skip
    with suppress(OSError), socket.create_connection(address, timeout=30) as one:
        one.sendall(sent)
        one.shutdown(socket.SHUT_WR)
        return read_status(one.makefile("rb"))
    return 0


def recorded_payloads(forge: LocalForge, folder: Path) -> list[tuple[str, bytes]]:
    """Return the event and body of deliveries of the local forge, and of GitHub's examples."""
    path = up_fixture.create_repository(folder, "fuzzed", files=3)
    url = f"{forge.base_url}/{FUZZED}.git"
    shas = up_fixture.create_commits(path, [f"Change {n}\n\nFyre-Run: true\n" for n in range(20)])
    up_fixture.git("push", "-q", url, f"{shas[5]}:refs/heads/main", cwd=path)
    up_fixture.git(
        "push", "-q", url, f"{shas[19]}:refs/heads/main", f"{shas[3]}:refs/heads/dev", cwd=path
    )
    up_fixture.git(
        "push",
        "-q",
        "--force",
        url,
        f"{shas[2]}:refs/heads/main",
        f"{shas[2]}:refs/tags/v1",
        ":dev",
        cwd=path,
    )
    serve_fixture.request_json(
        forge, f"/repos/{FUZZED}/commits/{shas[2]}/comments", {"body": "/fyre rerun"}
    )
    hook = serve_fixture.request_json(forge, f"/repos/{FUZZED}/hooks")[0]["id"]
    where = f"/repos/{FUZZED}/hooks/{hook}/deliveries"
    while len(listed := serve_fixture.request_json(forge, where)) < 7:
        time.sleep(0.1)
    found = [
        (
            one["event"],
            serve_fixture.request_json(forge, f"{where}/{one['id']}")["request"]["payload"],
        )
        for one in listed
    ]
    modules = os.environ.get("FYRE_NODE_MODULES")
    if modules:
        index = Path(modules, "@octokit/webhooks-examples/api.github.com/index.json")
        of_github = [
            (one["name"], body)
            for one in json.loads(index.read_bytes())
            for body in one["examples"]
        ]
        pushes = [one for one in of_github if one[0] in {"push", "commit_comment"}]
        # pushes as often as all others together
        found += of_github + pushes * (len(of_github) // len(pushes))
    return [(event, json.dumps(body).encode()) for event, body in found]


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def push_and_run(forge: LocalForge, folder: Path, path: Path, name: str) -> bool:
    """Push a commit; return True if its run succeeds within a minute."""
    (sha,) = up_fixture.create_commits(path, [f"{name}\n\nFyre-Run: true\n"])
    up_fixture.git("push", "-q", f"{forge.base_url}/{SERVED}.git", "main", cwd=path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (
            serve_fixture.request_json(forge, f"/repos/{SERVED}/commits/{sha}/status")["state"]
            == "success"
        ):
            return True
        time.sleep(0.1)
    sys.stderr.write((folder / "serve.log").read_text()[-3000:])
    return False


class Tally:
    """Counts responses by kind of request, and those that must not be."""

    def __init__(self) -> None:
        self.codes: dict[str, Counter[str]] = {}
        self.wrong: Counter[str] = Counter()

    def add(self, kind: str, code: int, *, genuine: bool) -> None:
        """Count one response; for bytes that are not HTTP, none at all is right too."""
        self.codes.setdefault(kind, Counter())[str(code)] += 1
        self.wrong["5xx"] += code >= 500
        self.wrong["forgery_accepted"] += not genuine and 200 <= code < 300
        self.wrong["genuine_refused_as_forged"] += genuine and code == 401
        self.wrong["not_answered"] += code == 0 and kind != "no_http"


def send_mutations(url: str, fuzzer: Fuzzer, tally: Tally, count: int, seed: int) -> None:
    """Send so many deliveries over one kept connection, one in a hundred over one of its own."""
    host, _, port = url.removeprefix("http://").partition(":")
    address, rng = (host, int(port)), random.Random(seed)
    sender = Sender(address)
    for _ in range(count // 100):
        for _ in range(99):
            one = fuzzer.next_request()
            tally.add(one.kind, sender.send(one), genuine=one.genuine)
        tally.add("no_http", send_no_http(address, rng, one.raw[-500:]), genuine=False)


def main(count: int, seed: int) -> None:
    """Push, send the deliveries, push again, and print."""
    with up_fixture.temporary_folder() as folder:
        policy = folder / "policy.yaml"
        policy.write_text(f"repositories: [{SERVED}]\nprofiles: {{default: {{image: none}}}}\n")
        more = {"FYRE_POLICY": str(policy), "FYRE_LOG_LEVEL": "error"}
        with (
            serve_fixture.run_forge(folder) as forge,
            serve_fixture.run_serve(folder, forge, more) as (url, pid),
        ):
            forge.start(f"{url}/webhook")
            path = up_fixture.create_repository(folder, "served", files=3)
            worked = [push_and_run(forge, folder, path, "Before")]
            bodies = recorded_payloads(forge, folder)
            fuzzer, tally = Fuzzer(bodies, forge.webhook_secret.encode(), seed), Tally()
            begun = time.monotonic()
            send_mutations(url, fuzzer, tally, int(count * WARM), seed)
            warm = memory_mb(pid)
            send_mutations(url, fuzzer, tally, count - int(count * WARM), seed + 1)
            seconds = time.monotonic() - begun
            end = memory_mb(pid)
            worked.append(push_and_run(forge, folder, path, "After"))
    print(json.dumps({
        "deliveries": count,
        "seed": seed,
        "recorded_payloads": len(bodies),
        **{name: tally.wrong[name] for name in WRONG},
        "answers": {
            kind: dict(sorted(codes.items())) for kind, codes in sorted(tally.codes.items())
        },
        "memory_mb": {
            "after_a_tenth": round(warm, 1),
            "at_the_end": round(end, 1),
            "ratio": round(end / warm, 3),
        },
        "a_push_before_and_after_runs": worked,
        "deliveries_a_second": round(count / seconds),
        "seconds": round(seconds, 1),
    }, indent=2))  # fmt: skip
    sys.exit(bool(tally.wrong.total() or not all(worked)))


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 100_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 4,
    )
