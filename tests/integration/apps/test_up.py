"""``fyre up`` and ``fyre demo`` as processes, as a person starts them."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.cli import main
from tests.support.ci_marks import EASIER_CASE, long_case

FYRE = [sys.executable, "-m", "fyre"]


def test_it_says_when_it_is_ready_and_keeps_its_state_under_its_root(tmp_path: Path) -> None:
    root = tmp_path / "state"
    command = [*FYRE, "up", "--root", str(root), "--port", "0", "--engine", "local", "--jobs", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        ready = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+)\n", server.stderr.readline())
        assert ready
        assert requests.get(f"{ready[1]}/").status_code == 200
        assert (
            requests.get(f"{ready[1]}/api/user", headers={"Authorization": "token x"}).status_code
            == 200
        )
        again = subprocess.run(
            [*command[:-4], "--port", "0"], capture_output=True, text=True, check=False
        )
        assert (again.returncode, "another" in again.stderr) == (1, True), again.stderr
        server.send_signal(signal.SIGINT)
        assert server.wait(30) in (0, 130)
        assert server.stderr.read() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_root_that_is_no_folder_is_a_mistake_with_a_hint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    for root in (taken, taken / "below"):
        assert main.main(["up", "--root", str(root), "--port", "0"]) == 1
        assert capfd.readouterr().err.startswith(f"error: no state can be kept in {root}: ")


def test_a_user_without_a_home_is_told_of_root(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the random users of many a cluster, whom no file of the image names."""

    def none(_: int) -> NoReturn:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", none)
    assert main.main(["up", "--port", "0"]) == 1
    assert "hint: --root names a folder" in capfd.readouterr().err


@long_case
def test_a_server_killed_in_the_middle_of_a_push_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [*FYRE, "up", "--root", str(tmp_path / "state"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        port = int(server.stderr.readline().strip().rpartition(":")[2])
        requests.get(
            f"http://127.0.0.1:{port}/a/b.git/info/refs?service=git-receive-pack"
        ).raise_for_status()
        with socket.create_connection(("127.0.0.1", port)) as push:
            head = "POST /a/b.git/git-receive-pack HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            head += "Content-Length: 1000000\r\n"
            head += "Content-Type: application/x-git-receive-pack-request\r\n\r\n"
            push.sendall(head.encode() + b"00ff" + b"0" * 100)  # a line that has not ended yet
            try:
                await_processes(str(tmp_path), some=True)
            finally:
                server.send_signal(signal.SIGKILL)
                server.wait()
    await_processes(str(tmp_path), some=False)


def await_processes(mark: str, *, some: bool) -> list[str]:
    """The git processes with a word in their environment, once there are some or none."""
    deadline = time.monotonic() + 30
    while True:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (
                    mark.encode() in (process / "environ").read_bytes()
                    and "git" in (process / "comm").read_text()
                ):
                    found.append(process.name)
        if bool(found) is some:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@long_case
def test_a_port_in_use_is_one_line_with_a_hint(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*FYRE, "up", "--root", str(tmp_path), "--port", port],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: port {port} on 127.0.0.1 can't be had: Address already in use",
        "hint: --port 0 takes a free one",
    ]


@long_case
def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*FYRE, "up", "--engine", "slurm"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "error: there is no engine 'slurm'",
    )


def test_a_page_that_rebinds_its_name_to_this_machine_is_not_answered(up: FyreUp) -> None:
    for path in (
        "/",
        "/runs.json",
        "/api/user/repos",
        "/a/b.git/info/refs?service=git-upload-pack",
    ):
        assert requests.get(up.url + path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    "identity",
    [
        # Where git knows nobody is the harder case, and what a newcomer may have.
        pytest.param(True, marks=EASIER_CASE),
        False,
    ],
)
@long_case
def test_the_demo_ends_green(
    tmp_path: Path, identity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not identity:
        (tmp_path / "empty").touch()
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "empty"))
    monkeypatch.setenv(
        "http_proxy", "http://127.0.0.1:9"
    )  # as in many a pod: no proxy reaches this machine's own forge
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of a hook"))
    done = subprocess.run(
        [*FYRE, "demo"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "    hello world\n" in done.stdout
    assert not (tmp_path / "of a hook").exists()
    assert re.search(r"^fyre/run on [0-9a-f]{7} is success", done.stdout, re.MULTILINE)


@long_case
def test_a_demo_that_is_ended_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen([*FYRE, "demo"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        while "forge on this machine" not in demo.stdout.readline():
            pass  # the server is up once this is said
        demo.send_signal(signal.SIGTERM)
        demo.stdout.read()
    assert demo.returncode == 128 + signal.SIGTERM
    assert [*tmp_path.iterdir()] == []
    await_processes(str(tmp_path), some=False)
