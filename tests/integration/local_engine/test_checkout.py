"""A checkout is that SHA and nothing else: no config of anybody's, no hook, no filter, no
branch.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fyre.engines.local import LocalEngine, checkout, run_dir
from fyre.engines.segmented_log import SegmentedLogWriter
from fyre.runs import commit_status
from fyre.runs.state import RunState
from tests.conftest import git
from tests.contract.engine import await_end, make_run


def go(repo: Path, tmp_path: Path, command: str, sha: str = "HEAD") -> tuple[RunState, str]:
    """Run a command on a commit of the repository: how it ended, and its log or the reason."""
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    run = make_run(git("rev-parse", sha, cwd=repo), command)
    engine.launch(run)
    record = await_end(engine, run.key)
    log = b"".join(engine.read_log(run.key)).decode()
    engine.close()
    return record.state, log + record.reason


def commit(repo: Path, **files: str) -> None:
    for name, text in files.items():
        (repo / name.replace("__", ".")).write_text(text)
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "More", cwd=repo)


def test_it_is_a_repository_with_its_history_and_a_detached_head(
    repo: Path, tmp_path: Path
) -> None:
    commit(repo, more="more\n")
    command = (
        "git log --format=%s; git status --porcelain; "
        "git rev-parse --abbrev-ref HEAD; git for-each-ref"
    )
    assert go(repo, tmp_path, command) == (RunState.SUCCEEDED, "More\nFirst\nHEAD\n")


def test_9_33_what_is_not_checked_out_is_said(repo: Path, tmp_path: Path) -> None:
    commit(repo, __gitattributes="*.bin filter=lfs diff=lfs merge=lfs -text\n", __gitmodules="#\n")
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    run = make_run(git("rev-parse", "HEAD", cwd=repo), "true")
    engine.launch(run)
    await_end(engine, run.key)
    engine.close()
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    record = engine.get_record(run.key)  # as it is written
    engine.close()
    assert record is not None
    text = commit_status.status_from_record(record).description
    assert text.startswith("exit 0 · ")
    assert text.endswith(" · not checked out: submodules, Git LFS files")


@pytest.mark.parametrize("name", ["directory", "dead link", "pipe"])
def test_9_33_attributes_that_are_no_file_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / ".gitattributes"
    if name == "directory":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    assert checkout.list_missing_code(str(tmp_path)) == []


def test_nothing_of_the_working_tree_leaks_in(repo: Path, tmp_path: Path) -> None:
    (repo / "README").write_text("edited\n")
    (repo / "untracked").write_text("")
    git("add", "README", cwd=repo)
    assert go(repo, tmp_path, "cat README; ls") == (RunState.SUCCEEDED, "hello\nREADME\n")


def test_no_filter_and_no_hook_of_anybodys_runs(repo: Path, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    (hooks / "post-checkout").chmod(0o755)
    evil = (
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {tmp_path}/watched\n"
        f'[filter "evil"]\n\tsmudge = touch {tmp_path}/smudged; cat\n'
    )
    with Path(os.environ["GIT_CONFIG_GLOBAL"]).open("a") as config:
        config.write(evil)
    with (repo / ".git" / "config").open("a") as config:
        config.write(evil)
    commit(repo, __gitattributes="* filter=evil\n", data="x\n")
    for name in ("hooked", "watched", "smudged"):  # the commit above may have called them
        (tmp_path / name).unlink(missing_ok=True)
    assert go(repo, tmp_path, "cat data") == (RunState.SUCCEEDED, "x\n")
    assert not [name for name in ("hooked", "watched", "smudged") if (tmp_path / name).exists()]


def test_9_34_no_attributes_of_anybodys_change_line_ends(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes = tmp_path / "config/git/attributes"
    attributes.parent.mkdir(parents=True)
    attributes.write_text("* text eol=crlf\n")
    commit(repo, data="x\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert go(repo, tmp_path, "wc -c <data") == (RunState.SUCCEEDED, "2\n")


def test_files_of_lfs_stay_pointers(repo: Path, tmp_path: Path) -> None:
    commit(
        repo,
        __gitattributes="data filter=lfs diff=lfs merge=lfs -text\n",
        data="version https://git-lfs\n",
    )
    with Path(os.environ["GIT_CONFIG_GLOBAL"]).open("a") as config:
        config.write('[filter "lfs"]\n\tsmudge = false\n\tprocess = false\n\trequired = true\n')
    assert go(repo, tmp_path, "cat data") == (RunState.SUCCEEDED, "version https://git-lfs\n")


def test_a_submodule_is_an_empty_folder(repo: Path, tmp_path: Path) -> None:
    head = git("rev-parse", "HEAD", cwd=repo)
    git("update-index", "--add", "--cacheinfo", f"160000,{head},part", cwd=repo)
    git("commit", "-q", "-m", "Part", cwd=repo)
    assert go(repo, tmp_path, "ls -A part; ls") == (RunState.SUCCEEDED, "README\npart\n")


@pytest.mark.parametrize("what", ["HEAD^{tree}", "HEAD:README", "tag"])
def test_what_is_no_commit_is_an_error(repo: Path, tmp_path: Path, what: str) -> None:
    git("tag", "-a", "-m", "A tag", "tag", cwd=repo)
    state, said = go(repo, tmp_path, "echo ran", what)
    assert (state, "ran" in said.split()) == (RunState.ERROR, False)
    assert git("rev-parse", what, cwd=repo)[:12] in said


def test_a_missing_file_of_the_commit_is_an_error(repo: Path, tmp_path: Path) -> None:
    blob = git("rev-parse", "HEAD:README", cwd=repo)
    (repo / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    state, said = go(repo, tmp_path, "echo ran")
    assert (state, "ran" in said.split()) == (RunState.ERROR, False)


def test_odd_names_are_checked_out(repo: Path, tmp_path: Path) -> None:
    (repo / 'with space\n"quotes" é').write_text("odd\n")
    commit(repo)
    assert go(repo, tmp_path, "cat with*") == (RunState.SUCCEEDED, "odd\n")


def test_a_repository_in_a_folder_with_an_odd_name(tmp_path: Path, repo: Path) -> None:
    moved = tmp_path / '# a"b é'
    repo.rename(moved)
    assert go(moved, tmp_path, "cat README") == (RunState.SUCCEEDED, "hello\n")


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    path = tmp_path / "wide"
    git("init", "-q", "--object-format=sha256", str(path), cwd=tmp_path)
    commit(path, a="a\n")
    state, log = go(path, tmp_path, "git rev-parse HEAD")
    assert (state, len(log)) == (RunState.SUCCEEDED, 65)


def test_9_15_a_checkout_ends_at_its_deadline(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    hanging = tmp_path / "bin" / "git"  # as it may on a bomb: a few objects, millions of files
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    run = make_run("a" * 40, "true")
    job = run_dir.build_supervisor_job(run, repo / ".git", tmp_path / "work")
    log = SegmentedLogWriter(str(tmp_path / "log"), 1024)
    with pytest.raises(checkout.CheckoutError, match="it took too long"):
        checkout.create_checkout(job, str(tmp_path / "work"), log, time.monotonic())
    log.close()
