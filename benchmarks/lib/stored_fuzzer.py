"""Damage stored things: JSON with other values, other bytes, and texts."""

from __future__ import annotations

import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**64, 10**400, 0.5, -0.0, 1e308, 1e-300,
    253402300799, 253402300799.5, "", "x", "\ud800", "\x00", "é", "a\nb", "x" * 5000, "\U0001f600",
    [], [1], ["a"], [["a", "b"]], {}, {"a": 1}, "running", "succeeded", "failed", "error",
    "cancelled", "waiting", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00", "http://[",
    [[[[[]]]]],
)  # fmt: skip
CONTENTS = (
    b"", b"[1,2]", b"7", b'"x"', b'{"a":', b"null", b"[" * 3000, b"NaN", b"Infinity", b"1e999",
    b"-1", b"\xff\xfe", b"\0" * 40, b'{"a":1}{"b":2}', b"\xef\xbb\xbf{}", b'{"version":2}',
    b"9" * 5000,
)  # fmt: skip
CHARACTERS = "0123456789._e+-:/[]{}\"'#&*!%@\\<>`|\n\t \0é٣²\ud800\U0001f600"


class StoredFuzzer:
    """Damaged copies of things; all of it follows from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def json_bytes(self, data: object) -> bytes:
        """Return the bytes of a file that should hold this, damaged; sometimes they are whole."""
        kind = self.rng.random()
        if kind < 0.6 and isinstance(data, dict):
            content = json.dumps(self._changed(data)).encode()
            return self._damaged(content) if self.rng.random() < 0.2 else content
        if kind < 0.7:
            return json.dumps(self._value()).encode()
        if kind < 0.8:
            return self.rng.choice(CONTENTS)
        return self._damaged(json.dumps(data).encode())

    def text(self, text: str) -> str:
        """Return a text with some of its characters replaced, removed, doubled or added."""
        if self.rng.random() < 0.1:
            return str(self._value())
        characters = list(text)
        for _ in range(self.rng.randrange(6)):
            place = self.rng.randrange(len(characters) + 1)
            end = place + self.rng.choice((0, 0, 1, 1, 5, 40))
            added = self.rng.choices(CHARACTERS, k=self.rng.choice((0, 1, 1, 2, 9)))
            copied = characters[place:end] if self.rng.random() < 0.3 else []
            characters[place:end] = [*copied, *added, *copied]
        return "".join(characters)

    def _changed(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the object with some of its members changed or removed."""
        changed = dict(data)
        for _ in range(self.rng.randrange(1, 4)):
            name = self.rng.choice([*changed, "version", "needs"])
            inner = changed.get(name)
            if isinstance(inner, dict) and inner and self.rng.random() < 0.5:
                changed[name] = self._changed(inner)
            elif self.rng.random() < 0.2:
                changed.pop(name, None)
            else:
                changed[name] = self._value()
        return changed

    def _value(self, depth: int = 0) -> Any:  # noqa: ANN401 - what JSON holds
        kind = self.rng.random()
        if kind < 0.75 or depth > 3:
            return self.rng.choice(VALUES)
        if kind < 0.85:
            return "".join(self.rng.choices(CHARACTERS, k=self.rng.randrange(9)))
        if kind < 0.93:
            return [self._value(depth + 1) for _ in range(self.rng.randrange(4))]
        names = self.rng.choices(("a", "version", "state", "by", "\ud800"), k=2)
        return {name: self._value(depth + 1) for name in names}

    def _damaged(self, content: bytes) -> bytes:
        """Return the bytes with some of them replaced, removed, cut off or added."""
        damaged = bytearray(content)
        for _ in range(self.rng.randrange(4)):
            place = self.rng.randrange(len(damaged) + 1)
            match self.rng.randrange(4):
                case 0:
                    damaged[place : place + 1] = bytes([self.rng.randrange(256)])
                case 1:
                    del damaged[place : place + self.rng.randrange(1, 9)]
                case 2:
                    del damaged[place:]
                case _:
                    damaged[place:place] = self.rng.choice(b'{}[]",:\\0-').to_bytes(1, "big")
        return bytes(damaged)
