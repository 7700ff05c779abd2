"""kill -9 of the server at random moments while outputs are stored: none lost, wrong or missing.

Each round pushes some commits, each with a run that writes a file and notes its SHA-256 outside of
Fyre; the server is killed at a random moment, and started again. Then each run's outputs are
fetched from its page and compared. ``python benchmarks/faults/output_kill.py [KILLS] [SEED] [s3]``
prints JSON and exits 1 if a promise was broken. With ``s3`` the store is a bucket of a real server.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import requests

from benchmarks.faults import kill
from benchmarks.lib import up_fixture
from tests.support import s3_server

PER_PUSH = 3
FILE_BYTES = 20_000_000
LATEST_KILL = 2.0
"""Seconds after the beginning of a push: by then its runs have begun to store what they wrote."""


def main(kills: int, seed: int, *, to_bucket: bool) -> None:
    """Push and kill so many times, then fetch all outputs."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        options: list[str] = []
        if to_bucket:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="fyre-bench-s3-"))
            s3 = stack.enter_context(s3_server.run_server(Path(place)))
            s3.make_bucket("outputs")
            os.environ.update(s3.environment())
            options = ["--artifact-store", "s3://outputs/kill"]
        server, folder = stack.enter_context(up_fixture.run_up(options=options))
        path = up_fixture.create_repository(folder, "kill")
        written = folder / "written"
        written.mkdir()
        up_fixture.git("remote", "add", "origin", f"{server.url}/bench/kill.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        shas: list[str] = []
        for number in range(kills):
            messages = [commit_message(written, number, n) for n in range(PER_PUSH)]
            shas += up_fixture.create_commits(path, messages)
            kill.push_and_kill(server, path, rng.uniform(0, LATEST_KILL))
        states = {sha: kill.wait_for_state(server, sha) for sha in shas}
        found = Counter(compare_outputs(server, sha, written) for sha in shas)
    result = {
        "store": "S3" if to_bucket else "folder",
        "kills": kills,
        "seed": seed,
        "runs": len(shas),
        "states": Counter(states.values()),
        "outputs": found,
    }
    print(json.dumps(result, indent=2))
    sys.exit(set(states.values()) != {"success"} or set(found) != {"right"})


def commit_message(written: Path, number: int, n: int) -> str:
    """Return a message whose run writes a file, and its hash to another place."""
    command = (
        f'head -c {FILE_BYTES} /dev/urandom > "$FYRE_OUTPUTS/model"; '
        f'sha256sum < "$FYRE_OUTPUTS/model" > {written}/$FYRE_SHA'
    )
    return f"Round {number}.{n}\n\nFyre-Run: {command}\n"


def compare_outputs(server: up_fixture.Server, sha: str, written: Path) -> str:
    """Return "right" if what is fetched of a run is what it wrote; else what is wrong."""
    (status,) = server.get(f"/repos/bench/kill/commits/{sha}/status")["statuses"]
    page = status["target_url"]
    answer = requests.get(f"{page}/outputs.json", timeout=60)
    if not answer.ok:
        return "no manifest"
    (artifact,) = answer.json()["artifacts"]
    content = requests.get(f"{page}/blobs/{artifact['sha256']}", timeout=60).content
    expected = (written / sha).read_text().split()[0]
    if hashlib.sha256(content).hexdigest() != artifact["sha256"]:
        return "missing or damaged blob"
    return "right" if artifact["sha256"] == expected else "wrong content"


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "s3"]
    numbers = [int(word) for word in words] + [50, 1][len(words) :]
    main(*numbers, to_bucket="s3" in sys.argv[1:])
