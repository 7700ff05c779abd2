"""From the push to the first byte of the command's output, against a bare post-receive hook.

The floor: a hook of six lines of shell in a repository of the same forge that checks the pushed
commit out and runs the same command. ``python benchmarks/latency/push.py [ROUNDS] [--against
CHECKOUT]`` prints JSON: medians over rounds that take turns. With ``--against``, another version
of Fyre takes its turn in each round, and ``fyre_over_against`` is the ratio to it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture, versions

COMMAND = "date +%s%N; echo done"
HOOK = """#!/bin/sh
while read old new ref; do
  work=$(mktemp -d)
  git --work-tree="$work" checkout -qf "$new"
  (unset GIT_DIR; cd "$work" && sh -c '{command}' > "{out}" 2>&1)
  rm -rf "$work"
done
"""


Milliseconds = dict[str, list[float]]


def main(rounds: int, against: Path | None) -> None:
    """Push to the hook and to every version in turn, and print."""
    compared = versions.select_versions(against)
    with up_fixture.temporary_folder() as folder, ExitStack() as stack:
        servers = {
            version: stack.enter_context(up_fixture.run_up_in(folder, 2, version))
            for version in compared
        }
        first = servers[versions.CURRENT]
        clones = {
            version: create_clone(folder, version.name, server)
            for version, server in servers.items()
        }
        bare, output = create_clone(folder, "bare", first), folder / "hook.out"
        install_hook(next(first.root.rglob("bare.git")), output)
        times: Milliseconds = defaultdict(list)
        for number in range(rounds + 2):
            begun = time.time_ns()
            commit_and_push(bare, f"Change {number}\n")
            times["whole_push"].append((time.time_ns() - begun) / 1e6)
            times["hook"].append((int(output.read_text().split()[0]) - begun) / 1e6)
            for version in versions.in_turn(compared, number):
                begun = time.time_ns()
                sha = commit_and_push(clones[version], f"Change {number}\n\nFyre-Run: {COMMAND}\n")
                first_output = wait_for_first_output(servers[version], sha)
                times[version.name].append((first_output - begun) / 1e6)
    print(json.dumps(report({name: values[2:] for name, values in times.items()}), indent=2))


def create_clone(folder: Path, name: str, server: up_fixture.Server) -> Path:
    """Create a repository with a remote on the server, and push its first commit."""
    path = up_fixture.create_repository(folder, f"{name}-clone")
    up_fixture.git("remote", "add", "origin", f"{server.url}/bench/{name}.git", cwd=path)
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    return path


def install_hook(git_dir: Path, output: Path) -> None:
    """Install the bare post-receive hook in the server's repository."""
    hook = git_dir / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(command=COMMAND, out=output))
    hook.chmod(0o755)


def commit_and_push(path: Path, message: str) -> str:
    """Make one commit and push it; return its SHA. Both sides pay alike for making it."""
    up_fixture.git("commit", "-q", "--allow-empty", "-m", message, cwd=path)
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    return up_fixture.git("rev-parse", "HEAD", cwd=path)


def wait_for_first_output(server: up_fixture.Server, sha: str) -> int:
    """Return the time that the command itself printed first, in nanoseconds since the epoch."""
    while True:
        for run in server.runs():
            if run["sha"] == sha and run["ended_at"]:
                with urllib.request.urlopen(run["log_url"] + "/log") as answer:
                    return int(answer.read().split()[0])
        time.sleep(0.01)


def report(times: Milliseconds) -> dict[str, object]:
    """Return the medians, and the median of the rounds' own ratios."""
    median = {name: round(statistics.median(values), 1) for name, values in times.items()}
    figures = {
        "rounds": len(times["fyre"]),
        "fyre_push_to_first_byte_ms": median["fyre"],
        "post_receive_hook_push_to_first_byte_ms": median["hook"],
        "post_receive_hook_whole_push_ms": median["whole_push"],
        "ratio": versions.median_ratio(times["fyre"], times["hook"]),
        "ratio_target": 2,
    }
    if "against" not in times:
        return figures
    return figures | {
        "against_push_to_first_byte_ms": median["against"],
        "fyre_over_against": versions.median_ratio(times["fyre"], times["against"]),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("rounds", type=int, nargs="?", default=15)
    versions.add_option(arguments)
    main(**vars(arguments.parse_args()))
