"""From a log's bytes to those that can be shown: MB/s of CPU time, beside a bare copy.

Rows: no secret, one and fifty secrets in an ordinary log; one in a dump and in a text of escapes,
which is what costs most. They come in chunks of 64 kB or line by line, as most logs do; these are
``collected`` by a thread, as those that are followed are.

``python benchmarks/latency/redaction.py`` prints JSON.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from fyre.engines.kubernetes.logs.collected_chunks import collect_chunks
from fyre.engines.kubernetes.logs.log_redaction import Redactor

CHUNK, LINES = 65_536, 10_000


def ordinary_log(numbers: random.Random) -> bytes:
    """Return lines as a training prints them, each with a hash."""
    return b"".join(
        b"2026-11-30T10:00:00Z INFO step=%d loss=%.4f sha=%040x the next batch is read\n"
        % (step, numbers.random(), numbers.getrandbits(160))
        for step in range(LINES)
    )


def hex_dump(numbers: random.Random) -> bytes:
    """Return a dump of random bytes, as xxd writes it."""
    return b"".join(
        b"%08x: %b  %b\n" % (place * 16, numbers.randbytes(16).hex(" ", -2).encode(), b"." * 16)
        for place in range(LINES)
    )


def rate(values: list[bytes], pieces: list[bytes], *, collected: bool = False) -> float:
    """Return the MB/s at which pieces of a log are read, the best of three times."""
    size, times = sum(map(len, pieces)), []
    for _ in range(3):
        redactor, began = Redactor(values), time.process_time()
        for piece in collect_chunks(pieces) if collected else pieces:
            redactor.feed(piece)
        redactor.flush()
        times.append(time.process_time() - began)
    return round(size / max(min(times), 1e-9) / 1e6, 1)


def copy_rate(pieces: Iterable[bytes]) -> float:
    """Return the MB/s at which pieces are copied: the floor."""
    began, copied = time.process_time(), [bytes(bytearray(piece)) for piece in pieces]
    return round(sum(map(len, copied)) / max(time.process_time() - began, 1e-9) / 1e6, 1)


def chunks(text: bytes) -> list[bytes]:
    """Cut a text into chunks."""
    return [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]


def main() -> None:
    """Print the figures."""
    numbers = random.Random(1)
    secrets = [base64.b64encode(numbers.randbytes(24)) for _ in range(50)]
    log, one = ordinary_log(numbers), secrets[:1]
    lines = log[:200_000].splitlines(keepends=True)
    figures = {
        "bare copy": copy_rate(chunks(log)),
        "no secret": rate([], chunks(log)),
        "one secret": rate(one, chunks(log)),
        "fifty secrets": rate(secrets, chunks(log)),
        "one secret, line by line": rate(one, lines),
        "fifty secrets, line by line": rate(secrets, lines),
        "one secret, line by line, collected": rate(one, lines, collected=True),
        "fifty secrets, line by line, collected": rate(secrets, lines, collected=True),
        "one secret, a dump": rate(one, chunks(hex_dump(numbers))),
        "one secret, escapes": rate(one, chunks(b"%25" * 200_000)),
        "one line of 1 MB, fifty secrets": rate(secrets, [log.replace(b"\n", b" ")[:1_000_000]]),
    }
    print(json.dumps({"MB/s": figures}, indent=2))


if __name__ == "__main__":
    main()
