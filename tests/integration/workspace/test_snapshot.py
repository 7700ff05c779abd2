from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.message import fyre_ids, request
from fyre.runs.run import ZERO_SHA
from tests.integration.workspace.conftest import LAB, Git, files_of
from tests.support.ci_marks import easier_cases


@pytest.fixture
def vendor(repo: Path, far: Path, git: Git, tmp_path: Path, monkeypatch) -> Path:
    """A submodule of ``repo`` with a remote of its own."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    git("clone", "-q", "--bare", f"file://{far}", "vendor.git", cwd=tmp_path)
    git("submodule", "--quiet", "add", f"file://{tmp_path}/vendor.git", "vendor", cwd=repo)
    git("commit", "-q", "-m", "Vendor", cwd=repo)
    git("push", "-q", cwd=repo)
    return repo / "vendor"


def test_everything_is_taken_as_it_is(
    repo: Path, far: Path, git: Git, run, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("gone", "staged", "twice", "tool", "moved"):
        (repo / name).write_text(f"{name}\n")
    (repo / ".gitignore").write_text("*.log\n")
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "More", cwd=repo)
    git("push", "-q", cwd=repo)
    (repo / "gone").unlink()
    (repo / "staged").write_text("staged now\n")
    (repo / "twice").write_text("one\n")
    git("add", "staged", "twice", cwd=repo)
    (repo / "twice").write_text("two\n")
    (repo / "tool").chmod(0o755)
    git("mv", "moved", "é \t new", cwd=repo)
    (repo / "link").symlink_to("README")
    (repo / "deep/er").mkdir(parents=True)
    (repo / "deep/er/new").write_text("new\n")
    (repo / "intended").write_text("intended\n")
    git("add", "-N", "intended", cwd=repo)
    (repo / "noise.log").write_text("noise\n")
    head = git("rev-parse", "HEAD", cwd=repo)
    assert run() == 0
    sha = capfd.readouterr().out.strip()
    assert git("rev-parse", LAB, cwd=far) == sha
    git("config", "core.quotePath", "false", cwd=far)
    assert files_of(far, git) == {
        "100644 README": "hello",
        "100644 .gitignore": "*.log",
        "100644 staged": "staged now",
        "100644 twice": "two",
        "100755 tool": "tool",
        '100644 "é \\t new"': "moved",
        "120000 link": "README",
        "100644 deep/er/new": "new",
        "100644 intended": "intended",
    }
    assert git("log", "-1", "--format=%P %s", LAB, cwd=far) == f"{head} Run: true"
    wants = request.parse_message(git("log", "-1", "--format=%B", LAB, cwd=far))
    assert ([spec.command for spec in wants.runs], wants.problems, wants.fyre_from) == (
        ["true"],
        (),
        head,
    )
    assert fyre_ids.is_valid_fyre_id(wants.fyre_id)
    assert git("for-each-ref", "--format=%(refname)", cwd=far).split() == [LAB, "refs/heads/main"]


def test_a_change_of_the_same_size_at_the_same_time_is_seen(
    repo: Path, far: Path, git: Git, run
) -> None:
    then = (repo / ".git/index").stat().st_mtime_ns
    (repo / "README").write_text("HELLO\n")
    git("add", "README", cwd=repo)
    index = repo / ".git/index"
    (repo / "README").write_text("WORLD\n")
    for path in (repo / "README", index):
        os.utime(path, ns=(then, then))
    git(
        "update-index",
        "--cacheinfo",
        f"100644,{git('rev-parse', 'HEAD:README', cwd=repo)},README",
        cwd=repo,
    )
    git("config", "core.trustctime", "false", cwd=repo)
    assert run() == 0
    assert files_of(far, git)["100644 README"] == "WORLD"


def test_below_the_top_the_whole_tree_is_taken(
    repo: Path, *, far: Path, git: Git, monkeypatch, run
) -> None:
    (repo / "sub").mkdir()
    (repo / "sub/x").write_text("x\n")
    (repo / "README").write_text("changed\n")
    monkeypatch.chdir(repo / "sub")
    assert run() == 0
    assert files_of(far, git) == {"100644 README": "changed", "100644 sub/x": "x"}
    assert "Fyre-Workdir: sub" in git("log", "-1", "--format=%B", "fyre/ada", cwd=far)


@pytest.mark.parametrize(
    "flags", [*easier_cases(["--cone"], ["--no-cone"]), ["--cone", "--sparse-index"]], ids="-".join
)
def test_a_sparse_checkout_loses_nothing(
    repo: Path, far: Path, git: Git, run, flags: list[str]
) -> None:
    for name in ("in", "out"):
        (repo / name).mkdir()
        (repo / name / "file").write_text(f"{name}\n")
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Two", cwd=repo)
    git("push", "-q", cwd=repo)
    git("sparse-checkout", "set", *flags, "/in" if "--no-cone" in flags else "in", cwd=repo)
    assert not (repo / "out").exists()
    (repo / "in/file").write_text("changed\n")
    (repo / "out").mkdir()
    (repo / "out/new").write_text("new\n")
    assert run() == 0
    found = files_of(far, git)
    assert (found["100644 in/file"], found["100644 out/file"], found["100644 out/new"]) == (
        "changed",
        "out",
        "new",
    )
    assert "100644 README" in found


def test_submodules_are_taken_when_others_can_have_them(
    repo: Path, far: Path, git: Git, vendor: Path, run
) -> None:
    assert run() == 0
    git("commit", "-q", "--allow-empty", "-m", "On", cwd=vendor)
    git("push", "-q", cwd=vendor)
    assert run() == 0
    assert git("rev-parse", f"{LAB}:vendor", cwd=far) == git("rev-parse", "HEAD", cwd=vendor)


def test_submodules_are_refused_when_others_can_not(
    repo: Path, *, far: Path, git: Git, vendor: Path, run, capfd, monkeypatch
) -> None:
    (vendor / "README").write_text("changed\n")
    assert run() == 1
    assert "a submodule has changes of its own: vendor" in capfd.readouterr().err
    git("commit", "-q", "-am", "Mine alone", cwd=vendor)
    assert run() == 1
    assert "a submodule is at a commit that is not pushed: vendor" in capfd.readouterr().err
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(repo / ".git"))  # as in a hook of a linked work tree
        assert main.main(["run", "-d", "true"]) == 1
        assert "not pushed: vendor" in capfd.readouterr().err
    git("commit", "-q", "-am", "Vendor moved", cwd=repo)
    assert run("--yes") == 1  # committed here does not help
    err = capfd.readouterr().err
    assert "not pushed: vendor" in err
    assert "git -C vendor push" in err
    git("push", "-q", cwd=vendor)
    assert run("--yes") == 0


@pytest.mark.parametrize("key", ["submodule.vendor.ignore", *easier_cases("diff.ignoreSubmodules")])
def test_a_submodule_that_status_ignores_is_looked_at_too(
    repo: Path, *, far: Path, git: Git, vendor: Path, run, capfd, key: str
) -> None:
    git("config", key, "all", cwd=repo)
    (vendor / "README").write_text("changed\n")
    assert run() == 0  # that is what they asked for
    git("commit", "-q", "-am", "Mine alone", cwd=vendor)
    assert run() == 1
    assert "a submodule is at a commit that is not pushed: vendor" in capfd.readouterr().err


def test_a_repository_git_was_not_told_of_is_refused(
    repo: Path, far: Path, git: Git, run, capfd
) -> None:
    git("init", "-q", "nested", cwd=repo)
    for staged in (False, True):
        assert run() == 1
        assert "without its content: nested" in capfd.readouterr().err
        if not staged:
            git("commit", "-q", "--allow-empty", "-m", "x", cwd=repo / "nested")
            git("add", "nested", cwd=repo)
    git("rm", "-qf", "--cached", "nested", cwd=repo)
    (repo / ".gitignore").write_text("nested\n")
    assert run() == 0


def test_conflicts_are_refused_and_named(repo: Path, far: Path, git: Git, run, capfd) -> None:
    git("switch", "-q", "-c", "side", cwd=repo)
    (repo / "README").write_text("side\n")
    git("commit", "-q", "-am", "side", cwd=repo)
    git("switch", "-q", "main", cwd=repo)
    (repo / "README").write_text("main\n")
    git("commit", "-q", "-am", "main", cwd=repo)
    subprocess.run(["git", "merge", "-q", "side"], cwd=repo, check=False, capture_output=True)
    assert run() == 1
    assert "not merged yet: README" in capfd.readouterr().err


def test_a_linked_work_tree_and_a_detached_head(
    repo: Path, *, far: Path, git: Git, tmp_path: Path, monkeypatch, run
) -> None:
    linked = tmp_path / "linked"
    git("worktree", "add", "-q", "--detach", str(linked), cwd=repo)
    (linked / "README").write_text("linked\n")
    monkeypatch.chdir(linked)
    assert run(at=linked) == 0
    assert files_of(far, git) == {"100644 README": "linked"}
    assert git("status", "--porcelain", cwd=repo) == ""


def test_a_branch_without_a_commit(far: Path, git: Git, tmp_path: Path, monkeypatch, run) -> None:
    fresh = tmp_path / "fresh"
    git("init", "-q", str(fresh), cwd=tmp_path)
    git("remote", "add", "origin", f"file://{far}", cwd=fresh)
    (fresh / "first").write_text("first\n")
    monkeypatch.chdir(fresh)
    assert run(at=fresh) == 0
    assert files_of(far, git) == {"100644 first": "first"}
    wants = request.parse_message(git("log", "-1", "--format=%B", LAB, cwd=far))
    assert (git("log", "-1", "--format=%P", LAB, cwd=far), wants.fyre_from, wants.problems) == (
        "",
        ZERO_SHA,
        (),
    )


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_what_git_was_told_to_overlook_is_said(
    repo: Path, *, far: Path, git: Git, run, capfd, bit: str
) -> None:
    git("update-index", bit, "README", cwd=repo)
    (repo / "README").write_text("mine\n")
    assert run() == 0
    assert files_of(far, git) == {"100644 README": "hello"}
    err = capfd.readouterr().err
    assert "kept as committed" in err
    assert "README" in err


@pytest.mark.parametrize(
    "kind", ["split", "fsmonitor", *easier_cases("read-only", "untracked-cache", "version 4")]
)
def test_an_index_of_any_kind(repo: Path, far: Path, git: Git, run, kind: str) -> None:
    if kind == "fsmonitor":
        hook = repo / ".git/monitor"
        hook.write_text("#!/bin/sh\nprintf 'token\\0'\n")  # which says that nothing has changed
        hook.chmod(0o755)
        git("config", "core.fsmonitor", str(hook), cwd=repo)
        git("status", cwd=repo)
    elif kind == "read-only":
        (repo / ".git/index").chmod(0o444)
    else:
        words = {
            "split": "--split-index",
            "untracked-cache": "--force-untracked-cache",
            "version 4": "--index-version=4",
        }
        git("update-index", *words[kind].split("="), cwd=repo)
    (repo / "README").write_text("changed\n")
    (repo / "new").write_text("new\n")
    assert run() == 0
    assert files_of(far, git) == {"100644 README": "changed", "100644 new": "new"}
