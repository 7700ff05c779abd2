"""A checkout is that SHA and nothing else: no config of anybody's, no hook, no filter, no
branch.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
import time
from pathlib import Path

import pytest

from fyre.apps import local_run
from fyre.engines.local import LocalEngine, checkout, code_parts, run_dir
from fyre.engines.local.code_parts import CodeParts
from fyre.engines.segmented_log import SegmentedLogWriter
from fyre.errors import UserError
from fyre.local_forge.storage.repository_store import RepositoryStore
from fyre.runs import commit_status
from fyre.runs.state import RunState
from fyre.workspace import snapshot
from tests.conftest import git
from tests.contract.engine import await_end, make_run
from tests.support.ci_marks import long_case


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


OBJECT = b"the content\n"
OID = hashlib.sha256(OBJECT).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(OBJECT)}\n"


def add_submodules(repo: Path, sha: str, *paths: str) -> None:
    words = [word for path in paths for word in ("--cacheinfo", f"160000,{sha},{path}")]
    git("update-index", "--add", *words, cwd=repo)
    git("commit", "-q", "-m", "Part", cwd=repo)


def test_9_33_what_is_not_checked_out_is_said(repo: Path, tmp_path: Path) -> None:
    (repo / "deep").mkdir()
    (repo / "deep/.gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repo / "deep/a.bin").write_text(POINTER)
    commit(repo)
    add_submodules(repo, "1" * 40, "part")  # and no .gitmodules
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    run = make_run(git("rev-parse", "HEAD", cwd=repo), "cat deep/a.bin; ls part")
    engine.launch(run)
    await_end(engine, run.key)
    log = b"".join(engine.read_log(run.key)).decode()
    engine.close()
    said = "not checked out: submodules (part), Git LFS files (deep/a.bin)"
    assert log == f"[fyre: {said}]\n{POINTER}"
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    record = engine.get_record(run.key)  # as it is written
    engine.close()
    assert record is not None
    text = commit_status.status_from_record(record).description
    assert text.startswith("exit 0 · ")
    assert text.endswith(f" · {said}")


def test_9_33_the_first_three_of_what_is_not_checked_out_are_named(
    repo: Path, tmp_path: Path
) -> None:
    add_submodules(repo, "1" * 40, "a\nb", "long/" * 9 + "part", "c/part", "d", "e")
    said = "[fyre: not checked out: submodules (a\ufffdb, c/part, d and 2 more)]\n"
    assert go(repo, tmp_path, "true") == (RunState.SUCCEEDED, said)
    git("rm", "-q", "--cached", "a\nb", "c/part", "d", cwd=repo)
    git("commit", "-q", "-m", "Less", cwd=repo)
    said = "[fyre: not checked out: submodules (e, …long/long/long/long/long/long/long/part)]\n"
    assert go(repo, tmp_path / "again", "true") == (RunState.SUCCEEDED, said)


def test_9_33_nothing_is_said_where_nothing_is_missing(repo: Path, tmp_path: Path) -> None:
    commit(
        repo,
        __gitattributes="# *.bin filter=lfs\n*.big filter=lfs\n",
        __gitmodules='[submodule "gone"]\n\tpath = gone\n\turl = ../gone\n',
        a__bin=POINTER,  # no file of LFS by its attributes
        a__big="committed as it is\n",
    )
    assert go(repo, tmp_path, "echo ran") == (RunState.SUCCEEDED, "ran\n")


def test_9_33_files_of_lfs_are_taken_from_the_clone(repo: Path, tmp_path: Path) -> None:
    long_name = "n" * 251 + ".bin"
    (repo / long_name).write_text(POINTER)
    (repo / "a.bin.fyre-lfs").touch()
    commit(repo, __gitattributes="*.bin filter=lfs\n", a__bin=POINTER)
    (repo / "a.bin").chmod(0o755)
    commit(repo)
    stored = repo / f".git/lfs/objects/{OID[:2]}/{OID[2:4]}/{OID}"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(OBJECT)
    command = "git ls-files -s | wc -l; cat *.fyre-lfs a.bin; test -x a.bin; cat nn*"
    assert go(repo, tmp_path, command) == (RunState.SUCCEEDED, f"5\n{OBJECT.decode() * 2}")
    git("rm", "-q", long_name, cwd=repo)
    git("commit", "-q", "-m", "Less", cwd=repo)
    stored.write_bytes(b"!" * len(OBJECT))  # damaged
    said = f"[fyre: not checked out: Git LFS files (a.bin)]\n{POINTER}"
    assert go(repo, tmp_path / "again", "cat a.bin") == (RunState.SUCCEEDED, said)


@long_case
def test_9_33_submodules_are_taken_from_the_clone(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    git("clone", "-q", str(repo), str(tmp_path / "inner"), cwd=tmp_path)
    git("clone", "-q", str(repo), str(tmp_path / "outer"), cwd=tmp_path)
    git("submodule", "--quiet", "add", "../inner", "in ner", cwd=tmp_path / "outer")
    git("commit", "-q", "-m", "Inner", cwd=tmp_path / "outer")
    git("submodule", "--quiet", "add", f"{tmp_path}/outer", "deep/outer", cwd=repo)
    git("submodule", "--quiet", "update", "--init", "--recursive", cwd=repo)
    git("commit", "-q", "-m", "Outer", cwd=repo)
    command = "cat 'deep/outer/in ner/README'; git -C deep/outer log --format=%s"
    assert go(repo, tmp_path, command) == (RunState.SUCCEEDED, "hello\nInner\nFirst\n")


def test_9_33_submodules_are_taken_from_the_forge(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {
        "../lib.git": True,
        "../../ada/lib": True,
        "http://127.0.0.1:7717/ada/lib.git": True,
        "git@example.org:ada/lib.git": True,
        "../other": False,
        "../../../ada/lib": False,
        "../..": False,
    }
    store = RepositoryStore(tmp_path / "forge", itertools.count(1).__next__)
    for name in ("app", "lib"):
        bare = store.get_or_create(f"ada/{name}").git_dir
        git("push", "-q", str(bare), "HEAD:main", cwd=repo)
    head = git("rev-parse", "HEAD", cwd=repo)
    lines = [
        f'[submodule "{number}"]\n\tpath = part/{number}\n\turl = {url}\n'
        for number, url in enumerate(urls)
    ]
    (repo / ".gitmodules").write_text("".join(lines))
    git("add", ".gitmodules", cwd=repo)
    add_submodules(repo, head, *(f"part/{number}" for number, _ in enumerate(urls)))
    git("push", "-q", str(tmp_path / "forge/ada/app.git"), "HEAD:main", cwd=repo)
    run = make_run(git("rev-parse", "HEAD", cwd=repo), "true")
    log = SegmentedLogWriter(str(tmp_path / "log"), 1024)

    def find_parts(work: Path) -> list[bool]:
        job = run_dir.build_supervisor_job(run, store.git_dir_for_name("ada/app"), work)
        checkout.create_checkout(job, str(work), log, None)
        (missing,) = CodeParts(job, None).add_to(str(work))
        assert missing.startswith("submodules (part/")
        return [(work / f"part/{number}/README").exists() for number, _ in enumerate(urls)]

    assert find_parts(tmp_path / "work") == list(urls.values())
    monkeypatch.setattr(code_parts, "_SUBMODULES_MAX", 2)  # as of a repository in itself
    assert find_parts(tmp_path / "bounded") == [True] * 2 + [False] * 5
    log.close()


def test_9_33_a_checkout_that_fails_on_this_machine_leaves_nothing(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = list(tmp_path.iterdir())
    repo_paths = snapshot.locate_repo(repo)
    sha = git("rev-parse", "HEAD", cwd=repo)
    (repo / ".git/shallow").mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        local_run.create_checkout(repo_paths, sha)
    assert list(tmp_path.iterdir()) == before


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
    said = "[fyre: not checked out: submodules (part)]\nREADME\npart\n"
    assert go(repo, tmp_path, "ls -A part; ls") == (RunState.SUCCEEDED, said)


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
