"""Commands that damage their own run's directory: each run ends, and its slot is free again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fyre.engines.local.supervisor import LOST_REASON
from fyre.runs.state import RunState
from tests.contract.engine import await_end, make_run
from tests.integration.local_engine.test_engine import Make, make
from tests.support.ci_marks import EASIER_CASE

__all__ = ["make"]  # fixtures

RUN = 'cd "$(dirname "$FYRE_OUTPUTS")"; '
KILL = "kill -9 $PPID; sleep 1000"
LOSSES = [
    f"{RUN}rm lock; mkdir lock; {KILL}",
    pytest.param(f"{RUN}rm lock; mkfifo lock; {KILL}", marks=EASIER_CASE),
    pytest.param(f"{RUN}rm lock; ln -s lock lock; {KILL}", marks=EASIER_CASE),
    f'{RUN}d="$PWD"; cd /; rm -rf "$d"; exit 3',
    pytest.param(f'{RUN}d="$PWD"; cd /; rm -rf "$d"; : > "$d"; exit 3', marks=EASIER_CASE),
    pytest.param(f'{RUN}mv "$PWD" "$PWD-x"; exit 3', marks=EASIER_CASE),
    f"{RUN}rm started; {KILL}",
]


@pytest.mark.parametrize("command", LOSSES)
def test_9_3_a_run_that_takes_its_directory_away_is_lost_and_the_next_one_starts(
    make: Make, sha: str, tmp_path: Path, command: str
) -> None:
    engine = make(jobs=1)
    hostile = make_run(sha, f"echo ran >> {tmp_path}/ran; {command}")
    after = make_run(sha, "true")
    engine.launch(hostile)
    engine.launch(after)
    assert await_end(engine, hostile.key).reason == LOST_REASON
    assert await_end(engine, after.key).exit_code == 0
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_9_12_a_run_that_makes_pipes_of_its_files_ends_as_it_ended(
    make: Make, sha: str, tmp_path: Path
) -> None:
    engine = make(jobs=1)
    pipes = f"{RUN}for f in reserve log.0 log.1 progress.json.new; do rm -f $f; mkfifo $f; done; "
    run = make_run(sha, f"{pipes}echo on; exit 3")
    engine.launch(run)
    assert await_end(engine, run.key).exit_code == 3
    assert list(engine.read_log(run.key)) == []
    assert (tmp_path / "state/runs" / run.key / "reserve.moved-away").is_fifo()


@pytest.mark.parametrize("change", ["mkdir lock", pytest.param("mkfifo lock", marks=EASIER_CASE)])
def test_9_3_a_run_that_takes_its_lock_away_ends_as_it_ended(
    make: Make, sha: str, change: str
) -> None:
    engine = make(jobs=1)
    run = make_run(sha, f'echo x > "$FYRE_OUTPUTS/a"; {RUN}rm lock; {change}')
    engine.launch(run)
    record = await_end(engine, run.key)
    assert (record.state, record.reason) == (RunState.SUCCEEDED, "")
    assert record.results is not None
    assert record.results.output_count == 1
