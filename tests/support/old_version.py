"""Extract Fyre as it was when version 0.1's stored forms were fixed, from this history."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

COMMIT = "7d57494"
"""The commit whose stored forms are version 0.1's: ``tests/golden/v0.1`` was made with it."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def old_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the old package, extracted and compiled once for all workers of a test run.

    Skip the test if the history is missing.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "fyre-0.1"
    if not shared.exists():
        extracted = unpack_old_version(tmp_path_factory.mktemp("old"))
        with suppress(OSError):  # another worker was faster
            extracted.rename(shared)
    return shared


def unpack_old_version(where: Path, *paths: str) -> Path:
    """Extract the old package, or these paths of its repository; return the folder of them.

    Skip the test if the history is missing.
    """
    command = ["git", "archive", "--format=tar", COMMIT, *(paths or ("fyre",))]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git, for Fyre as it was before")
    if done.returncode:
        pytest.skip(
            f"needs commit {COMMIT}, which this clone's history does not have: "
            "git fetch --unshallow"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(where, filter="data")
    return where
