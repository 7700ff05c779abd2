"""The trailer parser against git: agreement over generated messages, speed, and whether time is linear in length.

``python benchmarks/parser.py [--messages N] [--seed N]`` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fyre import trailers
from tests import trailers_generator

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


def seconds(work: Callable[[], object], runs: int = 7) -> float:
    """The median of several runs."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def differs_from_interpret_trailers(text: str) -> bool:
    """Whether git itself reads a message otherwise."""
    return [f"{t.key}: {t.value}" for t in trailers.parse(text)] != trailers_generator.by_interpret_trailers(text)


def main() -> None:
    """Measure, print, and fail on any disagreement."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--messages", type=int, default=50_000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    texts = list(trailers_generator.messages(options.messages, options.seed))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        seen = trailers_generator.by_git_log(Path(folder) / "git", texts)
        git_seconds = time.perf_counter() - begun
    wrong = [text for text, git in zip(texts, seen, strict=True)
             if [(t.key, t.value) for t in trailers.parse(text)] != git]  # fmt: skip
    sample = texts[:: max(1, len(texts) // 300)]
    wrong_sample = [text for text in sample if differs_from_interpret_trailers(text)]
    one = seconds(lambda: trailers_generator.by_interpret_trailers(TYPICAL), 15)
    typical = seconds(lambda: [trailers.parse(TYPICAL) for _ in range(5000)])
    lengths = {
        n: seconds(lambda n=n: trailers.parse("S\n\n" + "Fyre-Env: A=1\n  folded\n" * n))
        for n in (5000, 10000, 20000, 40000)
    }
    print(json.dumps({
        "messages": len(texts),
        "with_trailers": sum(map(bool, seen)),
        "seed": options.seed,
        "disagreements_with_git_log": len(wrong),
        "sample": len(sample),
        "disagreements_with_interpret_trailers": len(wrong_sample),
        "first_disagreement": (wrong or wrong_sample or [None])[0],
        "typical_messages_per_second": round(5000 / typical),
        "git_fast_import_and_log_messages_per_second": round(len(texts) / git_seconds),
        "git_interpret_trailers_ms_a_message": round(one * 1000, 2),
        "ratio_to_interpret_trailers": round(one / (typical / 5000)),
        "microseconds_per_line_by_lines": {2 * n: round(t / n / 2 * 1e6, 3) for n, t in lengths.items()},
        "time_ratio_for_eight_times_the_length": round(lengths[40000] / lengths[5000], 2),
        "git": subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2],
    }, indent=2))  # fmt: skip
    sys.exit(bool(wrong or wrong_sample))


if __name__ == "__main__":
    main()
