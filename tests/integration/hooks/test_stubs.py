from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fyre import hooks
from fyre.cli import main
from fyre.hooks import stubs
from fyre.message import request

TOP = Path(hooks.__file__).parents[2]


def contents(where: Path) -> dict[str, str]:
    return {
        path.name: path.read_text() for path in where.iterdir() if not path.name.endswith(".sample")
    }


def test_writing_twice_and_taking_away(hooked: Path) -> None:
    where = hooked / ".git/hooks"
    first = contents(where)
    assert set(first) == set(hooks.HOOK_NAMES)
    assert main.main(["init", "--hooks"]) == 0
    assert contents(where) == first
    assert main.main(["init", "--hooks", "--remove"]) == 0
    assert contents(where) == {}


def test_hooks_that_were_there_run_first_and_come_back(
    repo: Path, git, attempt, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(repo)
    where = repo / ".git/hooks"
    for name, script in {
        "commit-msg": 'echo "Theirs: yes" >> "$1"',
        "pre-push": f"cat > {tmp_path}/refs",
    }.items():
        (where / name).write_text(f"#!/bin/sh\n{script}\n")
        (where / name).chmod(0o755)
    before = contents(where)
    assert main.main(["init", "--hooks"]) == 0
    assert attempt("commit", "--allow-empty", "-m", "Train\n\nFyre-Run: true").returncode == 0
    text = git("log", "-1", "--format=%B", cwd=repo)
    assert "Theirs: yes" in text
    assert request.parse_message(text).fyre_id
    git("init", "-q", "--bare", "far.git", cwd=tmp_path)
    done = attempt("push", str(tmp_path / "far.git"), "main")
    assert "run: true" in done.stderr
    assert "refs/heads/main" in (tmp_path / "refs").read_text()
    assert main.main(["init", "--hooks", "--remove"]) == 0
    assert contents(where) == before


def test_a_hook_of_theirs_that_says_no_is_obeyed(
    repo: Path, attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo)
    path = repo / ".git/hooks/commit-msg"
    path.write_text("#!/bin/sh\nexit 7\n")
    path.chmod(0o755)
    main.main(["init", "--hooks"])
    assert attempt("commit", "--allow-empty", "-m", "Plain").returncode != 0


def test_two_hooks_of_others_are_not_mixed(hooked: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (hooked / ".git/hooks/commit-msg").write_text("#!/bin/sh\n")
    (hooked / ".git/hooks/commit-msg.before-fyre").write_text("#!/bin/sh\n")
    assert main.main(["init", "--hooks"]) == 1
    assert "two hooks of others" in capfd.readouterr().err


def test_hooks_path_is_where_they_go(
    repo: Path, git, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.chdir(repo)
    git("config", "core.hooksPath", "my hooks", cwd=repo)
    (repo / "below").mkdir()
    assert main.main(["init", "--hooks"]) == 0
    assert set(contents(repo / "my hooks")) == set(hooks.HOOK_NAMES)
    assert "core.hooksPath is set" in capfd.readouterr().err
    git("commit", "-q", "--allow-empty", "-m", "Train\n\nFyre-Run: true", cwd=repo / "below")
    assert request.parse_message(git("log", "-1", "--format=%B", cwd=repo)).fyre_id


def test_a_place_that_can_not_be_written_is_said(repo: Path, git, monkeypatch, capfd) -> None:
    monkeypatch.chdir(repo)
    (repo / "file").write_text("")
    git("config", "core.hooksPath", "file/hooks", cwd=repo)
    assert main.main(["init", "--hooks"]) == 1
    assert "can't write hooks into" in capfd.readouterr().err


def test_a_python_that_went_away_stops_nobody(hooked: Path, attempt) -> None:
    path = hooked / ".git/hooks/commit-msg"
    path.write_text(path.read_text().replace("\npython=", "\npython=/nowhere"))
    done = attempt("commit", "--allow-empty", "-m", "Plain")
    assert done.returncode == 0
    assert "fyre: commit-msg skipped" in done.stderr


def test_the_clones_own_hooks_need_nothing_installed(repo: Path, git, attempt) -> None:
    git("config", "core.hooksPath", str(TOP / "hooks"), cwd=repo)
    import sys

    done = attempt(
        "commit", "--allow-empty", "-m", "Train\n\nFyre-Run: true", PYTHON=sys.executable
    )
    assert done.returncode == 0, done.stderr
    assert request.parse_message(git("log", "-1", "--format=%B", cwd=repo)).fyre_id
    assert sorted(path.name for path in (TOP / "hooks").iterdir()) == sorted(hooks.HOOK_NAMES)
    assert all(os.access(path, os.X_OK) for path in (TOP / "hooks").iterdir())


def test_the_stub_is_valid_sh() -> None:
    for name in hooks.HOOK_NAMES:
        subprocess.run(["sh", "-n"], input=stubs.stub_text(name), text=True, check=True)
