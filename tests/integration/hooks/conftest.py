from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.cli import main

Commit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hooked(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with our native hooks, and the working directory in it."""
    monkeypatch.chdir(repo)
    assert main.main(["init", "--hooks"]) == 0
    return repo


@pytest.fixture
def attempt(repo: Path) -> Commit:
    """``attempt(*git_args, editor=…)``: git, whatever it answers; the editor is a shell command."""

    def run(*words: str | bytes, editor: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        full = {**os.environ, **({"GIT_EDITOR": editor} if editor else {}), **env}
        return subprocess.run(
            ["git", *words],
            cwd=repo,
            env=full,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    return run
