"""Mutate webhook deliveries: bodies, signatures and headers, all decided by a seed."""

from __future__ import annotations

import copy
import hmac
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 2**4000, 1e308, float("inf"), float("nan"),
    "", "0" * 40, "f" * 40, "\x00", "\ud800",
    "refs/heads/" + "x" * 5000, "../../etc/passwd", "bench/fuzzed", "é" * 300,
    [], {}, [[]], {"id": None}, "main",
)  # fmt: skip


class Request(NamedTuple):
    """One delivery. ``genuine`` is True if its signature is that of its body."""

    kind: str
    raw: bytes
    genuine: bool


class Fuzzer:
    """Makes deliveries without end, from recorded ones and a seed."""

    def __init__(self, recorded: list[tuple[str, bytes]], secret: bytes, seed: int) -> None:
        self._recorded, self._secret, self._random = recorded, secret, random.Random(seed)
        self._kinds: list[Callable[[], Request]] = [
            self.odd_headers, self.changed_after_signing, self.odd_signature, self.no_signature,
            self.odd_json_signed, self.odd_bytes_signed, self.other_event,
        ]  # fmt: skip

    def next_request(self) -> Request:
        """Return another delivery, of any kind."""
        return self._random.choice(self._kinds)()

    def odd_headers(self) -> Request:
        """Return a genuine delivery with headers that GitHub does not send."""
        event, body = self._one()
        headers = [*self._headers(event, body), *self._odd_headers()]
        self._random.shuffle(headers)
        return self._request("odd_headers", headers, body, genuine=True)

    def changed_after_signing(self) -> Request:
        """Return a delivery that somebody changed on the way."""
        event, body = self._one()
        changed = self._change_bytes(body)
        return self._request(
            "changed_after_signing", self._headers(event, body), changed, genuine=changed == body
        )

    def odd_signature(self) -> Request:
        """Return a delivery of somebody who guesses the signature."""
        event, body = self._one()
        right = self._sign(body)
        given = self._random.choice([
            lambda: self._change_bytes(right), lambda: right[:-1], lambda: right + b"0",
            right.upper, lambda: right.removeprefix(b"sha256="), lambda: b"sha256=",
            lambda: b"sha1=" + right[7:47], lambda: b"",
            lambda: b"sha256=" + hmac.new(b"secret", body, "sha256").hexdigest().encode(),
            lambda: b"sha256=" + hmac.new(b"", body, "sha256").hexdigest().encode(),
            lambda: self._sign(body + b" "), lambda: b"\xff" * 71, lambda: right * 100,
            lambda: b"sha256=" + b"0" * 64,
            lambda: b"sha512=" + hmac.new(self._secret, body, "sha512").hexdigest().encode(),
        ])()  # fmt: skip
        given = given.translate(None, b"\r\n\x00")
        headers = [(name, given if name == b"X-Hub-Signature-256" else value)
                   for name, value in self._headers(event, body)]  # fmt: skip
        return self._request("odd_signature", headers, body, genuine=given.strip() == right)

    def no_signature(self) -> Request:
        """Return a delivery without a signature, or with the old one of SHA-1 alone."""
        event, body = self._one()
        headers = [one for one in self._headers(event, body) if one[0] != b"X-Hub-Signature-256"]
        old = b"sha1=" + hmac.new(self._secret, body, "sha1").hexdigest().encode()
        headers += [(b"X-Hub-Signature", old)] if self._random.random() < 0.5 else []
        return self._request("no_signature", headers, body, genuine=False)

    def odd_json_signed(self) -> Request:
        """Return a signed delivery with JSON that GitHub does not send."""
        event, body = self._one()
        data = json.loads(body)
        for _ in range(self._random.randint(1, 4)):
            self._change_json(data)
        changed = json.dumps(data).encode()
        return self._request(
            "odd_json_signed", self._headers(event, changed), changed, genuine=True
        )

    def odd_bytes_signed(self) -> Request:
        """Return a signed delivery with bytes that are hardly JSON."""
        event, body = self._one()
        changed = self._random.choice([
            lambda: self._change_bytes(body), lambda: b"", lambda: b"[" * 100_000,
            lambda: b'{"a":' * 20_000, lambda: b"null", lambda: b"\xef\xbb\xbf" + body,
            lambda: body.decode().encode("utf-16"), lambda: b"payload=" + body,
            lambda: b"9" * 5000, lambda: body * 2,
        ])()  # fmt: skip
        return self._request(
            "odd_bytes_signed", self._headers(event, changed), changed, genuine=True
        )

    def other_event(self) -> Request:
        """Return a genuine body under the name of another event."""
        _, body = self._one()
        name = self._random.choice(
            ["push", "commit_comment", "ping", "PUSH", "push ", "x" * 8000, "", "issue_comment"]
        )
        return self._request("other_event", self._headers(name, body), body, genuine=True)

    def _one(self) -> tuple[str, bytes]:
        return self._random.choice(self._recorded)

    def _sign(self, body: bytes) -> bytes:
        return b"sha256=" + hmac.new(self._secret, body, "sha256").hexdigest().encode()

    def _headers(self, event: str, body: bytes) -> list[tuple[bytes, bytes]]:
        guid = f"{self._random.getrandbits(128):032x}".encode()
        return [
            (b"Host", b"receiver"), (b"Content-Type", b"application/json"),
            (b"X-GitHub-Event", event.encode()), (b"X-GitHub-Delivery", guid),
            (b"X-Hub-Signature-256", self._sign(body)),
        ]  # fmt: skip

    def _odd_headers(self) -> list[tuple[bytes, bytes]]:
        value = self._random.randbytes(self._random.randint(0, 200)).translate(
            None, bytes(range(32)) + b"\x7f"
        )
        return [
            self._random.choice([
                (b"X-" + b"a" * self._random.randint(1, 2000), value),
                (b"X-GitHub-Delivery", value), (b"Content-Type", value),
                (b"Content-Encoding", b"gzip"), (b"Expect", b"100-continue"), (b"Accept", b"*/*"),
                (b"Cookie", value), (b"Authorization", value), (b"X-Forwarded-For", value),
                (b"X-HTTP-Method-Override", b"GET"), (b"Range", b"bytes=0-"),
                (b"If-None-Match", b"*"),
            ])
            for _ in range(self._random.randint(1, 5))
        ]  # fmt: skip

    def _request(
        self, kind: str, headers: list[tuple[bytes, bytes]], body: bytes, *, genuine: bool
    ) -> Request:
        lines = [b"POST /webhook HTTP/1.1", *(name + b": " + value for name, value in headers)]
        if self._random.random() < 0.1:
            cut = self._random.randint(0, len(body))
            chunks = b"".join(
                b"%x\r\n%s\r\n" % (len(one), one) for one in (body[:cut], body[cut:]) if one
            )
            return Request(
                kind,
                b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunks + b"0\r\n\r\n"]),
                genuine,
            )
        return Request(
            kind, b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body]), genuine
        )

    def _change_bytes(self, body: bytes) -> bytes:
        """Return the bytes with a few of them changed, lost or repeated."""
        at, other = sorted(self._random.choices(range(len(body) + 1), k=2))
        few = self._random.randbytes(self._random.randint(1, 8))
        return self._random.choice([
            body[:at] + few[:1] + body[at + 1 :], body[:at], body[:at] + body[other:],
            body[:other] + body[at:], body[:at] + few + body[at:],
        ])  # fmt: skip

    def _change_json(self, data: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Put something odd somewhere, mostly in a field that the receiver reads."""
        fields_read = (
            "ref",
            "before",
            "after",
            "deleted",
            "commits",
            "repository",
            "sender",
            "comment",
            "action",
        )
        where: Any = data
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if where is data and self._random.random() < 0.7:
                keys = [key for key in keys if key in fields_read] or keys
            if not keys:
                return
            key = self._random.choice(keys)
            if (
                not isinstance(where[key], dict | list)
                or not where[key]
                or self._random.random() < 0.3
            ):
                break
            where = where[key]
        if isinstance(where, dict) and self._random.random() < 0.3:
            del where[key]
        else:
            where[key] = copy.deepcopy(self._random.choice(ODD))
