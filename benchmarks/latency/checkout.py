"""The pod's checkout beside bare git on the same relay, and the fetches that a hundred pods cost.

The floor has its credential as a header from the start; the script is asked for one, as a
credential helper is. ``python benchmarks/latency/checkout.py`` prints JSON.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture, versions
from fyre.git.mirror_store import MirrorStore
from fyre.runs.run import Repository
from tests.support import relaying

SCRIPT = versions.ROOT / "fyre/engines/kubernetes/checkout.sh"
FILES, ROUNDS, PODS, AT_ONCE = 2000, 15, 100, 4
REPOSITORY = Repository("http://forge", 7, "ada/engine")


def run_script(relay: relaying.Relayed, sha: str, pod: Path) -> None:
    """Run the pod's script from start to end."""
    (pod / "top").mkdir(parents=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(pod),
        "FYRE_TOP": str(pod / "top"),
        "FYRE_SHA": sha,
    }
    env |= {
        "FYRE_URL": relay.repository(),
        "FYRE_KEY": relay.key(),
        "FYRE_MESSAGE": str(pod / "message"),
    }
    subprocess.run(["sh", str(SCRIPT)], env=env, check=True)


def run_bare_git(relay: relaying.Relayed, sha: str, pod: Path) -> None:
    """Run the three commands that a person would type."""
    pod.mkdir(parents=True)
    header = "Authorization: Basic " + base64.b64encode(f"fyre:{relay.key()}".encode()).decode()
    lines = f"""git init -q top && cd top
git -c http.extraHeader="$HEADER" fetch -q --depth=1 {relay.repository()} {sha}
git -c advice.detachedHead=false checkout -q {sha}"""
    subprocess.run(["sh", "-ec", lines], cwd=pod, env={**os.environ, "HEADER": header}, check=True)


def seconds(checkout: object, *args: object) -> float:
    """Return how long a checkout takes; its directory is removed outside the measurement."""
    began = time.perf_counter()
    checkout(*args)  # type: ignore[operator] # one of the two above
    taken = time.perf_counter() - began
    shutil.rmtree(args[-1])  # type: ignore[arg-type] # the pod's directory
    return taken


def main() -> None:
    """Measure both and print the figures."""
    with tempfile.TemporaryDirectory(prefix="fyre-bench-") as folder:
        root = Path(folder)
        os.environ.update(up_fixture.isolated_git(root))
        repo = up_fixture.create_repository(root, "engine", FILES)
        sha = up_fixture.git("rev-parse", "HEAD", cwd=repo)
        up_fixture.git("clone", "-q", "--bare", str(repo), str(root / "forge/engine.git"), cwd=root)
        forge = relaying.Forge(root / "forge")
        with relaying.serve(forge.app()) as url, relaying.relaying(root / "mirrors") as relay:
            clones = MirrorStore(
                root / "mirrors", lambda _: f"{url}/engine.git", lambda _: forge.token
            )

            def one(number: int) -> float:
                clones.ensure_commit(REPOSITORY, sha, f"run-{number}")
                return seconds(run_script, relay, sha, root / f"pod-{number}")

            with ThreadPoolExecutor(AT_ONCE) as pool:
                together = list(pool.map(one, range(PODS)))
            fetches = forge.fetches
            taken: dict[str, list[float]] = {"script": [], "bare_git": []}
            for number in range(
                ROUNDS
            ):  # in turns, so that what else the machine does falls on both
                taken["script"].append(seconds(run_script, relay, sha, root / f"script-{number}"))
                taken["bare_git"].append(seconds(run_bare_git, relay, sha, root / f"bare-{number}"))
    ours, floor = (statistics.median(taken[name]) for name in ("script", "bare_git"))
    ratio = statistics.median(
        a / b for a, b in zip(taken["script"], taken["bare_git"], strict=True)
    )
    print(
        json.dumps(
            {
                "files": FILES,
                "rounds": ROUNDS,
                "script_ms": round(ours * 1000, 1),
                "bare_git_ms": round(floor * 1000, 1),
                "ratio": round(ours / floor, 3),
                "ratio_median_of_pairs": round(ratio, 3),
                "pods_of_one_push": len(together),
                "pods_at_once": AT_ONCE,
                "fetches_from_the_forge": fetches,
            }
        )
    )


if __name__ == "__main__":
    main()
