"""Supervisors that their own command stops, traces, cuts off or replaces by another process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fyre.engines.local import processes, supervisor, supervisor_guard
from fyre.engines.local.run_dir import RunDirectory
from fyre.runs.state import RunState
from tests.contract.engine import await_end, await_state, make_run
from tests.integration.local_engine.test_engine import Make, alive, make
from tests.support import waiting

__all__ = ["make"]  # fixtures

KEEP_PIPES = """exec python3 -c '
import os, signal, time
folder = f"/proc/{os.getppid()}/fd/"
for name in os.listdir(folder):
    if os.readlink(folder + name).startswith("pipe:"):
        os.open(folder + name, os.O_WRONLY | os.O_NONBLOCK)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(1000)
'"""


def test_9_24_a_stopped_supervisor_ends_its_run_at_its_timeout(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    run = make_run(sha, "kill -STOP $PPID; sleep 1000", timeout=1)
    engine.launch(run)
    record = await_end(engine, run.key)
    assert (record.state, record.reason) == (RunState.FAILED, "timed out after 1s")


def test_9_24_a_stopped_supervisor_tells_how_its_command_ended(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    run = make_run(sha, "kill -STOP $PPID; exit 7")
    engine.launch(run)
    assert await_end(engine, run.key).exit_code == 7


def test_9_24_a_stopped_supervisor_of_an_earlier_server_ends_its_run(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    run = make_run(sha, f"touch {tmp_path}/on; sleep 1000", timeout=2)
    engine.launch(run)
    waiting.until((tmp_path / "on").exists)
    engine.close()
    pid = RunDirectory(tmp_path / "state" / "runs" / run.key).supervisor_pid()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    assert await_end(make(), run.key).reason == "timed out after 2s"


@pytest.mark.parametrize("cancel", [False, True])
def test_9_24_a_run_whose_supervisor_can_not_go_on_is_ended(
    make: Make, sha: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancel: bool
) -> None:
    """As where it is traced, or waits for a dead disk."""
    monkeypatch.setattr(processes, "is_stopped", lambda _: False)
    monkeypatch.setattr(RunDirectory, "signal_supervisor", lambda *_: None)
    monkeypatch.setattr(supervisor_guard, "ANSWER_PATIENCE", 0.1)
    monkeypatch.setattr(supervisor, "LEFTOVER_LIMIT", 0.0)
    engine = make(jobs=1, grace=0.1)
    command = f"env -i setsid sleep 1000 & echo $! > {tmp_path}/pid; kill -STOP $PPID; sleep 1000"
    run = make_run(sha, command, timeout=None if cancel else 1)
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    pid = int(waiting.until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    if cancel:
        engine.cancel(run.key, "ada")
    record = await_end(engine, run.key)
    ending = (RunState.CANCELLED, "") if cancel else (RunState.FAILED, "timed out after 1s")
    assert (record.state, record.reason) == ending
    waiting.until(lambda: not alive(pid))
    after = make_run(sha, "true")
    engine.launch(after)
    assert await_end(engine, after.key).state is RunState.SUCCEEDED


def test_9_24_a_command_that_keeps_its_dead_supervisors_pipe_is_lost_at_once(
    make: Make, sha: str
) -> None:
    engine = make(jobs=1)
    run = make_run(sha, KEEP_PIPES)
    engine.launch(run)
    assert await_end(engine, run.key).reason == supervisor.LOST_REASON


def test_9_24_a_stopped_fork_server_starts_the_next_run(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    stopping = make_run(sha, "kill -STOP $(cut -d ' ' -f 4 /proc/$PPID/stat)")
    after = make_run(sha, "true")
    for run in (stopping, after):
        engine.launch(run)
        assert await_end(engine, run.key).state is RunState.SUCCEEDED


def test_9_24_a_fork_server_that_does_not_answer_is_replaced(
    make: Make, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "is_stopped", lambda _: False)
    monkeypatch.setattr(supervisor_guard, "ANSWER_PATIENCE", 0.5)
    engine = make(jobs=1)
    stopping = make_run(sha, "kill -STOP $(cut -d ' ' -f 4 /proc/$PPID/stat)")
    after = make_run(sha, "true")
    for run in (stopping, after):
        engine.launch(run)
        assert await_end(engine, run.key).state is RunState.SUCCEEDED


@pytest.mark.parametrize("is_replaced", [False, True])
def test_9_24_a_cancel_ends_the_supervisor_whatever_pid_its_command_wrote(
    make: Make, sha: str, tmp_path: Path, is_replaced: bool
) -> None:
    engine = make(jobs=1, grace=0.2)
    lock = '"$(dirname "$FYRE_OUTPUTS")/lock"'
    change = f"rm {lock}; echo $$ > {lock}" if is_replaced else f"echo $$ > {lock}"
    run = make_run(sha, f"{change}; touch {tmp_path}/on; trap '' TERM; sleep 1000 & wait")
    engine.launch(run)
    waiting.until((tmp_path / "on").exists)
    engine.cancel(run.key, "ada")
    assert await_end(engine, run.key).state is RunState.CANCELLED
