"""What is read in bulk, and what is left of a git that ends before it has read what it is asked."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from fyre.local_forge.storage import git_log

MORE_THAN_A_PIPE_HOLDS = ["a" * 40] * 10_000


@pytest.mark.parametrize("read", [git_log.read_git_log, git_log.rev_list])
def test_a_repository_that_is_gone_is_an_error_and_no_process_is_left(read, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="failed: 128"):
        read(tmp_path / "gone", MORE_THAN_A_PIPE_HOLDS)
    gc.collect()  # a process that nobody waited for is told of now
