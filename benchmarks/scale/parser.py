"""The trailer parser against git: agreement over generated messages, speed, and whether time is
linear in length.

``python benchmarks/scale/parser.py [--messages N] [--seed N]`` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from fyre.message import trailers
from tests.support import trailers_generator

TYPICAL = """Train the larger model

The learning rate follows a cosine now, which needs fewer steps
and is kinder to the last layers.

See the notes of the sweep for what did not work.

Fyre-Run: python train.py --lr 3e-4 --epochs 40
Fyre-Name: train
Fyre-Timeout: 2h
Fyre-Id: 01JD0000000000000000000000
Signed-off-by: A U Thor <author@example.org>
"""


SHAPES: dict[str, Callable[[int], str]] = {  # adversarial messages of so many characters
    "one_long_line": lambda n: "S\n\nFyre-Run: " + "x" * n,
    "one_long_key": lambda n: "S\n\n" + "K" * n,
    "short_lines": lambda n: "S\n\n" + "K:v\n" * (n // 4),
    "folded_lines": lambda n: "S\n\nK:v\n" + "  f\n" * (n // 4),
    "prose": lambda n: "S\n\n" + "abc\n" * (n // 4) + "K: v\n",
    "comments": lambda n: "S\n\nK:v\n" + "# c\n" * (n // 4) + "x",
    "blank_lines": lambda n: "S\n" + "\n" * n + "K: v",
    "blank_folds": lambda n: "S\n\nK: v\n" + "   \n" * (n // 4) + " x",
}
N = 250_000


def seconds(work: Callable[[], object], runs: int = 7) -> float:
    """Return the median of several runs."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def parse_with_fyre(text: str) -> list[tuple[str, str]]:
    """Return the trailers that Fyre's parser finds, as key and value."""
    return [(t.key, t.value) for t in trailers.parse(text)]


def against_git_log(texts: list[str]) -> dict[str, object]:
    """Compare with git: every message as a commit, read back by one ``git log``."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        seen = trailers_generator.by_git_log(Path(folder) / "git", texts)
        took = time.perf_counter() - begun
    wrong = [text for text, git in zip(texts, seen, strict=True) if parse_with_fyre(text) != git]
    return {
        "messages": len(texts),
        "with_trailers": sum(map(bool, seen)),
        "disagreements": len(wrong),
        "first_disagreement": wrong[0] if wrong else None,
        "git_import_and_log_messages_per_second": round(len(texts) / took),
    }


def against_interpret_trailers(texts: list[str]) -> dict[str, object]:
    """Compare with ``git interpret-trailers``: a process for each message of a sample."""
    sample = [trailers_generator.for_interpret_trailers(text) for text in texts]
    wrong = [
        text
        for text in sample
        if [f"{key}: {value}" for key, value in parse_with_fyre(text)]
        != trailers_generator.by_interpret_trailers(text)
    ]
    return {
        "messages": len(sample),
        "disagreements": len(wrong),
        "first_disagreement": wrong[0] if wrong else None,
    }


def speed() -> dict[str, float]:
    """Return typical messages a second on one core, of the parser and of git's process."""
    one = seconds(lambda: trailers_generator.by_interpret_trailers(TYPICAL), 15)
    typical = seconds(lambda: [trailers.parse(TYPICAL) for _ in range(5000)]) / 5000
    return {
        "typical_messages_per_second": round(1 / typical),
        "git_interpret_trailers_messages_per_second": round(1 / one),
        "ratio_to_interpret_trailers": round(one / typical),
    }


def linearity() -> dict[str, dict[str, object]]:
    """Return the seconds for n, 2n, 4n and 8n characters of each shape; a ratio of 8 is linear."""
    found: dict[str, dict[str, object]] = {}
    for shape, make in SHAPES.items():
        texts = [make(N * times) for times in (1, 2, 4, 8)]
        took = [seconds(lambda text=text: trailers.parse(text), 5) for text in texts]
        found[shape] = {
            "seconds": [round(t, 5) for t in took],
            "ratio_8n_to_n": round(took[-1] / took[0], 1),
        }
    return found


def main() -> None:
    """Measure, print, and fail on any disagreement."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--messages", type=int, default=50_000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    texts = list(trailers_generator.messages(options.messages, options.seed))
    log = against_git_log([trailers_generator.for_log(text) for text in texts])
    interpreted = against_interpret_trailers(texts[:: max(1, len(texts) // 300)])
    print(json.dumps({
        "seed": options.seed,
        "against_git_log": log,
        "against_interpret_trailers": interpreted,
        **speed(),
        f"time_for_{N}_characters_and_2_4_8_times_that": linearity(),
        "git": subprocess.check_output(["git", "--version"], text=True).split()[2],
        "python": platform.python_version(),
    }, indent=2))  # fmt: skip
    sys.exit(bool(log["disagreements"] or interpreted["disagreements"]))


if __name__ == "__main__":
    main()
