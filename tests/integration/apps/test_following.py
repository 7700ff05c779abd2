"""B17: whoever follows a log while its receiver is killed and started again gets all of it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import git
from tests.support.ci_marks import EASIER_CASE, LONG_CASE
from tests.support.restarted_up import RestartedUp

pytestmark = [*LONG_CASE]

PRINTING = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i of a run; sleep 0.02; done"


def printed(lines: int) -> bytes:
    return b"".join(b"line %d of a run\n" % (number + 1) for number in range(lines))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RestartedUp]:
    server = RestartedUp(tmp_path / "state")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def clone(server: RestartedUp, repo: Path) -> Path:
    git("remote", "add", "origin", f"{server.url}/ada/lab.git", cwd=repo)
    git("push", "-q", "origin", "main", cwd=repo)
    return repo


def fyre(clone: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "fyre", *words],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def restart(server: RestartedUp, number: int, away: float) -> None:
    server.stop((signal.SIGKILL, signal.SIGTERM)[number % 2])
    time.sleep(away)
    server.start()


def await_start(server: RestartedUp) -> None:
    while not (runs := server.runs()) or runs[0]["started_at"] is None:
        time.sleep(0.05)


@pytest.mark.parametrize(
    "verb",
    [
        "run",  # which also waits for its start
        pytest.param("logs", marks=EASIER_CASE),
    ],
)
def test_b17_a_log_is_whole_over_restarts_of_the_receiver(
    server: RestartedUp, clone: Path, verb: str
) -> None:
    lines, rng = 400, random.Random(verb)
    command = PRINTING.format(lines=lines)
    if verb == "run":
        follower = fyre(clone, "run", "--yes", "--", command)
    else:
        started = fyre(clone, "run", "--yes", "--detach", "--", command)
        sha = started.communicate(timeout=30)[0].decode().strip()
        await_start(server)
        follower = fyre(clone, "logs", "-f", sha)
    assert follower.stdout is not None
    first = os.read(follower.stdout.fileno(), 100_000)
    for number in range(3):
        restart(server, number, rng.uniform(0.0, 1.5))
        time.sleep(rng.uniform(0.2, 0.8))
    out, err = follower.communicate(timeout=120)
    out = first + out
    assert hashlib.sha256(out).digest() == hashlib.sha256(printed(lines)).digest(), err.decode()
    assert follower.returncode == 0, err.decode()
    assert "interrupted" in err.decode()


def test_b17_a_log_that_can_not_be_read_to_its_end_is_no_success(
    server: RestartedUp, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = fyre(clone, "run", "--yes", "--detach", "--", PRINTING.format(lines=200))
    sha = started.communicate(timeout=30)[0].decode().strip()
    program = (
        "import sys; from fyre.client import log_reader as r; "
        "r.read_log.__kwdefaults__['patience'] = 1.0; "
        "from fyre.cli.main import main; sys.exit(main())"
    )
    await_start(server)
    follower = subprocess.Popen(
        [sys.executable, "-c", program, "logs", "-f", sha],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert follower.stdout is not None
    assert os.read(follower.stdout.fileno(), 100_000).startswith(b"line 1 of a run\n")
    server.stop(signal.SIGKILL)
    try:
        _, err = follower.communicate(timeout=60)
    finally:
        server.start()
    assert follower.returncode != 0
    assert "can't be reached" in err.decode()


def test_b17_the_page_sends_what_follows_a_byte(server: RestartedUp, clone: Path) -> None:
    started = fyre(clone, "run", "--yes", "--detach", "--", "printf 0123456789")
    sha = started.communicate()[0]
    while not (runs := server.runs()) or runs[0]["ended_at"] is None:
        time.sleep(0.05)
    assert runs[0]["sha"] == sha.decode().strip()
    url = runs[0]["log_url"] + "/log"
    for offset in ("0", "4", "10"):
        for follow in ({}, {"follow": "1"}):
            answer = requests.get(url, params={"offset": offset, **follow})
            assert answer.content == b"0123456789"[int(offset) :]
            assert answer.headers["Fyre-Log-Start"] == offset
    for wrong in ("-1", "x", "1" * 30):
        assert requests.get(url, params={"offset": wrong}).status_code == 400
    assert requests.get(url).content == b"0123456789"


def test_d40_a_server_that_is_interrupted_says_that_runs_go_on(
    server: RestartedUp, clone: Path
) -> None:
    fyre(clone, "run", "--yes", "--detach", "--", "sleep 5").communicate()
    await_start(server)
    server.stop(signal.SIGINT)
    said = server.messages.read_text()
    server.start()
    assert "fyre: 1 run not ended: what was started goes on" in said


def test_d40_a_log_without_runs_says_so(server: RestartedUp, clone: Path) -> None:
    listing = fyre(clone, "log")
    out, err = listing.communicate()
    assert (listing.returncode, out) == (0, b"")
    assert b"fyre: no runs here yet" in err


def test_d40_where_the_state_is_and_how_long_a_log_may_be_is_in_the_help(repo: Path) -> None:
    shown = b" ".join(fyre(repo, "up", "--help").communicate()[0].split())
    assert b".local/state/fyre" in shown
    assert b"64 MiB" in shown
