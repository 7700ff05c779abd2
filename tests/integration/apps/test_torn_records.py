"""A power loss takes the record of a run that waits: the forge still knows what was asked."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support import waiting
from tests.support.ci_marks import long_case
from tests.support.restarted_up import RestartedUp


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RestartedUp]:
    server = RestartedUp(tmp_path / "state", "--jobs", "1")
    server.start()
    yield server
    server.stop()


def git(*args: str, cwd: Path) -> str:
    done = subprocess.run(["git", *args], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def statuses(server: RestartedUp, sha: str) -> list[str]:
    url = f"{server.url}/api/repos/ada/lab/commits/{sha}/status"
    return [each["description"] for each in requests.get(url).json()["statuses"]]


@long_case
def test_9_24_a_run_whose_record_was_torn_while_it_waited_is_launched_again(
    server: RestartedUp, repo: Path, tmp_path: Path
) -> None:
    git("remote", "add", "origin", f"{server.url}/ada/lab.git", cwd=repo)
    for command in (f"until [ -e {tmp_path}/go ]; do sleep 0.1; done", f"echo >> {tmp_path}/ran"):
        git("commit", "-q", "--allow-empty", "-m", f"x\n\nFyre-Run: {command}", cwd=repo)
        git("push", "-q", "origin", "HEAD:main", cwd=repo)
    sha = git("rev-parse", "HEAD", cwd=repo)
    waiting.until(lambda: "waiting" in "".join(statuses(server, sha)))
    server.stop(signal.SIGKILL)
    runs = list((tmp_path / "state").glob("engine/runs/*"))
    (waits,) = (path for path in runs if not (path / "started").exists())
    (waits / "run.json").write_text("")
    (tmp_path / "go").touch()
    server.start()
    ended = waiting.until(lambda: [one for one in statuses(server, sha) if "exit" in one])
    assert ended[0].startswith("exit 0")
    assert (tmp_path / "ran").read_text() == "\n"
