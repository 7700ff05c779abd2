"""An outcome that this version can't read stays as it is stored, is shown as an error, and is
posted over no other end; and this version never writes one that it can't read itself.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from fyre.engines.local.engine import LocalEngine
from fyre.engines.local.run_dir import RunDirectory
from fyre.runs.state import RunState
from tests.golden.test_v0_1 import GOLDEN

UNREADABLE = [{"version": 2}, {"tries": "x"}, {"tries": -1}, {"started_at": "soon"}]
"""Members that make an outcome, or the progress that it is made of, unreadable."""


def golden_directory(stage: str, parent: Path, name: str = "", **members: object) -> RunDirectory:
    """Copy a run that 0.1 stored, with other members in one of its files."""
    (source,) = (GOLDEN / "local" / stage).iterdir()
    copied = parent / source.name
    shutil.copytree(source, copied)
    if name:
        stored = json.loads((copied / name).read_bytes())
        (copied / name).write_text(json.dumps(stored | members))
    return RunDirectory(copied)


# This machine


@pytest.mark.parametrize("members", [{}, *UNREADABLE])
def test_a_lost_run_is_lost_whatever_its_progress_says(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    directory = golden_directory("lost", tmp_path, "progress.json", **members)
    (directory.path / "outcome.json").unlink()
    assert directory.conclude_without_supervisor(1e10)
    record = directory.read_record()
    assert directory.is_lost()
    assert (record.state, record.ended_at) == (RunState.ERROR, 1e10)
    assert (record.reason.partition(":")[0], record.is_outcome_unreadable) == ("lost", False)
    whole = (1, 1767323050.5)
    found = (record.tries, record.started_at)
    assert (
        found
        == {
            "": whole,
            "version": (0, None),
            "tries": (0, whole[1]),
            "started_at": (whole[0], None),
        }["".join(members)]
    )


@pytest.mark.parametrize("members", [*UNREADABLE, {"state": "skipped"}, {"exit_code": "x"}])
def test_a_run_whose_outcome_can_not_be_read_is_deleted_in_time(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    directory = golden_directory("ended", tmp_path / "runs", "outcome.json", **members)
    text = (directory.path / "outcome.json").read_bytes()
    written_at = time.time() - 3600
    os.utime(directory.path / "outcome.json", (written_at, written_at))
    record = directory.read_record()
    assert (record.state, record.is_outcome_unreadable) == (RunState.ERROR, True)
    assert record.reason.startswith("how it ended can't be read: ")
    stored_end = json.loads(text)["ended_at"]
    expected_end = written_at if "version" in members else stored_end
    assert record.ended_at == pytest.approx(expected_end)
    assert (record.exit_code, record.signal) == (None, None)
    age = time.time() - expected_end
    for history, is_kept in ((age + 600, True), (age - 600, False)):
        engine = LocalEngine(tmp_path, find_git_dir=lambda _: tmp_path, jobs=0, history=history)
        engine.close()
        assert (engine.get_record(record.run.key) is not None) == is_kept
        assert directory.path.exists() == is_kept
        if is_kept:
            assert (directory.path / "outcome.json").read_bytes() == text


@pytest.mark.parametrize("members", UNREADABLE)
def test_an_outcome_that_can_not_be_read_may_still_say_that_the_run_is_lost(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    directory = golden_directory("lost", tmp_path, "outcome.json", **members)
    assert directory.read_record().is_outcome_unreadable
    assert directory.is_lost() == ("version" not in members)
