"""Followers of logs over restarts of the receiver: every byte is printed, once, and in order.

Some runs print numbered lines; ``fyre logs -f`` follows each, and so does a bare client that reads
the log once. The server is stopped at random moments, half of them by ``kill -9``, and started
again. ``python benchmarks/faults/follow.py [RESTARTS] [FOLLOWERS] [SEED]`` prints JSON and exits 1
if a follower printed another log than the run, or said that a cut log was whole.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture

COMMAND = (
    "i=0; while [ ! -e {stop} ]; do i=$((i+1)); echo line $i of a run; sleep 0.01; done; echo $i"
)


def main(restarts: int, followers: int, seed: int) -> None:
    """Restart so many times, then compare what was printed with the logs."""
    rng = random.Random(seed)
    with up_fixture.run_up(jobs=followers) as (server, folder):
        path = up_fixture.create_repository(folder, "follow", files=5)
        up_fixture.git("remote", "add", "origin", f"{server.url}/bench/follow.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        message = f"Print\n\nFyre-Run: {COMMAND.format(stop=folder / 'stop')}\n"
        shas = up_fixture.create_commits(path, [message] * followers)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        while not all(run["started_at"] for run in server.runs()):
            time.sleep(0.05)
        outputs = [folder / f"{sha}.out" for sha in shas]
        processes = [follow(path, sha, output) for sha, output in zip(shas, outputs, strict=True)]
        while not all(output.stat().st_size for output in outputs):
            time.sleep(0.05)
        moments = [restart(server, rng) for _ in range(restarts)]
        (folder / "stop").touch()
        codes = [process.wait() for process in processes]
        logs = {run["sha"]: read_log(server, run["log_url"]) for run in server.runs()}
        printed = {sha: output.read_bytes() for sha, output in zip(shas, outputs, strict=True)}
    different = [sha for sha in shas if digest(logs[sha]) != digest(printed[sha])]
    result = {
        "restarts": restarts,
        "followers": followers,
        "seed": seed,
        "seconds_away": [round(min(moments), 2), round(max(moments), 2)],
        "bytes": sum(map(len, logs.values())),
        "different_sha256": len(different),
        "exit_codes": sorted(set(codes)),
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(different or any(codes)))


def follow(path: Path, sha: str, output: Path) -> subprocess.Popen[bytes]:
    """Start ``fyre logs -f`` of a commit's run."""
    with output.open("wb") as file, output.with_suffix(".err").open("wb") as errors:
        return subprocess.Popen(
            [*up_fixture.FYRE, "logs", "-f", sha], cwd=path, stdout=file, stderr=errors
        )


def restart(server: up_fixture.Server, rng: random.Random) -> float:
    """Stop the server at a random moment, and start it after a while; return how long it took."""
    time.sleep(rng.uniform(0.1, 1.5))
    server.stop(rng.choice((signal.SIGKILL, signal.SIGTERM)))
    begin = time.monotonic()
    time.sleep(rng.uniform(0.0, 3.0))
    server.start()
    return time.monotonic() - begin


def read_log(server: up_fixture.Server, url: str) -> bytes:
    """Return the whole log of an ended run."""
    del server
    return subprocess.run(
        ["curl", "-sS", f"{url}/log"], capture_output=True, check=True, timeout=60
    ).stdout


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] + [50, 4, 1][len(sys.argv) - 1 :]
    main(numbers[0], numbers[1], numbers[2])
