"""``fyre up`` and ``fyre demo`` as processes, as a person starts them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from fyre.wiring import Up

FYRE = [sys.executable, "-m", "fyre"]


def test_it_says_when_it_is_ready_and_keeps_its_state_under_its_root(tmp_path: Path) -> None:
    root = tmp_path / "state"
    command = [*FYRE, "up", "--root", str(root), "--port", "0", "--engine", "local", "--jobs", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        ready = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+)\n", server.stderr.readline())
        assert ready
        assert requests.get(f"{ready[1]}/").status_code == 200
        assert requests.get(f"{ready[1]}/api/user", headers={"Authorization": "token x"}).status_code == 200
        again = subprocess.run([*command[:-4], "--port", "0"], capture_output=True, text=True, check=False)
        assert (again.returncode, "another" in again.stderr) == (1, True), again.stderr
        server.send_signal(signal.SIGINT)
        assert server.wait(30) in (0, 130)
        assert server.stderr.read() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_port_in_use_is_one_line_with_a_hint(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*FYRE, "up", "--root", str(tmp_path), "--port", port], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: port {port} on 127.0.0.1 can't be had: Address already in use",
        "hint: --port 0 takes a free one",
    ]


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([*FYRE, "up", "--engine", "slurm"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: there is no engine 'slurm'")


def test_a_page_that_rebinds_its_name_to_this_machine_is_not_answered(up: Up) -> None:
    for path in ("/", "/runs.json", "/api/user/repos", "/a/b.git/info/refs?service=git-upload-pack"):
        assert requests.get(up.url + path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("identity", [True, False])
def test_the_demo_ends_green(tmp_path: Path, identity: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not identity:
        (tmp_path / "empty").touch()
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "empty"))
    done = subprocess.run([*FYRE, "demo"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "    hello world\n" in done.stdout
    assert re.search(r"^fyre/run on [0-9a-f]{7} is success", done.stdout, re.MULTILINE)
