"""The hooks, and fyre commit, read the .fyre.yaml of commits that ask for runs before a push."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fyre.cli import main
from tests.integration.hooks.test_pre_push import commit, far, said
from tests.support.ci_marks import long_case

__all__ = ["far"]

BROKEN = "timeout: 2h\nsetup: echo hi\n"
RUN = "Train\n\nFyre-Run: true"
PROBLEM = ".fyre.yaml line 2: 'setup: echo hi': setup must be a list, not 'echo hi'"


def test_commit_msg_reads_what_is_staged(hooked: Path, git, attempt) -> None:
    file = hooked / ".fyre.yaml"
    file.write_text(BROKEN)
    assert attempt("commit", "--allow-empty", "-m", RUN).returncode == 0  # it is not in the commit
    git("add", ".", cwd=hooked)
    assert attempt("commit", "-m", "Asks for nothing").returncode == 0
    done = attempt("commit", "--allow-empty", "-m", RUN)
    assert done.returncode == 1
    assert PROBLEM in done.stderr.splitlines()
    assert "fix .fyre.yaml, add it, git commit -e -F" in done.stderr
    file.write_text("setup: [echo hi]\n")
    assert attempt("commit", "-a", "-m", RUN).returncode == 0  # GIT_INDEX_FILE is another one
    file.unlink()
    file.symlink_to("../outside.yaml")
    git("add", ".", cwd=hooked)
    assert ".fyre.yaml is a symbolic link" in attempt("commit", "-m", RUN).stderr


@pytest.mark.parametrize("version", ["2", "4"])
def test_an_index_of_any_version_is_read(hooked: Path, git, attempt, version: str) -> None:
    (hooked / ".fyre.yam").touch()  # version 4 stores what differs from the name before
    (hooked / ".fyre.yaml").write_text(BROKEN)
    git("config", "index.version", version, cwd=hooked)
    git("update-index", "--index-version", version, "--add", ".fyre.yam", ".fyre.yaml", cwd=hooked)
    assert PROBLEM in attempt("commit", "-m", RUN).stderr.splitlines()


@long_case
def test_pre_push_reads_what_each_commit_has(hooked: Path, git, attempt) -> None:
    commit(attempt, RUN)
    (hooked / ".fyre.yaml").write_text(BROKEN)
    git("add", ".", cwd=hooked)
    commit(attempt, "Asks for nothing")
    commit(attempt, RUN)
    (hooked / ".fyre.yaml").write_text("timeout: 2h\n")
    git("add", ".", cwd=hooked)
    commit(attempt, RUN)
    done = attempt("push", "origin", "main")
    assert done.returncode == 1
    assert said(done)[0] == f"fyre: SHA {PROBLEM}"
    assert done.stderr.count(PROBLEM) == 1
    git("reset", "-q", "--soft", "HEAD~2", cwd=hooked)
    commit(attempt, RUN)
    assert attempt("push", "origin", "main").returncode == 0


def test_31_fyre_commit_check_and_run_read_it_too(
    repo: Path, git, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    head = git("rev-parse", "HEAD", cwd=repo)
    (repo / "sub").mkdir()
    (repo / ".fyre.yaml").write_text(BROKEN)
    git("add", ".", cwd=repo)
    for folder in (repo, repo / "sub"):
        monkeypatch.chdir(folder)
        assert main.main(["commit", "--run", "true"]) == 1
        assert f"error: nothing was committed: {PROBLEM}" in capfd.readouterr().err
    outside = repo.parent / "outside.yaml"
    outside.write_text("timeout: 2h\n")
    (repo / ".fyre.yaml").unlink()
    (repo / ".fyre.yaml").symlink_to(outside)
    git("add", ".", cwd=repo)
    git("commit", "-q", "--no-verify", "-m", "A link", cwd=repo)
    for words in (
        ["check"],
        ["check", git("rev-parse", "HEAD", cwd=repo)],
        ["run", "-d", "--yes", "--", "true"],
        ["commit", "--run", "true"],
    ):
        assert main.main(words) == 1
        assert ".fyre.yaml is a symbolic link, and a run does not" in capfd.readouterr().err
    assert git("rev-parse", "HEAD~", cwd=repo) == head


def test_9_40_each_run_is_named_once(hooked: Path, git, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["commit", "--run", "echo once", "--push"]) == 0
    out, err = capfd.readouterr()
    assert (out.count("run: echo once"), err.count("run: echo once")) == (1, 0)
    assert main.main(["run", "-d", "--", "echo twice"]) == 0
    assert "echo twice" not in capfd.readouterr().err
    git("commit", "-q", "--allow-empty", "-m", RUN, cwd=hooked)
    done = subprocess.run(["git", "push"], cwd=hooked, capture_output=True, text=True, check=True)
    assert done.stderr.count(" run: true") == 1


def test_the_parsers_are_loaded_only_for_a_file(hooked: Path) -> None:
    (hooked / "message").write_text(RUN)
    code = "import sys; from fyre import hooks; hooks.run(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, "commit-msg", "message"],
        cwd=hooked, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"yaml", "jsonschema", "fyre.hooks.config_check"} & set(done.stdout.split())
