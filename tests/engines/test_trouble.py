"""The local engine when what it stands on fails: its disk, its subscribers, its supervisors, its own earlier self."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from fyre.engines.local import LocalEngine, capped, checkout
from fyre.run import Run
from fyre.state import State
from tests.engines.contract import await_end, await_state, make_run
from tests.engines.test_local import Make, engine, make, sha

__all__ = ["engine", "make", "sha"]  # fixtures


def waiting_behind_another(engine: LocalEngine, sha: str, command: str = "echo ran") -> tuple[Run, Run]:
    """A run that holds the only slot, and one that waits."""
    first, second = make_run(sha, "sleep 100"), make_run(sha, command)
    engine.launch(first)
    engine.launch(second)
    await_state(engine, first.key, State.RUNNING)
    return first, second


def test_a_subscriber_that_raises_stops_nothing(engine: LocalEngine, sha: str) -> None:
    told: list[str] = []
    engine.subscribe(lambda key: {}[key])
    engine.subscribe(told.append)
    for _ in range(2):
        run = make_run(sha, "true")
        engine.launch(run)
        assert await_end(engine, run.key).state is State.SUCCEEDED
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


def test_a_supervisor_that_can_not_begin_is_tried_a_few_times(make: Make, sha: str, tmp_path: Path) -> None:
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha)
    (tmp_path / "state" / "runs" / second.key / "job.json").write_text("")
    engine.cancel(first.key, "bob")
    record = await_end(engine, second.key)
    assert (record.state, record.tries) == (State.ERROR, 0)
    assert record.reason == "its supervisor died 5 times before it could start the command"
    third = make_run(sha, "true")
    engine.launch(third)
    assert await_end(engine, third.key).state is State.SUCCEEDED


def test_a_cancel_waits_for_a_supervisor_that_came_first(make: Make, sha: str, tmp_path: Path) -> None:
    engine = make(jobs=1)
    first, second = waiting_behind_another(engine, sha)
    with (tmp_path / "state" / "runs" / second.key / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert engine.cancel(second.key, "bob")
        record = engine.record(second.key)
        assert record is not None
        assert not record.state.final
    record = await_end(engine, second.key)
    assert (record.state, record.cancelled_by, record.tries) == (State.CANCELLED, "bob", 0)
    engine.cancel(first.key, "bob")
    await_end(engine, first.key)


def test_a_record_torn_before_its_start_can_be_launched_again(make: Make, sha: str, tmp_path: Path) -> None:
    run = make_run(sha, f"echo ran >> {tmp_path}/out")
    folder = tmp_path / "state" / "runs" / run.key
    folder.mkdir(parents=True)
    (folder / "run.json").touch()  # what a power loss leaves of a file that was not on the disk yet
    engine = make()
    assert engine.record(run.key) is None
    assert engine.launch(run)
    await_end(engine, run.key)
    assert (tmp_path / "out").read_text() == "ran\n"


def test_a_record_torn_after_its_start_is_never_started_again(make: Make, sha: str, tmp_path: Path) -> None:
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


def test_what_a_crash_left_half_written_or_half_removed_is_swept(make: Make, sha: str, tmp_path: Path) -> None:
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
    assert list(make().records()) == []
    assert list(runs.iterdir()) == []


def test_a_setup_that_takes_too_long_is_an_error(engine: LocalEngine, sha: str) -> None:
    run = make_run(sha, "echo ran", setup=("sleep 100",), timeout=1, retries=2)
    engine.launch(run)
    record = await_end(engine, run.key)
    assert (record.state, record.tries) == (State.ERROR, 1)
    assert record.reason == "setup failed: `sleep 100` timed out after 1s"
    assert b"".join(engine.log(run.key)) == b""


def test_a_tree_that_nobody_may_read_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").touch()
    (top / "link").symlink_to(tmp_path)
    for folder in (top / "a" / "b", top / "a", top):
        folder.chmod(0)
    if os.geteuid():
        checkout.remove(str(top))
    else:
        as_nobody(top)
    assert not top.exists()
    assert tmp_path.exists()


def as_nobody(top: Path) -> None:
    """Root may do anything, so that it proves nothing: remove the tree as somebody who owns it and is not root."""
    for path in (top.parent, top, top / "a", top / "a" / "b", top / "a" / "b" / "file"):
        os.chown(path, 65534, 65534)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top.parent)  # the folders above are root's alone
        os.seteuid(65534)
        try:
            checkout.remove(top.name)
        finally:
            os.seteuid(0)


def test_a_segment_dropped_while_it_is_opened_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "log")
    writer = capped.Writer(path, 40)
    writer.write(b"".join(b"%010d" % n for n in range(8)))
    find = capped._after

    def find_then_drop(path: str, number: int) -> int | None:
        found = find(path, number)
        if found == 6:  # the writer has gone on to the segment after the last, and drops this one
            Path(capped.segment(path, 6)).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(capped, "_after", find_then_drop)
    log = b"".join(capped.read(path))
    writer.close()
    assert log == b"%010d%010d\n[fyre: 50 bytes are left out here]\n%010d" % (0, 1, 7)


def test_a_disk_without_room_for_a_segment_costs_bytes_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = capped.Writer(str(folder / "log"), 40)
    folder.rename(tmp_path / "away")
    writer.write(b"a" * 10 + b"b" * 5)
    assert writer.lost == 5
    (tmp_path / "away").rename(folder)
    writer.write(b"c")
    writer.close()
    assert b"".join(capped.read(str(folder / "log"))) == b"a" * 10 + b"c"
