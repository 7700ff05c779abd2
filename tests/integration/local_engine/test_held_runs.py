"""Held runs of the local engine over restarts, crashes between any two steps, and a rollback."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.engines.local import LocalEngine
from fyre.engines.local.run_dir import RunDirectory
from fyre.errors import TransientError
from fyre.runs import run as runs
from fyre.runs.run import Run
from fyre.runs.state import RunState
from tests.contract.engine import FEW, await_end, await_state, make_run
from tests.integration.local_engine.test_engine import Make, engine, make
from tests.integration.local_engine.test_faults import limited
from tests.support.old_version import old_version

__all__ = ["engine", "make", "old_version"]  # fixtures


def counting(sha: str, tmp_path: Path) -> Run:
    """A run that leaves a line in ``starts`` each time that it starts."""
    return make_run(sha, f"echo on >> {tmp_path}/starts")


def starts(tmp_path: Path) -> int:
    file = tmp_path / "starts"
    return len(file.read_text().splitlines()) if file.exists() else 0


def state_of(engine: LocalEngine, key: str) -> tuple[RunState, str] | None:
    record = engine.get_record(key)
    return None if record is None else (record.state, record.reason)


def hold(engine: LocalEngine, run: Run) -> None:
    assert engine.launch(run, hold=True, reason="needs prep")


def release_and_end(engine: LocalEngine, run: Run, tmp_path: Path) -> None:
    """Release a run that was not started before, and wait for its end."""
    assert starts(tmp_path) == 0
    assert engine.release(run.key)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert starts(tmp_path) == 1


def test_a_restart_finds_it_held(make: Make, sha: str, tmp_path: Path) -> None:
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    engine.annotate(run.key, reported="r")
    for _ in range(2):
        engine = make()
        assert state_of(engine, run.key) == (RunState.WAITING, "needs prep")
    record = engine.get_record(run.key)
    assert record is not None
    assert record.reported == "r"
    assert not engine.launch(run)
    release_and_end(engine, run, tmp_path)
    assert not make().release(run.key)


def test_held_runs_take_no_slot_and_no_place_in_the_queue(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    held = [make_run(sha, "true") for _ in range(3)]
    for run in held:
        hold(engine, run)
    running, queued = make_run(sha, "sleep 100"), make_run(sha, "true")
    engine.launch(running)
    await_state(engine, running.key, RunState.RUNNING)
    engine.launch(queued)
    assert state_of(engine, queued.key) == (RunState.QUEUED, "waiting for a free slot, next")
    assert engine.release(held[0].key)
    assert state_of(engine, held[0].key) == (RunState.QUEUED, "waiting for a free slot, 1 ahead")
    engine.cancel(running.key, "bob")
    for run in (queued, held[0]):
        assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert state_of(engine, held[1].key) == (RunState.WAITING, "needs prep")


def test_a_released_run_waits_in_the_queue_over_a_restart(
    make: Make, sha: str, tmp_path: Path
) -> None:
    run, first, engine = counting(sha, tmp_path), make_run(sha, "sleep 100"), make(jobs=1)
    engine.launch(first)
    await_state(engine, first.key, RunState.RUNNING)
    hold(engine, run)
    assert engine.release(run.key)
    engine = make(jobs=1)
    assert state_of(engine, run.key) == (RunState.QUEUED, "waiting for a free slot, next")
    assert not engine.release(run.key)
    engine.cancel(first.key, "bob")
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert starts(tmp_path) == 1


def test_notes_are_kept_while_a_released_run_is_queued(make: Make, sha: str) -> None:
    run, engine = make_run(sha, "true", resources=FEW), make(jobs=0)  # it stays in the queue
    hold(engine, run)
    engine.annotate(run.key, reported="r", carried=("a" * 40, "b" * 40))
    held = engine.get_record(run.key)
    assert engine.release(run.key)
    queued = engine.get_record(run.key)
    assert held is not None
    assert queued is not None
    assert (queued.state, queued.reported, queued.carried) == (
        RunState.QUEUED,
        "r",
        ("a" * 40, "b" * 40),
    )
    assert queued.unsupported == held.unsupported != ()
    engine.annotate(run.key, reported=queued.reported + "s", carried=(*queued.carried, "c" * 40))
    stored = make(jobs=0).get_record(run.key)
    assert stored is not None
    assert (stored.reported, stored.carried) == ("rs", ("a" * 40, "b" * 40, "c" * 40))


def test_a_release_whose_record_can_not_be_read_leaves_it_held(
    make: Make, sha: str, tmp_path: Path
) -> None:
    """What the disk refuses now it may give later; the run is neither lost nor started twice."""
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    with limited(0, resource.RLIMIT_NOFILE, 3), pytest.raises(TransientError):
        engine.release(run.key)
    assert state_of(engine, run.key) == (RunState.WAITING, "needs prep")
    release_and_end(engine, run, tmp_path)


def cancelled(directory: RunDirectory) -> None:
    directory.request_cancel("bob")


def ended(directory: RunDirectory) -> None:
    directory.request_cancel("bob")
    directory.write_outcome(directory.read_run().created_at, RunState.CANCELLED)


@pytest.mark.parametrize("crash", [cancelled, ended])
def test_a_cancel_that_a_crash_cut_short_is_carried_out(
    make: Make, sha: str, tmp_path: Path, crash: Callable[[RunDirectory], None]
) -> None:
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    engine.close()
    crash(RunDirectory(tmp_path / "state" / "held" / run.key))
    engine = make()
    record = engine.get_record(run.key)
    assert record is not None
    assert (record.state, record.cancelled_by, record.reason) == (RunState.CANCELLED, "bob", "")
    assert not engine.release(run.key)
    assert (tmp_path / "state" / "runs" / run.key / "outcome.json").exists()
    assert starts(tmp_path) == 0


@pytest.mark.parametrize("crash", [cancelled, ended])
def test_what_was_cancelled_and_could_not_be_moved_never_starts(
    engine: LocalEngine, sha: str, tmp_path: Path, crash: Callable[[RunDirectory], None]
) -> None:
    run = counting(sha, tmp_path)
    hold(engine, run)
    crash(RunDirectory(tmp_path / "state" / "held" / run.key))
    assert not engine.release(run.key)
    assert await_end(engine, run.key).state is RunState.CANCELLED
    assert starts(tmp_path) == 0


def test_a_release_that_the_disk_refuses_leaves_it_held(
    make: Make, sha: str, tmp_path: Path
) -> None:
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    runs_dir = tmp_path / "state" / "runs"
    blocked = runs_dir / run.key
    blocked.mkdir()
    (blocked / "file").touch()
    with pytest.raises(TransientError):
        engine.release(run.key)
    assert state_of(engine, run.key) == (RunState.WAITING, "needs prep")
    (blocked / "file").unlink()
    release_and_end(engine, run, tmp_path)


def test_what_a_crash_left_half_written_is_forgotten(make: Make, sha: str, tmp_path: Path) -> None:
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    engine.close()
    held = tmp_path / "state" / "held"
    (held / run.key / "run.json").write_text("")  # as after a power loss
    (held / f".new-{'0' * 26}-7").mkdir()
    engine = make()
    assert list(held.iterdir()) == []
    hold(engine, run)
    release_and_end(engine, run, tmp_path)


def test_a_held_run_of_a_later_version_is_left_alone(
    make: Make, sha: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    engine.close()
    file = tmp_path / "state" / "held" / run.key / "run.json"
    written = file.read_text()
    file.write_text(json.dumps(json.loads(written) | {"version": 2}))
    with caplog.at_level(logging.WARNING):
        engine = make()
    assert f"{file.parent} can't be read" in caplog.text
    assert state_of(engine, run.key) is None
    assert not engine.launch(run)
    assert not engine.launch(run, hold=True)
    assert not engine.release(run.key)
    engine.close()
    file.write_text(written)
    release_and_end(make(), run, tmp_path)


def test_a_reason_that_can_not_be_read_is_none(make: Make, sha: str, tmp_path: Path) -> None:
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    engine.close()
    (tmp_path / "state" / "held" / run.key / "hold.json").write_text('{"reason": 7}')
    engine = make()
    assert state_of(engine, run.key) == (RunState.WAITING, "")
    release_and_end(engine, run, tmp_path)


OLD_ENGINE = """
import json, sys, time
from pathlib import Path
from fyre.engines.local import LocalEngine
from fyre import run as runs
state, git_dir, launched = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
engine = LocalEngine(state, git_dir=lambda _: git_dir, jobs=4)
known = [record.run.key for record in engine.records()]
for text in launched:
    assert engine.launch(runs.from_json(json.loads(text)))
deadline = time.monotonic() + 60
while not all(record.state.final for record in engine.records()):
    assert time.monotonic() < deadline, engine.records()
    time.sleep(0.05)
engine.close()
print(json.dumps(known))
"""


def serve_old(old_version: Path, tmp_path: Path, repo: Path, *launched: Run) -> list[str]:
    """Have 0.1's engine launch these runs and end all that it knows; what it knew at its start."""
    texts = [json.dumps(runs.to_json(run)) for run in launched]
    words = [sys.executable, "-c", OLD_ENGINE, str(tmp_path / "state"), str(repo / ".git"), *texts]
    done = subprocess.run(
        words, env={"PYTHONPATH": str(old_version)}, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    known: list[str] = json.loads(done.stdout)
    return known


def test_version_0_1_never_starts_what_is_held(
    make: Make, sha: str, old_version: Path, tmp_path: Path, repo: Path
) -> None:
    run, engine = counting(sha, tmp_path), make()
    gone = make_run(sha, "true")
    hold(engine, run)
    hold(engine, gone)
    engine.cancel(gone.key, "bob")
    engine.close()
    other = make_run(sha, f"echo other >> {tmp_path}/other")
    assert serve_old(old_version, tmp_path, repo, other) == [gone.key]
    assert (tmp_path / "other").read_text() == "other\n"
    engine = make()
    assert state_of(engine, run.key) == (RunState.WAITING, "needs prep")
    assert state_of(engine, gone.key) == (RunState.CANCELLED, "")
    release_and_end(engine, run, tmp_path)


def test_version_0_1_starts_what_was_released(
    make: Make, sha: str, old_version: Path, tmp_path: Path, repo: Path
) -> None:
    run, engine = counting(sha, tmp_path), make(jobs=0)  # no room: it stays in the queue
    hold(engine, run)
    assert engine.release(run.key)
    engine.close()
    assert serve_old(old_version, tmp_path, repo) == [run.key]
    assert starts(tmp_path) == 1
    assert state_of(make(), run.key) == (RunState.SUCCEEDED, "")


def test_what_version_0_1_launched_meanwhile_is_not_held_any_more(
    make: Make, sha: str, old_version: Path, tmp_path: Path, repo: Path
) -> None:
    """0.1 does not know that the run is held: a push that comes again is a launch to it."""
    run, engine = counting(sha, tmp_path), make()
    hold(engine, run)
    engine.close()
    assert serve_old(old_version, tmp_path, repo, run) == []
    engine = make()
    assert state_of(engine, run.key) == (RunState.SUCCEEDED, "")
    assert not engine.release(run.key)
    assert not engine.launch(run, hold=True)
    assert not (tmp_path / "state" / "held" / run.key).exists()
    assert starts(tmp_path) == 1
