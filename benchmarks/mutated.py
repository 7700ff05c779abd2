"""100,000 mutated deliveries against a running ``fyre serve``: no 5xx, no forgery accepted, memory flat, still alive.

What is mutated: deliveries of the embedded forge's (a branch born, moved, forced, deleted, a tag, a comment), and,
where ``FYRE_NODE_MODULES`` has @octokit/webhooks-examples, GitHub's recorded payloads of every event. How: bodies as
bytes and as JSON, signed before or after; signatures; headers; and requests that are no HTTP. All of it follows from
the seed. Real HTTP over kept connections. The receiver serves one repository, and none that the mutations name: what
it hears of others it forgets. Before and after, that one is pushed to, and its run must end.

``python benchmarks/mutated.py [DELIVERIES] [SEED]`` prints JSON; exits 1 at a 5xx, an accepted forgery, a genuine
delivery that is taken for a forged one, or when the receiver does not answer any more.
"""

from __future__ import annotations

import copy
import hmac
import json
import os
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import lossy
import place

from fyre.embedded.forge import Forge as EmbeddedForge

SERVED, FUZZED = "bench/served", "bench/fuzzed"
WRONG = ("5xx", "forgery_accepted", "genuine_refused_as_forged", "not_answered")
WARM = 0.1  # of the deliveries: memory is looked at after those

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 2**4000, 1e308, float("inf"), float("nan"), "", "0" * 40, "f" * 40, "\x00", "\ud800",
    "refs/heads/" + "x" * 5000, "../../etc/passwd", "bench/fuzzed", "é" * 300, [], {}, [[]], {"id": None}, "main",
)  # fmt: skip


class Request(NamedTuple):
    """One delivery. ``genuine`` says whether its signature is that of its body."""

    kind: str
    raw: bytes
    genuine: bool


class Fuzzer:
    """Deliveries without end, from recorded ones and a seed."""

    def __init__(self, recorded: list[tuple[str, bytes]], secret: bytes, seed: int) -> None:
        self._recorded, self._secret, self._random = recorded, secret, random.Random(seed)
        self._kinds: list[Callable[[], Request]] = [
            self.odd_headers, self.changed_after_signing, self.odd_signature, self.no_signature,
            self.odd_json_signed, self.odd_bytes_signed, self.other_event,
        ]  # fmt: skip

    def next(self) -> Request:
        """Another one."""
        return self._random.choice(self._kinds)()

    def odd_headers(self) -> Request:
        """A genuine one with headers that GitHub does not send."""
        event, body = self._one()
        headers = [*self._headers(event, body), *self._odd_headers()]
        self._random.shuffle(headers)
        return self._request("odd_headers", headers, body, genuine=True)

    def changed_after_signing(self) -> Request:
        """Somebody on the way."""
        event, body = self._one()
        changed = self._bytes(body)
        return self._request("changed_after_signing", self._headers(event, body), changed, genuine=changed == body)

    def odd_signature(self) -> Request:
        """Somebody who guesses."""
        event, body = self._one()
        right = self._sign(body)
        given = self._random.choice([
            lambda: self._bytes(right), lambda: right[:-1], lambda: right + b"0", right.upper,
            lambda: right.removeprefix(b"sha256="), lambda: b"sha256=", lambda: b"sha1=" + right[7:47], lambda: b"",
            lambda: b"sha256=" + hmac.new(b"secret", body, "sha256").hexdigest().encode(),
            lambda: b"sha256=" + hmac.new(b"", body, "sha256").hexdigest().encode(),
            lambda: self._sign(body + b" "), lambda: b"\xff" * 71, lambda: right * 100, lambda: b"sha256=" + b"0" * 64,
            lambda: b"sha512=" + hmac.new(self._secret, body, "sha512").hexdigest().encode(),
        ])()  # fmt: skip
        given = given.translate(None, b"\r\n\x00")
        headers = [(name, given if name == b"X-Hub-Signature-256" else value)
                   for name, value in self._headers(event, body)]  # fmt: skip
        return self._request("odd_signature", headers, body, genuine=given.strip() == right)

    def no_signature(self) -> Request:
        """None at all, or the old one of SHA-1 alone."""
        event, body = self._one()
        headers = [one for one in self._headers(event, body) if one[0] != b"X-Hub-Signature-256"]
        old = b"sha1=" + hmac.new(self._secret, body, "sha1").hexdigest().encode()
        headers += [(b"X-Hub-Signature", old)] if self._random.random() < 0.5 else []
        return self._request("no_signature", headers, body, genuine=False)

    def odd_json_signed(self) -> Request:
        """Signed, and not what GitHub sends."""
        event, body = self._one()
        data = json.loads(body)
        for _ in range(self._random.randint(1, 4)):
            self._change(data)
        changed = json.dumps(data).encode()
        return self._request("odd_json_signed", self._headers(event, changed), changed, genuine=True)

    def odd_bytes_signed(self) -> Request:
        """Signed, and hardly JSON."""
        event, body = self._one()
        changed = self._random.choice([
            lambda: self._bytes(body), lambda: b"", lambda: b"[" * 100_000, lambda: b'{"a":' * 20_000, lambda: b"null",
            lambda: b"\xef\xbb\xbf" + body, lambda: body.decode().encode("utf-16"), lambda: b"payload=" + body,
            lambda: b"9" * 5000, lambda: body * 2,
        ])()  # fmt: skip
        return self._request("odd_bytes_signed", self._headers(event, changed), changed, genuine=True)

    def other_event(self) -> Request:
        """A genuine body under the name of another event."""
        _, body = self._one()
        name = self._random.choice(["push", "commit_comment", "ping", "PUSH", "push ", "x" * 8000, "", "issue_comment"])
        return self._request("other_event", self._headers(name, body), body, genuine=True)

    def _one(self) -> tuple[str, bytes]:
        return self._random.choice(self._recorded)

    def _sign(self, body: bytes) -> bytes:
        return b"sha256=" + hmac.new(self._secret, body, "sha256").hexdigest().encode()

    def _headers(self, event: str, body: bytes) -> list[tuple[bytes, bytes]]:
        guid = f"{self._random.getrandbits(128):032x}".encode()
        return [
            (b"Host", b"receiver"), (b"Content-Type", b"application/json"), (b"X-GitHub-Event", event.encode()),
            (b"X-GitHub-Delivery", guid), (b"X-Hub-Signature-256", self._sign(body)),
        ]  # fmt: skip

    def _odd_headers(self) -> list[tuple[bytes, bytes]]:
        value = self._random.randbytes(self._random.randint(0, 200)).translate(None, bytes(range(32)) + b"\x7f")
        return [
            self._random.choice([
                (b"X-" + b"a" * self._random.randint(1, 2000), value), (b"X-GitHub-Delivery", value),
                (b"Content-Type", value), (b"Content-Encoding", b"gzip"), (b"Expect", b"100-continue"),
                (b"Accept", b"*/*"), (b"Cookie", value), (b"Authorization", value), (b"X-Forwarded-For", value),
                (b"X-HTTP-Method-Override", b"GET"), (b"Range", b"bytes=0-"), (b"If-None-Match", b"*"),
            ])
            for _ in range(self._random.randint(1, 5))
        ]  # fmt: skip

    def _request(self, kind: str, headers: list[tuple[bytes, bytes]], body: bytes, *, genuine: bool) -> Request:
        lines = [b"POST /webhook HTTP/1.1", *(name + b": " + value for name, value in headers)]
        if self._random.random() < 0.1:
            cut = self._random.randint(0, len(body))
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (body[:cut], body[cut:]) if one)
            return Request(
                kind, b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunks + b"0\r\n\r\n"]), genuine
            )
        return Request(kind, b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body]), genuine)

    def _bytes(self, body: bytes) -> bytes:
        """A few bytes of it changed, lost or repeated."""
        at, other = sorted(self._random.choices(range(len(body) + 1), k=2))
        few = self._random.randbytes(self._random.randint(1, 8))
        return self._random.choice([
            body[:at] + few[:1] + body[at + 1 :], body[:at], body[:at] + body[other:], body[:other] + body[at:],
            body[:at] + few + body[at:],
        ])  # fmt: skip

    def _change(self, data: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Put something odd somewhere, mostly where it is looked at."""
        looked_at = ("ref", "before", "after", "deleted", "commits", "repository", "sender", "comment", "action")
        where: Any = data
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if where is data and self._random.random() < 0.7:
                keys = [key for key in keys if key in looked_at] or keys
            if not keys:
                return
            key = self._random.choice(keys)
            if not isinstance(where[key], dict | list) or not where[key] or self._random.random() < 0.3:
                break
            where = where[key]
        if isinstance(where, dict) and self._random.random() < 0.3:
            del where[key]
        else:
            where[key] = copy.deepcopy(self._random.choice(ODD))


class Sender:
    """A kept connection; one that was closed is opened again."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._file: Any = None

    def send(self, one: Request) -> int:
        """The code that it was answered; 0 where a new connection was closed instead."""
        for _ in range(2):  # a kept one may be closed after an answer
            fresh = self._socket is None
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=30)
                self._file = self._socket.makefile("rb")
            with suppress(OSError):
                self._socket.sendall(one.raw)
            code = answer(self._file)
            if code:
                return code
            self._socket.close()
            self._socket = None
            if fresh:
                break
        return 0


def answer(file: Any) -> int:  # noqa: ANN401 - a socket's file
    """The code of the next answer; 0 when there is none."""
    with suppress(OSError):
        code, length = 0, 0
        while (line := file.readline()) not in (b"\r\n", b""):
            if line.startswith(b"HTTP/1.1 "):
                code = int(line[9:12])
            elif line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        file.read(length)
        return answer(file) if code == 100 else code
    return 0


def no_http(address: tuple[str, int], rng: random.Random, body: bytes) -> int:
    """A request that is none, or ends early, on a connection of its own; what was answered, 0 for nothing."""
    start = b"POST /webhook HTTP/1.1\r\nHost: receiver\r\n"
    sent = rng.choice([
        rng.randbytes(300), b"\r\n" * 50, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
        start + b"Content-Length: 999999999999\r\n\r\n", start + b"Content-Length: -1\r\n\r\n",
        start + b"Content-Length: x\r\n\r\n", start + b"Content-Length: 5000\r\n\r\n" + body[:100],
        start + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", start + b"Bad Header: x\r\n\r\n",
        start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", start + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        start + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"GET /webhook HTTP/1.1\r\nHost: receiver\r\n\r\n", b"POST /webhook/../x HTTP/1.1\r\nHost: receiver\r\n\r\n",
        b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: receiver\r\n\r\n", b"POST /webhook HTTP/9.9\r\n\r\n",
    ])  # fmt: skip
    with suppress(OSError), socket.create_connection(address, timeout=30) as one:
        one.sendall(sent)
        one.shutdown(socket.SHUT_WR)
        return answer(one.makefile("rb"))
    return 0


def recorded(on: EmbeddedForge, folder: Path) -> list[tuple[str, bytes]]:
    """What the forge delivered of a repository's life, and what GitHub did."""
    path = place.repository(folder, "fuzzed", files=3)
    url = f"{on.base_url}/{FUZZED}.git"
    shas = place.commits(path, [f"Change {n}\n\nFyre-Run: true\n" for n in range(20)])
    place.git("push", "-q", url, f"{shas[5]}:refs/heads/main", cwd=path)
    place.git("push", "-q", url, f"{shas[19]}:refs/heads/main", f"{shas[3]}:refs/heads/dev", cwd=path)
    place.git("push", "-q", "--force", url, f"{shas[2]}:refs/heads/main", f"{shas[2]}:refs/tags/v1", ":dev", cwd=path)
    lossy.ask(on, f"/repos/{FUZZED}/commits/{shas[2]}/comments", {"body": "/fyre rerun"})
    hook = lossy.ask(on, f"/repos/{FUZZED}/hooks")[0]["id"]
    where = f"/repos/{FUZZED}/hooks/{hook}/deliveries"
    while len(listed := lossy.ask(on, where)) < 7:
        time.sleep(0.1)
    found = [(one["event"], lossy.ask(on, f"{where}/{one['id']}")["request"]["payload"]) for one in listed]
    modules = os.environ.get("FYRE_NODE_MODULES")
    if modules:
        index = Path(modules, "@octokit/webhooks-examples/api.github.com/index.json")
        of_github = [(one["name"], body) for one in json.loads(index.read_bytes()) for body in one["examples"]]
        pushes = [one for one in of_github if one[0] in {"push", "commit_comment"}]
        found += of_github + pushes * (len(of_github) // len(pushes))  # as often as all others together
    return [(event, json.dumps(body).encode()) for event, body in found]


def memory_mb(pid: int) -> float:
    """What a process holds now."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def works(on: EmbeddedForge, folder: Path, path: Path, name: str) -> bool:
    """Whether a push still becomes a run that ends well."""
    (sha,) = place.commits(path, [f"{name}\n\nFyre-Run: true\n"])
    place.git("push", "-q", f"{on.base_url}/{SERVED}.git", "main", cwd=path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if lossy.ask(on, f"/repos/{SERVED}/commits/{sha}/status")["state"] == "success":
            return True
        time.sleep(0.1)
    sys.stderr.write((folder / "serve.log").read_text()[-3000:])
    return False


class Tally:
    """Answers by kind, and what must not be."""

    def __init__(self) -> None:
        self.codes: dict[str, Counter[str]] = {}
        self.wrong: Counter[str] = Counter()

    def add(self, kind: str, code: int, *, genuine: bool) -> None:
        """One answer; of what is no HTTP, no answer is one too."""
        self.codes.setdefault(kind, Counter())[str(code)] += 1
        self.wrong["5xx"] += code >= 500
        self.wrong["forgery_accepted"] += not genuine and 200 <= code < 300
        self.wrong["genuine_refused_as_forged"] += genuine and code == 401
        self.wrong["not_answered"] += code == 0 and kind != "no_http"


def bombard(url: str, fuzzer: Fuzzer, tally: Tally, count: int, seed: int) -> None:
    """So many deliveries over one kept connection, and one of a hundred over one of its own."""
    host, _, port = url.removeprefix("http://").partition(":")
    address, rng = (host, int(port)), random.Random(seed)
    sender = Sender(address)
    for _ in range(count // 100):
        for _ in range(99):
            one = fuzzer.next()
            tally.add(one.kind, sender.send(one), genuine=one.genuine)
        tally.add("no_http", no_http(address, rng, one.raw[-500:]), genuine=False)


def main(count: int, seed: int) -> None:
    """A push, the deliveries, a push."""
    with place.folder() as folder:
        policy = folder / "policy.yaml"
        policy.write_text(f"repositories: [{SERVED}]\nprofiles: {{default: {{image: none}}}}\n")
        more = {"FYRE_POLICY": str(policy), "FYRE_LOG_LEVEL": "error"}
        with lossy.forge(folder) as on, lossy.serve(folder, on, more) as (url, pid):
            on.start(f"{url}/webhook")
            path = place.repository(folder, "served", files=3)
            worked = [works(on, folder, path, "Before")]
            bodies = recorded(on, folder)
            fuzzer, tally = Fuzzer(bodies, on.webhook_secret.encode(), seed), Tally()
            begun = time.monotonic()
            bombard(url, fuzzer, tally, int(count * WARM), seed)
            warm = memory_mb(pid)
            bombard(url, fuzzer, tally, count - int(count * WARM), seed + 1)
            seconds = time.monotonic() - begun
            end = memory_mb(pid)
            worked.append(works(on, folder, path, "After"))
    print(json.dumps({
        "deliveries": count,
        "seed": seed,
        "recorded_payloads": len(bodies),
        **{name: tally.wrong[name] for name in WRONG},
        "answers": {kind: dict(sorted(codes.items())) for kind, codes in sorted(tally.codes.items())},
        "memory_mb": {"after_a_tenth": round(warm, 1), "at_the_end": round(end, 1), "ratio": round(end / warm, 3)},
        "a_push_before_and_after_runs": worked,
        "deliveries_a_second": round(count / seconds),
        "seconds": round(seconds, 1),
    }, indent=2))  # fmt: skip
    sys.exit(bool(tally.wrong.total() or not all(worked)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, int(sys.argv[2]) if len(sys.argv) > 2 else 4)
