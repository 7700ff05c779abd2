"""What Fyre costs at the keyboard: the commit-msg hook against bare Python, ``fyre commit`` against importing typer.

Medians over interleaved rounds, in milliseconds; ``python benchmarks/latency/keyboard.py [ROUNDS]`` prints one JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 25
RUN = "Train\n\nWhy it is done.\n\nFyre-Run: python train.py\nFyre-Name: train\nFyre-Timeout: 2h\n"


def main(rounds: int) -> dict[str, object]:
    """Measure everything in one run."""
    with tempfile.TemporaryDirectory() as home:
        config = Path(home) / "gitconfig"
        config.write_text("[user]\n name = Ada\n email = ada@example.org\n[gc]\n auto = 0\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env = kept | {"HOME": home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(config)}
        median = medians(contenders(Path(home), env), rounds)
    floor, typer = median["python -c pass"], median["python -c 'import typer'"]
    over = {
        kind: median[f"fyre commit, {kind}"] - median["git commit, hooks off"]
        for kind in ("hooks off", "hooks on")
    }
    return {
        "rounds": rounds,
        "milliseconds": {name: round(value, 1) for name, value in median.items()},
        "commit_msg_hook_over_python": round(median["commit-msg hook"] / floor, 2),
        "commit_msg_hook_over_python_target": 4,
        "commit_msg_hook_nothing_asked_over_python": round(
            median["commit-msg hook, nothing asked"] / floor, 2
        ),
        "fyre_commit_minus_git_over_typer": round(over["hooks off"] / typer, 2),
        "fyre_commit_minus_git_over_typer_target": 1.5,
        "fyre_commit_with_hooks_minus_git_over_typer": round(over["hooks on"] / typer, 2),
    }


def contenders(home: Path, env: dict[str, str]) -> dict[str, Callable[[], float]]:
    """What is measured, by name; each call is one round."""

    def do(
        words: list[str], cwd: Path = home, before: Callable[[], object] | None = None
    ) -> Callable[[], float]:
        def once() -> float:
            if before:
                before()
            start = time.perf_counter()
            subprocess.run(words, cwd=cwd, env=env, check=True, capture_output=True)
            return (time.perf_counter() - start) * 1000

        return once

    fyre = str(Path(sys.executable).with_name("fyre"))
    plain, hooked, bare = home / "plain", home / "hooked", home / "bare"
    for repo in (plain, hooked, bare):
        do(["git", "init", "-q", str(repo)])()
        do(["git", "commit", "-q", "--allow-empty", "-m", "First"], repo)()
    do([fyre, "init", "--hooks"], hooked)()
    message = home / "COMMIT_EDITMSG"
    hook = [str(hooked / ".git/hooks/commit-msg"), str(message)]
    commit = [fyre, "commit", "--run", "true"]
    return {
        "python -c pass": do([sys.executable, "-c", "pass"]),
        "python -c 'import typer'": do([sys.executable, "-c", "import typer"]),
        "commit-msg hook": do(hook, before=lambda: message.write_text(RUN)),
        "commit-msg hook, nothing asked": do(hook, before=lambda: message.write_text("Plain\n")),
        "git commit, hooks off": do(["git", "commit", "--allow-empty", "-m", "Run: true"], bare),
        "fyre commit, hooks off": do(commit, plain),
        "fyre commit, hooks on": do(commit, hooked),
    }


def medians(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each, one call of each a round, so that a slow moment of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, once in contenders.items():
            times[name].append(once())
    return {name: statistics.median(each) for name, each in times.items()}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS), indent=2))
