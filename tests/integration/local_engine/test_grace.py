"""C21: the grace is the command's, whatever form it has: one TERM, its whole grace, then KILL."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from fyre.runs.state import RunState
from tests.contract.engine import await_end, make_run
from tests.integration.local_engine.test_engine import Make, make
from tests.support.checkpoint import COMMANDS, Checkpoint
from tests.support.ci_marks import LONG_CASE
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

__all__ = ["make"]  # fixtures


def test_c21_a_cancelled_command_saves_its_checkpoint_whatever_its_form(
    make: Make, sha: str, tmp_path: Path
) -> None:
    """All forms at once: each takes longer than leftovers of an end may take."""
    engine, runs = make(grace=30.0, jobs=len(COMMANDS)), {}
    for number, form in enumerate(COMMANDS):
        (tmp_path / f"form-{number}").mkdir()
        checkpoint = Checkpoint(tmp_path / f"form-{number}")
        runs[form] = make_run(sha, checkpoint.command(form, seconds=2.5)), checkpoint
        engine.launch(runs[form][0])
    for run, checkpoint in runs.values():
        until(partial(getattr, checkpoint, "is_ready"))
        engine.cancel(run.key, "bob")
    states = {form: await_end(engine, run.key).state for form, (run, _) in runs.items()}
    assert states == dict.fromkeys(COMMANDS, RunState.CANCELLED)
    ends = {form: (one.is_saved, one.times_told) for form, (_, one) in runs.items()}
    assert ends == dict.fromkeys(COMMANDS, (True, 1))


def test_c21_a_command_out_of_time_saves_its_checkpoint_within_the_grace(
    make: Make, sha: str, tmp_path: Path
) -> None:
    checkpoint, engine = Checkpoint(tmp_path), make(grace=30.0)
    run = make_run(sha, checkpoint.command("{save} | cat", seconds=2.5), timeout=4)
    engine.launch(run)
    record = await_end(engine, run.key)
    if not checkpoint.is_ready:
        pytest.skip("this machine is too busy to start it in time")
    assert (checkpoint.is_saved, checkpoint.times_told) == (True, 1)
    assert record.state is RunState.FAILED
    assert record.reason.startswith("timed out after ")


def test_c21_what_does_not_end_in_its_grace_is_killed(make: Make, sha: str, tmp_path: Path) -> None:
    checkpoint, engine = Checkpoint(tmp_path), make(grace=0.5)
    run = make_run(sha, checkpoint.command("{save}; echo done", seconds=600.0))
    engine.launch(run)
    until(lambda: checkpoint.is_ready)
    engine.cancel(run.key, "bob")
    assert await_end(engine, run.key).state is RunState.CANCELLED
    assert (checkpoint.is_saved, checkpoint.times_told) == (False, 1)


def test_c21_what_left_the_group_is_told_once_too(make: Make, sha: str, tmp_path: Path) -> None:
    checkpoint, engine = Checkpoint(tmp_path), make(grace=30.0)
    run = make_run(sha, checkpoint.command("setsid {save} & sleep 600", seconds=1.0))
    engine.launch(run)
    until(lambda: checkpoint.is_ready)
    engine.cancel(run.key, "bob")
    await_end(engine, run.key)
    assert (checkpoint.is_saved, checkpoint.times_told) == (True, 1)


def test_c21_what_a_command_leaves_behind_is_told_once(
    make: Make, sha: str, tmp_path: Path
) -> None:
    checkpoint, engine = Checkpoint(tmp_path), make(grace=30.0)
    wait = f"while [ ! -e {tmp_path}/ready ]; do sleep 0.05; done"
    run = make_run(sha, checkpoint.command("{save} & ", seconds=0.5) + wait)
    engine.launch(run)
    assert await_end(engine, run.key).state is RunState.SUCCEEDED
    assert (checkpoint.is_saved, checkpoint.times_told) == (True, 1)
