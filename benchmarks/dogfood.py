"""Fyre on Fyre: push this repository to a ``fyre up``, with a run of its own test command.

The status is read back with plain curl and with PyGithub. ``python benchmarks/dogfood.py
[COMMAND]`` prints JSON and exits 1 unless the status is success; the interpreter that runs this
runs the tests, so it needs ``.[test]``.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lib import up_fixture, versions

TESTS = f"{shlex.quote(sys.executable)} -m pytest -n 4"


def main(command: str) -> None:
    """Clone, commit, push, wait, read the status back."""
    with up_fixture.run_up() as (server, folder):
        clone = folder / "fyre"
        up_fixture.git("clone", "-q", str(versions.ROOT), str(clone), cwd=folder)
        (clone / ".fyre.yaml").write_text(
            "timeout: 20m\n"
        )  # the environment is this one: nothing to set up
        up_fixture.git("add", ".fyre.yaml", cwd=clone)
        up_fixture.git(
            "commit",
            "-q",
            "-m",
            f"Test Fyre on Fyre\n\nFyre-Run: {command}\nFyre-Name: test\n",
            cwd=clone,
        )
        sha = up_fixture.git("rev-parse", "HEAD", cwd=clone)
        begun = time.perf_counter()
        up_fixture.git(
            "push", "-q", f"{server.url}/fyre/fyre.git", "HEAD:refs/heads/main", cwd=clone
        )
        combined = wait_for_status(server, sha)
        seconds = time.perf_counter() - begun
        status = combined["statuses"][0]
        curl = ["curl", "-sf", f"{server.url}/api/repos/fyre/fyre/commits/{sha}/status"]
        by_curl = json.loads(subprocess.run(curl, capture_output=True, check=True).stdout)["state"]
        log = subprocess.run(
            ["curl", "-sf", status["target_url"] + "/log"],
            capture_output=True,
            text=True,
            check=True,
        )
        result = {
            "sha": sha,
            "command": command,
            "seconds": round(seconds, 1),
            "context": status["context"],
            "description": status["description"],
            "state_by_curl": by_curl,
            "state_by_pygithub": by_pygithub(server, sha),
            "last_lines_of_the_log": log.stdout.strip().splitlines()[-2:],
        }
        if by_curl != "success":
            sys.stderr.write(log.stdout[-5000:])
    print(json.dumps(result, indent=2))
    sys.exit(not result["state_by_curl"] == result["state_by_pygithub"] == "success")


def wait_for_status(server: up_fixture.Server, sha: str) -> dict[str, Any]:
    """Return the combined status once it is final."""
    while True:
        found: dict[str, Any] = server.get(f"/repos/fyre/fyre/commits/{sha}/status")
        if found["state"] != "pending":
            return found
        time.sleep(0.5)


def by_pygithub(server: up_fixture.Server, sha: str) -> str:
    """Return the state that PyGithub reads."""
    from github import Auth, Github

    hub = Github(auth=Auth.Token("reader"), base_url=f"{server.url}/api")
    return str(hub.get_repo("fyre/fyre").get_commit(sha).get_combined_status().state)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else TESTS)
