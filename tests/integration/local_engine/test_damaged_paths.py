"""Damaged paths in the state of the local engine: each is left alone, and all others go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fyre.engines.local import LocalEngine, checkout
from fyre.errors import UserError
from fyre.local_forge.forge import LocalForge
from fyre.runs.state import RunState
from tests.contract.engine import await_end, make_run
from tests.integration.local_engine.test_engine import Make, make
from tests.support.ci_marks import easier_cases

__all__ = ["make"]  # fixtures

UNREADABLE = {
    "directory": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path),
    "link": lambda path: path.symlink_to(path.parents[3] / "victim"),
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("kind", [*easier_cases("directory", "loop"), "link", "pipe"])
def test_9_3_a_path_that_is_no_file_stops_no_other_run_and_is_not_followed(
    tmp_path: Path, sha: str, repo: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    victim.chmod(0o644)
    state = tmp_path / "state"
    files = (
        "run.json",
        "job.json",
        "outcome.json",
        "notes.json",
        "progress.json",
        "cancel",
        "lock",
    )
    engine = LocalEngine(state, find_git_dir=lambda _: repo / ".git", jobs=1)
    runs = {name: make_run(sha, "true") for name in files}
    held = {name: make_run(sha, "true") for name in ("run.json", "hold.json")}
    for run in runs.values():
        engine.launch(run)
        await_end(engine, run.key)
    for run in held.values():
        engine.launch(run, hold=True)
    engine.close()
    for parent, damaged in (("runs", runs), ("held", held)):
        for name, run in damaged.items():
            path = state / parent / run.key / name
            path.unlink(missing_ok=True)
            UNREADABLE[kind](path)
    engine = LocalEngine(state, find_git_dir=lambda _: repo / ".git", jobs=1)
    again = make_run(sha, "true")
    engine.launch(again)
    assert await_end(engine, again.key).state == RunState.SUCCEEDED
    for run in (*runs.values(), *held.values()):
        assert not engine.launch(run)  # it is known, and not started again
    engine.close()
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("precious\n", 0o644)


def test_9_3_a_tree_that_is_a_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "work"
    victim.mkdir(mode=0o755)
    link.symlink_to(victim)
    checkout.remove_tree(str(link))
    assert (victim.stat().st_mode & 0o777, link.is_symlink()) == (0o755, False)


@pytest.mark.parametrize("kind", [*easier_cases("directory", "link"), "pipe"])
def test_9_3_a_lock_that_is_no_file_is_named(tmp_path: Path, repo: Path, kind: str) -> None:
    (tmp_path / "state").mkdir()
    victim = tmp_path / "victim"
    victim.touch()
    lock = tmp_path / "state" / "lock"
    UNREADABLE[kind](lock) if kind != "link" else lock.symlink_to(victim)
    with pytest.raises(UserError, match="can't be used as a lock"):
        LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    with pytest.raises(UserError, match="can't be used as a lock"):
        LocalForge(tmp_path / "state").start("http://127.0.0.1:1/")
    assert victim.read_text() == ""


@pytest.mark.parametrize("kind", [*easier_cases("directory"), "pipe"])
def test_9_3_the_job_of_a_run_that_waits_is_no_file(make: Make, sha: str, kind: str) -> None:
    engine, run = make(jobs=0), make_run(sha, "true")
    engine.launch(run)
    job = engine._run_directory(run.key).path / "job.json"
    job.unlink()
    UNREADABLE[kind](job)
    record = make(jobs=0).get_record(run.key)
    assert record is not None
    assert record.state is RunState.ERROR
    assert record.reason.startswith("not started, what it is to do can't be read: no file")


def test_9_3_notes_that_can_not_be_written_are_done_without_and_said_once(
    make: Make, sha: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, run = make(jobs=0), make_run(sha, "true")
    engine.launch(run)
    directory = engine._run_directory(run.key).path
    (directory / "notes.json").mkdir()
    (directory / "cancel").mkdir()
    for word in ("pending", "failed"):
        engine.annotate(run.key, reported=word)
    record = engine.get_record(run.key)
    assert record is not None
    assert record.reported == "failed"
    (line,) = [one for one in caplog.messages if "notes.json" in one]
    assert line.endswith("can't be written: Is a directory")
    assert engine.cancel(run.key, "ada")
