"""The local engine when the machine fails it: killed halfway, a full disk, no more descriptors,
a power loss.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fyre.engines.local.run_dir import RunDirectory
from fyre.errors import TransientError
from fyre.runs.run import RunRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.contract.engine import await_end, await_state, make_run
from tests.integration.local_engine.test_engine import Make, make
from tests.support.ci_marks import easier_cases

__all__ = ["make"]  # fixtures


@contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    """A process, and what it forks meanwhile, held to a limit that only the soft one is."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def folder(tmp_path: Path, key: str) -> Path:
    return tmp_path / "state" / "runs" / key


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (
        FileNotFoundError,
        ProcessLookupError,
    ):  # the latter where it is reaped between open and read
        return True


def await_true(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(make: Make, sha: str, command: str = "true") -> RunRecord:
    """A run that an engine of before ran to its end."""
    engine = make()
    run = make_run(sha, command)
    engine.launch(run)
    record = await_end(engine, run.key)
    engine.close()
    return record


@pytest.mark.parametrize(
    "survivors",
    [(), ("lock", "job.json"), *easier_cases(("log.0",), ("outcome.json",), ("started", "log.0"))],
)
def test_a_server_killed_while_it_forgets_a_run_starts_again(
    make: Make, sha: str, tmp_path: Path, survivors: tuple[str, ...]
) -> None:
    old, kept = ended(make, sha).run.key, ended(make, sha).run.key
    for file in folder(tmp_path, old).iterdir():
        if file.name not in survivors:
            file.unlink()
    records = make().query_runs(ALL_RUNS)
    assert kept in {record.run.key for record in records}


@pytest.mark.parametrize(
    "torn", ["run.json", "progress.json", *easier_cases("job.json", "notes.json", "cancel")]
)
def test_a_file_that_a_power_loss_left_empty_stops_nobody(
    make: Make, sha: str, tmp_path: Path, torn: str
) -> None:
    key = ended(make, sha).run.key
    (folder(tmp_path, key) / torn).write_text("")
    engine = make()
    other = make_run(sha, "true")
    engine.launch(other)
    assert await_end(engine, other.key).state is RunState.SUCCEEDED


@pytest.mark.parametrize("content", [b"", b'{"key": "', b"\0" * 500])
@pytest.mark.parametrize(
    ("torn", "hold"), [("run.json", False), ("job.json", False), ("run.json", True)]
)
def test_9_24_a_run_cut_short_before_it_started_can_be_launched_again(
    make: Make, sha: str, tmp_path: Path, torn: str, *, content: bytes, hold: bool
) -> None:
    run = make_run(sha, "echo once")
    engine = make(jobs=0)  # nothing starts
    engine.launch(run, hold=hold)
    engine.close()
    parent = folder(tmp_path, run.key) if not hold else tmp_path / "state" / "held" / run.key
    (parent / torn).write_bytes(content)
    make().close()
    engine = make()  # it is remembered over restarts
    assert engine.cut_short_keys() == {run.key}
    engine.launch(run)
    assert engine.cut_short_keys() == frozenset()
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert b"".join(engine.read_log(run.key)) == b"once\n"


@pytest.mark.parametrize("mark", ["started", "cancel"])
def test_9_24_a_torn_run_that_may_have_run_or_was_cancelled_is_not_launched_again(
    make: Make, sha: str, tmp_path: Path, mark: str
) -> None:
    run = make_run(sha, "true")
    engine = make(jobs=0)
    engine.launch(run)
    engine.close()
    (folder(tmp_path, run.key) / "run.json").write_text("")
    (folder(tmp_path, run.key) / mark).touch()
    assert make().cut_short_keys() == frozenset()


def test_with_a_full_disk_a_run_waits_and_starts_when_there_is_room(
    make: Make, sha: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    run = make_run(sha, "echo ran")
    fork_server = engine._fork_client.start()
    engine.launch(make_run(sha, "true"))
    with limited(fork_server.pid, resource.RLIMIT_FSIZE, 0):
        engine.launch(run)
        with limited(0, resource.RLIMIT_FSIZE, 0):
            time.sleep(
                1.5
            )  # longer than the pauses after which a supervisor that keeps dying is given up
        record = engine.get_record(run.key)
        assert record is not None
        assert record.state in (RunState.QUEUED, RunState.STARTING)
        assert len(caplog.records) < 10, "it waits busily"
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert b"".join(engine.read_log(run.key)) == b"ran\n"


def test_a_log_that_the_disk_refuses_changes_no_verdict(make: Make, sha: str) -> None:
    engine = make(log_max_bytes=1 << 20)
    run = make_run(sha, "head -c 100000 /dev/zero; exit 3")
    with limited(engine._fork_client.start().pid, resource.RLIMIT_FSIZE, 8192):
        engine.launch(run)
        record = await_end(engine, run.key, 20)
    assert (record.state, record.exit_code) == (RunState.FAILED, 3)
    assert "disk is full" in record.reason
    assert len(b"".join(engine.read_log(run.key))) == 8192


def test_a_lost_run_that_can_not_be_written_down_is_when_there_is_room(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make()
    run = make_run(sha, "sleep 100")
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    with limited(0, resource.RLIMIT_FSIZE, 0):
        pid = int((folder(tmp_path, run.key) / "lock").read_text())
        os.kill(pid, signal.SIGKILL)
        await_true(lambda: gone(pid))
        time.sleep(0.3)
    assert await_end(engine, run.key, 20).reason.startswith("lost:")
    other = make_run(sha, "true")
    engine.launch(other)
    assert await_end(engine, other.key, 20).state is RunState.SUCCEEDED


def test_a_launch_on_a_full_disk_is_for_later(make: Make, sha: str) -> None:
    engine = make()
    run = make_run(sha, "true")
    with limited(0, resource.RLIMIT_FSIZE, 0), pytest.raises(TransientError):
        engine.launch(run)
    assert engine.get_record(run.key) is None
    assert engine.launch(run)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED


def test_a_cancel_on_a_full_disk_is_for_later(make: Make, sha: str) -> None:
    engine = make()
    run = make_run(sha, "sleep 100")
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    with limited(0, resource.RLIMIT_FSIZE, 0), pytest.raises(TransientError):
        engine.cancel(run.key, "bob")
    assert engine.cancel(run.key, "bob")
    assert await_end(engine, run.key).state is RunState.CANCELLED


def test_without_descriptors_for_a_new_spawner_the_runs_wait(make: Make, sha: str) -> None:
    engine = make(jobs=1)
    first, second = make_run(sha, "sleep 0.3"), make_run(sha, "true")
    engine.launch(first)
    engine.launch(second)
    await_state(engine, first.key, RunState.RUNNING)
    engine._fork_client.start().kill()
    engine._fork_client.start().wait()
    with limited(0, resource.RLIMIT_NOFILE, 3):
        time.sleep(0.6)
    for run in (first, second):
        assert await_end(engine, run.key).state is RunState.SUCCEEDED


def test_the_pid_of_a_dead_supervisor_is_never_signalled(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    first, second = make_run(sha, "sleep 100"), make_run(sha, "true")
    engine.launch(first)
    await_state(engine, first.key, RunState.RUNNING)
    engine.launch(second)
    (folder(tmp_path, second.key) / "lock").write_text(
        str(os.getpid())
    )  # that pid is somebody else's by now
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    try:
        assert engine.cancel(second.key, "bob")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == []
    engine.cancel(first.key, "bob")
    await_end(engine, first.key)


def test_adopted_runs_hold_their_slots_and_the_queue_keeps_its_order(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    runs = [
        make_run(sha, f"echo {n} >> {tmp_path}/order; sleep 0.4; echo -{n} >> {tmp_path}/order")
        for n in range(3)
    ]
    for run in runs:
        engine.launch(run)
    await_state(engine, runs[0].key, RunState.RUNNING)
    engine = make(jobs=1)
    for run in runs:
        assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert (tmp_path / "order").read_text().split() == ["0", "-0", "1", "-1", "2", "-2"]


def test_a_supervisor_that_a_dead_server_left_is_cancelled(make: Make, sha: str) -> None:
    engine = make()
    run = make_run(sha, "sleep 100")
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    engine = make()
    assert engine.cancel(run.key, "bob")
    record = await_end(engine, run.key)
    assert (record.state, record.cancelled_by) == (RunState.CANCELLED, "bob")


def test_a_repository_that_is_gone_is_an_error(make: Make, sha: str, repo: Path) -> None:
    engine = make()
    shutil.rmtree(repo / ".git" / "objects")
    run = make_run(sha, "echo ran")
    engine.launch(run)
    record = await_end(engine, run.key)
    assert (record.state, sha[:12] in record.reason) == (RunState.ERROR, True)


def test_a_log_that_is_followed_ends_when_its_run_is_forgotten(make: Make, sha: str) -> None:
    engine = make(jobs=0)
    run = make_run(sha, "true")
    engine.launch(run)
    following = engine.read_log(run.key, follow=True)
    engine.cancel(run.key, "bob")
    engine._history = -1.0
    engine._prune_history()
    assert b"".join(following) == b""


def test_a_run_that_ends_while_the_server_starts_is_seen_to_end(
    make: Make, sha: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    run = make_run(sha, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    engine.launch(run)
    await_state(engine, run.key, RunState.RUNNING)
    engine.close()
    refresh = RunDirectory.updated_record

    def and_then_it_ends(folder: RunDirectory, record: RunRecord) -> RunRecord:
        fresh = refresh(folder, record)
        (tmp_path / "go").touch()
        await_true(folder.has_outcome)
        return fresh

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "updated_record", and_then_it_ends)
        engine = make()
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
