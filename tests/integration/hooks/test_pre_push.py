from __future__ import annotations

import re
from pathlib import Path

import pytest

from fyre.message import fyre_ids


@pytest.fixture(autouse=True)
def far(hooked: Path, git, tmp_path: Path) -> Path:
    path = tmp_path / "far.git"
    git("init", "-q", "--bare", str(path), cwd=tmp_path)
    git("remote", "add", "origin", str(path), cwd=hooked)
    git("push", "-q", "origin", "main", cwd=hooked)
    return path


def said(done) -> list[str]:
    return [
        re.sub(r"\b[0-9a-f]{7}\b", "SHA", row)
        for row in done.stderr.splitlines()
        if row.startswith("fyre: ")
    ]


def commit(attempt, text: str, **env: str) -> None:
    assert attempt("commit", "--allow-empty", "--no-verify", "-m", text, **env).returncode == 0


def test_it_says_what_the_push_starts(attempt) -> None:
    commit(attempt, "One\n\nFyre-Run: python one.py\nFyre-Name: train\nFyre-Run: true")
    commit(attempt, "Nothing\n\nA fyre- in prose.")
    commit(attempt, "Two\n\nFyre-Run: two")
    done = attempt("push", "origin", "main")
    assert done.returncode == 0
    assert said(done) == [
        "fyre: SHA train: python one.py",
        "fyre: SHA run: true",
        "fyre: SHA run: two",
    ]
    assert said(attempt("push", "origin", "main:again")) == []  # not new to the remote


def test_what_cannot_run_is_not_pushed(attempt, git, hooked: Path, far: Path) -> None:
    commit(attempt, "One\n\nFyre-Run: true\nFyre-Timeout: 5")
    commit(attempt, "Two\n\nFyre-Run: true")
    done = attempt("push", "origin", "main")
    assert done.returncode != 0
    sha = git("rev-parse", "--short=7", "HEAD~", cwd=hooked)
    assert f"fyre: {sha} line 4: Fyre-Timeout: '5' has no unit" in done.stderr
    assert "hint: write 5s, 5m or 5h" in done.stderr
    assert git("rev-parse", "main", cwd=far) == git("rev-parse", "HEAD~2", cwd=hooked)


def test_what_is_too_old_to_be_launched_is_not_held_against_anybody(attempt) -> None:
    old = "2020-01-02T03:04:05+0000"
    commit(attempt, "Old\n\nFyre-Run: true\nFyre-Timeout: 5", GIT_COMMITTER_DATE=old)
    done = attempt("push", "origin", "main")
    assert done.returncode == 0
    assert said(done) == []


def test_deletions_and_tags_are_silent(attempt) -> None:
    commit(attempt, "One\n\nFyre-Run: true")
    attempt("tag", "v1")
    assert said(attempt("push", "origin", "v1")) == []
    assert attempt("push", "origin", "main:gone").returncode == 0
    done = attempt("push", "origin", ":gone")
    assert done.returncode == 0
    assert said(done) == []


def test_on_a_lab_branch_only_snapshots_run(attempt, git, hooked: Path) -> None:
    commit(attempt, "Unpublished code\n\nFyre-Run: not this")
    head = git("rev-parse", "HEAD", cwd=hooked)
    commit(
        attempt,
        f"Run: this\n\nFyre-Run: this\nFyre-Id: {fyre_ids.new_fyre_id()}\nFyre-From: {head}",
    )
    assert said(attempt("push", "origin", "HEAD:refs/heads/fyre/ada")) == ["fyre: SHA run: this"]


def test_a_remote_that_is_ahead_or_a_url_is_no_trouble(
    attempt, git, hooked: Path, far: Path, tmp_path: Path
) -> None:
    git("clone", "-q", str(far), "other", cwd=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "Theirs", cwd=tmp_path / "other")
    git("push", "-q", cwd=tmp_path / "other")
    commit(attempt, "One\n\nFyre-Run: true")
    done = attempt("push", "--force", str(far), "main")
    assert done.returncode == 0, done.stderr
    assert said(done) == ["fyre: SHA run: true"]


def test_many_runs_are_counted(attempt) -> None:
    trailers = "\n".join(f"Fyre-Run: {number}" for number in range(25))
    commit(attempt, f"Many\n\n{trailers}")
    assert said(attempt("push", "origin", "main"))[-2:] == [
        "fyre: SHA run-20: 19",
        "fyre: and 5 more",
    ]
