"""From the push to the first byte of the command's output, against a bare post-receive hook behind the same server.

The floor: a hook of six lines of shell in a repository of the same forge that checks the pushed commit out and runs
the same command. ``python benchmarks/latency/push.py [ROUNDS]`` prints JSON; medians over interleaved rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture

COMMAND = "date +%s%N; echo done"
HOOK = """#!/bin/sh
while read old new ref; do
  work=$(mktemp -d)
  git --work-tree="$work" checkout -qf "$new"
  (unset GIT_DIR; cd "$work" && sh -c '{command}' > "{out}" 2>&1)
  rm -rf "$work"
done
"""


def main(rounds: int) -> None:
    """Push to both in turn, and print."""
    with up_fixture.server() as (server, folder):
        out = folder / "hook.out"
        ours, bare = up_fixture.repository(folder, "ours"), up_fixture.repository(folder, "bare")
        for name, path in (("ours", ours), ("bare", bare)):
            up_fixture.git("remote", "add", "origin", f"{server.url}/bench/{name}.git", cwd=path)
            up_fixture.git("push", "-q", "origin", "main", cwd=path)
        hook = next((server.root).rglob("bare.git")) / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(HOOK.format(command=COMMAND, out=out))
        hook.chmod(0o755)
        fyre, floor, push = [], [], []
        for number in range(rounds + 2):
            begun = time.time_ns()
            one(bare, f"Change {number}\n")
            push.append(time.time_ns() - begun)
            floor.append(int(out.read_text().split()[0]) - begun)
            begun = time.time_ns()
            sha = one(ours, f"Change {number}\n\nFyre-Run: {COMMAND}\n")
            fyre.append(first_byte(server, sha) - begun)
        report(fyre[2:], floor[2:], push[2:])


def one(path: Path, message: str) -> str:
    """One commit, pushed; committing is not what is measured, but both pay for it alike."""
    up_fixture.git("commit", "-q", "--allow-empty", "-m", message, cwd=path)
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    return up_fixture.git("rev-parse", "HEAD", cwd=path)


def first_byte(server: up_fixture.Server, sha: str) -> int:
    """The time that the command itself printed first."""
    import urllib.request

    while True:
        for run in server.runs():
            if run["sha"] == sha and run["ended_at"]:
                with urllib.request.urlopen(run["log_url"] + "/log") as answer:
                    return int(answer.read().split()[0])
        time.sleep(0.01)


def report(fyre: list[int], floor: list[int], push: list[int]) -> None:
    """Milliseconds and the ratio, round by round."""
    ratios = [a / b for a, b in zip(fyre, floor, strict=True)]
    print(json.dumps({
        "rounds": len(fyre),
        "fyre_push_to_first_byte_ms": round(statistics.median(fyre) / 1e6, 1),
        "post_receive_hook_push_to_first_byte_ms": round(statistics.median(floor) / 1e6, 1),
        "post_receive_hook_whole_push_ms": round(statistics.median(push) / 1e6, 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_target": 2,
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
