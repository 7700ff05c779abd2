"""The local engine when what it stands on fails: its disk, its subscribers, its supervisors, its
own earlier self.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fyre.engines.local import LocalEngine, checkout, run_dir
from fyre.runs.run import Run
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.contract.engine import await_end, await_state, make_run
from tests.integration.local_engine.test_engine import Make, alive, engine, make
from tests.support.ci_marks import long_case

__all__ = ["engine", "make"]  # fixtures


def waiting_behind_another(
    engine: LocalEngine, sha: str, command: str = "echo ran"
) -> tuple[Run, Run]:
    """A run that holds the only slot, and one that waits."""
    first, second = make_run(sha, "sleep 100"), make_run(sha, command)
    engine.launch(first)
    engine.launch(second)
    await_state(engine, first.key, RunState.RUNNING)
    return first, second


def test_a_subscriber_that_raises_stops_nothing(engine: LocalEngine, sha: str) -> None:
    told: list[str] = []
    engine.subscribe(lambda key: {}[key])
    engine.subscribe(told.append)
    for _ in range(2):
        run = make_run(sha, "true")
        engine.launch(run)
        assert await_end(engine, run.key).state is RunState.SUCCEEDED
        assert run.key in told


def test_a_cancel_is_told_from_a_thread_of_the_engine(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha)
    told, threads = threading.Event(), set()

    def changed(key: str) -> None:
        threads.add(threading.current_thread())
        if key == second.key:
            told.set()

    engine.subscribe(changed)
    engine.cancel(second.key, "bob")
    assert told.wait(30)
    engine.cancel(first.key, "bob")
    await_end(engine, first.key)
    assert threading.current_thread() not in threads


@long_case
def test_a_supervisor_that_can_not_begin_is_tried_a_few_times(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha)
    log = tmp_path / "state" / "runs" / second.key / "log.0"
    log.mkdir()
    (log.with_name("log.0.moved-away") / "full").mkdir(parents=True)  # so that it can't be moved
    engine.cancel(first.key, "bob")
    record = await_end(engine, second.key)
    assert (record.state, record.tries) == (RunState.ERROR, 0)
    assert record.reason == "its supervisor died 5 times before it could start the command"
    third = make_run(sha, "true")
    engine.launch(third)
    assert await_end(engine, third.key).state is RunState.SUCCEEDED


def test_a_run_whose_job_can_not_be_read_is_an_error_at_once(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha)
    (tmp_path / "state" / "runs" / second.key / "job.json").write_text("")
    engine.cancel(first.key, "bob")
    record = await_end(engine, second.key)
    assert (record.state, record.tries) == (RunState.ERROR, 0)
    assert record.reason == "not started, what it is to do can't be read: no JSON (JSONDecodeError)"


def test_the_problem_of_a_run_is_forgotten_with_the_run(make: Make, sha: str) -> None:
    engine, run = make(jobs=0), make_run(sha, "true")
    engine.launch(run, hold=True)
    job = engine._run_directory(run.key).path / "job.json"
    job.write_text(json.dumps(json.loads(job.read_bytes()) | {"version": 2}))
    assert engine.release(run.key)
    record = engine.get_record(run.key)
    assert record is not None
    assert (record.state, len(engine._job_problems)) == (RunState.ERROR, 1)
    engine._records[run.key] = replace(record, ended_at=1.0)  # so long ago that it is forgotten
    engine._prune_history()
    assert (engine.get_record(run.key), len(engine._job_problems)) == (None, 0)


def test_a_run_whose_job_is_of_another_version_is_left_for_that_version(
    make: Make, sha: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error as long as this version serves, found in the queue and at a start; the version that
    queued it starts it.
    """
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha, f"echo ran >> {tmp_path}/out")
    folder = tmp_path / "state" / "runs" / second.key
    job = json.loads((folder / "job.json").read_bytes()) | {"version": 2}
    (folder / "job.json").write_text(json.dumps(job | {"env": None}))  # no supervisor takes it
    engine.cancel(first.key, "bob")
    queued = await_end(engine, second.key)
    (folder / "job.json").write_text(json.dumps(job))
    before = files_of(folder)
    engine = make(history=0.0)
    found = engine.get_record(second.key)
    assert found is not None
    for record in (queued, found):
        assert (record.state, record.tries) == (RunState.ERROR, 0)
        assert record.reason.startswith("not started, what it is to do can't be read: job.json has")
    assert not engine.cancel(second.key, "bob")
    assert engine.launch(second) is False
    engine.close()
    assert files_of(folder) == before
    assert not (folder / "outcome.json").exists()
    monkeypatch.setattr(run_dir, "JOB_FORM", replace(run_dir.JOB_FORM, version=2))
    record = await_end(make(), second.key)
    assert (record.state, record.tries) == (RunState.SUCCEEDED, 1)
    assert (tmp_path / "out").read_text() == "ran\n"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_cancel_waits_for_a_supervisor_that_came_first(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha)
    with (tmp_path / "state" / "runs" / second.key / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert engine.cancel(second.key, "bob")
        record = engine.get_record(second.key)
        assert record is not None
        assert not record.state.is_final
    record = await_end(engine, second.key)
    assert (record.state, record.cancelled_by, record.tries) == (RunState.CANCELLED, "bob", 0)
    engine.cancel(first.key, "bob")
    await_end(engine, first.key)


def test_a_record_torn_before_its_start_can_be_launched_again(
    make: Make, sha: str, tmp_path: Path
) -> None:
    run = make_run(sha, f"echo ran >> {tmp_path}/out")
    folder = tmp_path / "state" / "runs" / run.key
    folder.mkdir(parents=True)
    (folder / "run.json").touch()  # what a power loss leaves of a file that was not on the disk yet
    engine = make()
    assert engine.get_record(run.key) is None
    assert engine.launch(run)
    await_end(engine, run.key)
    assert (tmp_path / "out").read_text() == "ran\n"


def test_a_record_torn_after_its_start_is_never_started_again(
    make: Make, sha: str, tmp_path: Path
) -> None:
    run, other = make_run(sha, f"echo ran >> {tmp_path}/out"), make_run(sha, "true")
    folder = tmp_path / "state" / "runs" / run.key
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    (folder / "started").touch()
    engine = make()
    assert not engine.launch(run)
    engine.launch(other)
    await_end(engine, other.key)
    assert not (tmp_path / "out").exists()


def test_what_a_crash_left_half_written_or_half_removed_is_swept(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    run = make_run(sha, "true")
    engine.launch(run)
    await_end(engine, run.key)
    engine.close()
    runs = tmp_path / "state" / "runs"
    (runs / run.key / "outcome.json").unlink()
    (runs / run.key / "started").unlink()
    (runs / run.key).rename(runs / f".gone-{run.key}")
    (runs / ".new-0-1").mkdir()
    assert list(make().query_runs(ALL_RUNS)) == []
    assert list(runs.iterdir()) == []


def test_a_setup_that_takes_too_long_is_an_error(engine: LocalEngine, sha: str) -> None:
    run = make_run(sha, "echo ran", setup=("sleep 100",), timeout=1, retries=2)
    engine.launch(run)
    record = await_end(engine, run.key)
    assert (record.state, record.tries) == (RunState.ERROR, 1)
    assert record.reason == "setup failed: `sleep 100` timed out after 1s"
    assert b"".join(engine.read_log(run.key)) == b""


def test_a_tree_that_nobody_may_read_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").touch()
    (top / "link").symlink_to(tmp_path)
    for folder in (top / "a" / "b", top / "a", top):
        folder.chmod(0)
    if os.geteuid():
        checkout.remove_tree(str(top))
    else:
        as_nobody(top)
    assert not top.exists()
    assert tmp_path.exists()


def as_nobody(top: Path) -> None:
    """Root may do anything, so that it proves nothing: remove the tree as somebody who owns it
    and is not root.
    """
    for path in (top.parent, top, top / "a", top / "a" / "b", top / "a" / "b" / "file"):
        os.chown(path, 65534, 65534)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top.parent)  # the folders above are root's alone
        os.seteuid(65534)
        try:
            checkout.remove_tree(top.name)
        finally:
            os.seteuid(0)


SLOW_GIT = """#!/bin/sh
[ -e {once} ] && exec {git} "$@"
echo $$ > {once}.new && mv {once}.new {once}
exec sleep 100
"""


@pytest.fixture
def hanging(
    make: Make, sha: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LocalEngine, Run]]:
    """A run whose first checkout hangs, as on a disk that does not answer; once it has ended,
    nothing is left of it.
    """
    git, once = shutil.which("git"), tmp_path / "once"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(SLOW_GIT.format(once=once, git=git))
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    engine, run = make(), make_run(sha, f"echo ran >> {tmp_path}/out")
    engine.launch(run)
    deadline = time.monotonic() + 30
    while not once.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield engine, run
    while alive(int(once.read_text())):
        assert time.monotonic() < deadline, "git was left behind"
        time.sleep(0.01)


def test_a_checkout_that_hangs_can_be_cancelled(
    hanging: tuple[LocalEngine, Run], tmp_path: Path
) -> None:
    engine, run = hanging
    assert engine.cancel(run.key, "bob")
    record = await_end(engine, run.key)
    assert (record.state, record.cancelled_by) == (RunState.CANCELLED, "bob")
    assert not (tmp_path / "out").exists()


def test_a_supervisor_killed_before_the_command_starts_is_followed_by_another(
    hanging: tuple[LocalEngine, Run], tmp_path: Path
) -> None:
    engine, run = hanging
    os.kill(int((tmp_path / "state" / "runs" / run.key / "lock").read_text()), signal.SIGKILL)
    record = await_end(engine, run.key)
    assert (record.state, record.tries) == (RunState.SUCCEEDED, 1)
    assert (tmp_path / "out").read_text() == "ran\n"


def test_a_run_found_before_its_start_is_queued_again(
    hanging: tuple[LocalEngine, Run], make: Make, tmp_path: Path
) -> None:
    engine, run = hanging
    engine.close()
    supervisor = int((tmp_path / "state" / "runs" / run.key / "lock").read_text())
    os.kill(supervisor, signal.SIGKILL)
    while alive(supervisor):
        time.sleep(0.01)
    engine = make(jobs=0)
    record = engine.get_record(run.key)
    assert record is not None
    assert (record.state, record.reason) == (RunState.QUEUED, "waiting for a free slot, next")
    engine.cancel(run.key, "bob")
    assert await_end(engine, run.key).state is RunState.CANCELLED


def test_of_two_supervisors_the_lock_lets_one_work(
    engine: LocalEngine, sha: str, tmp_path: Path
) -> None:
    run = make_run(
        sha, f"echo ran >> {tmp_path}/out; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    )
    folder = tmp_path / "state" / "runs" / run.key
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    assert until_gone(engine, folder) == b""
    (tmp_path / "go").touch()
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    outcome = (folder / "outcome.json").read_text()
    assert until_gone(engine, folder) == b""
    assert (folder / "outcome.json").read_text() == outcome
    assert (tmp_path / "out").read_text() == "ran\n"


def until_gone(engine: LocalEngine, folder: Path) -> bytes:
    """What another supervisor of the same run says before it is gone, but for its pid."""
    pipe = engine._fork_client.fork_supervisor(folder)
    os.set_blocking(pipe, True)
    with os.fdopen(pipe, "rb") as told:
        return re.sub(rb"\d+\n", b"", told.read())


def test_a_command_inherits_no_descriptor(engine: LocalEngine, sha: str) -> None:
    run = make_run(sha, "ls /proc/$$/fd")
    engine.launch(run)
    await_end(engine, run.key)
    assert b"".join(engine.read_log(run.key)).split() == [b"0", b"1", b"2"]
