"""Commands that damage their own run's directory: each run ends, and its slot is free again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fyre.engines.local.supervisor import LOST_REASON
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
