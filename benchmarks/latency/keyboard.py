"""The cost of Fyre at the keyboard: its commit-msg hook and ``fyre commit``.

The hook is measured against bare Python, ``fyre commit`` against importing typer; medians over
rounds that take turns, in milliseconds. ``python benchmarks/latency/keyboard.py [ROUNDS]
[--against CHECKOUT]`` prints JSON. With ``--against``, another version of Fyre takes its turn in
each round, and ``fyre_over_against`` holds the ratios to it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import versions
from benchmarks.lib.versions import CURRENT, Version

GIT_COMMIT = "git commit, hooks off"
KINDS = HOOK, HOOK_NO_RUN, COMMIT, COMMIT_WITH_HOOKS = (
    "commit-msg hook",
    "commit-msg hook, nothing asked",
    "fyre commit, hooks off",
    "fyre commit, hooks on",
)
RUN = "Train\n\nWhy it is done.\n\nFyre-Run: python train.py\nFyre-Name: train\nFyre-Timeout: 2h\n"


def main(rounds: int, against: Path | None) -> None:
    """Measure everything in one run, and print."""
    compared = versions.select_versions(against)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        env = create_environment(home)
        commands = floor_commands(home, env)
        for version in compared:
            commands |= version_commands(home, env, version)
        times = measure(commands, rounds)
    figures: dict[str, object] = {"rounds": rounds, **report(times, CURRENT.name)}
    if against is not None:
        figures["against"] = report(times, "against")
        figures["fyre_over_against"] = {
            kind: versions.median_ratio(times[f"fyre: {kind}"], times[f"against: {kind}"])
            for kind in KINDS
        }
    print(json.dumps(figures, indent=2))


def create_environment(home: Path) -> dict[str, str]:
    """Return variables for a git that reads no configuration but its own."""
    config = home / "gitconfig"
    config.write_text("[user]\n name = Ada\n email = ada@example.org\n[gc]\n auto = 0\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config),
    }


def timed(
    argv: list[str],
    cwd: Path,
    env: dict[str, str],
    before: Callable[[], object] = lambda: None,
) -> Callable[[], float]:
    """Return a function that runs a command once, and returns the milliseconds that it took.

    What is done ``before`` it is not counted.
    """

    def run_once() -> float:
        before()
        start = time.perf_counter()
        subprocess.run(argv, cwd=cwd, env=env, check=True, capture_output=True)
        return (time.perf_counter() - start) * 1000

    return run_once


def create_repository(path: Path, env: dict[str, str]) -> Path:
    """Create a repository with one commit."""
    timed(["git", "init", "-q", str(path)], path.parent, env)()
    timed(["git", "commit", "-q", "--allow-empty", "-m", "First"], path, env)()
    return path


def floor_commands(home: Path, env: dict[str, str]) -> dict[str, Callable[[], float]]:
    """Return what Fyre is compared with: bare Python, importing typer, ``git commit``."""
    bare = create_repository(home / "bare", env)
    return {
        "python -c pass": timed([sys.executable, "-c", "pass"], home, env),
        "python -c 'import typer'": timed([sys.executable, "-c", "import typer"], home, env),
        GIT_COMMIT: timed(["git", "commit", "--allow-empty", "-m", "Run: true"], bare, env),
    }


def version_commands(
    home: Path, env: dict[str, str], version: Version
) -> dict[str, Callable[[], float]]:
    """Return the hook and ``fyre commit`` of one version, each under its name and kind."""
    env = env | version.environment
    fyre = str(version.write_console_script(home))
    plain = create_repository(home / f"{version.name}-plain", env)
    hooked = create_repository(home / f"{version.name}-hooked", env)
    timed([fyre, "init", "--hooks"], hooked, env)()
    message = home / f"{version.name}-COMMIT_EDITMSG"
    hook = [str(hooked / ".git/hooks/commit-msg"), str(message)]
    commit = [fyre, "commit", "--run", "true"]
    commands = (
        timed(hook, home, env, lambda: message.write_text(RUN)),
        timed(hook, home, env, lambda: message.write_text("Plain\n")),
        timed(commit, plain, env),
        timed(commit, hooked, env),
    )
    return {
        f"{version.name}: {kind}": command for kind, command in zip(KINDS, commands, strict=True)
    }


def measure(commands: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each command once a round, so that a slow moment of the machine hits all alike.

    Every other round goes backwards, so that none always comes after the same one.
    """
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name in list(commands)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(commands[name]())
    return times


def report(times: dict[str, list[float]], version: str) -> dict[str, object]:
    """Return the medians of one version, and its ratios to the floors."""
    median = {
        name.removeprefix(f"{version}: "): statistics.median(values)
        for name, values in times.items()
        if ": " not in name or name.startswith(f"{version}: ")
    }
    python, typer = median["python -c pass"], median["python -c 'import typer'"]
    added = {kind: median[kind] - median[GIT_COMMIT] for kind in (COMMIT, COMMIT_WITH_HOOKS)}
    return {
        "milliseconds": {name: round(value, 1) for name, value in median.items()},
        "commit_msg_hook_over_python": round(median[HOOK] / python, 2),
        "commit_msg_hook_over_python_target": 4,
        "commit_msg_hook_nothing_asked_over_python": round(median[HOOK_NO_RUN] / python, 2),
        "fyre_commit_minus_git_over_typer": round(added[COMMIT] / typer, 2),
        "fyre_commit_minus_git_over_typer_target": 1.5,
        "fyre_commit_with_hooks_minus_git_over_typer": round(added[COMMIT_WITH_HOOKS] / typer, 2),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("rounds", type=int, nargs="?", default=25)
    versions.add_option(arguments)
    main(**vars(arguments.parse_args()))
