from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre import asked, cli, ident, lab
from fyre import git as fyre_git

Git = Callable[..., str]
LAB = "refs/heads/fyre/ada"


@pytest.fixture
def far(tmp_path: Path, repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bare repository to push to, which has what ``repo`` has; we stand in ``repo``."""
    path = tmp_path / "far.git"
    git("init", "-q", "--bare", str(path), cwd=tmp_path)
    git("remote", "add", "origin", f"file://{path}", cwd=repo)
    git("push", "-q", "-u", "origin", "main", cwd=repo)
    monkeypatch.chdir(repo)
    return path


def world(repo: Path, git: Git) -> dict[str, object]:
    """All that a snapshot must leave as it is, down to time stamps."""
    git_dir = Path(git("rev-parse", "--absolute-git-dir", cwd=repo))
    index = git_dir / "index"
    refs = git("for-each-ref", cwd=repo).splitlines()
    files = [path for path in repo.rglob("*") if ".git" not in path.relative_to(repo).parts]
    return {
        "head": (git_dir / "HEAD").read_bytes(),
        "index": (index.read_bytes(), index.stat().st_mtime_ns, index.stat().st_mode) if index.exists() else None,
        "git files": sorted(path.name for path in git_dir.iterdir() if path.name != "logs"),
        "config": git("config", "--list", "--local", cwd=repo),
        "refs": [ref for ref in refs if "refs/fyre/lab/" not in ref and "origin/fyre/" not in ref],
        "files": {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in files},
        "status": git("--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=all", cwd=repo),
        "worktrees": git("worktree", "list", cwd=repo),
    }


@pytest.fixture
def run(repo: Path, git: Git) -> Callable[..., int]:
    """``run(*options)``: `fyre run --detach … -- true`, held to leave everything as it was."""

    def go(*options: str, at: Path = repo) -> int:
        before = world(at, git)
        code = cli.main(["run", "--detach", *options, "--", "true"])
        assert world(at, git) == before
        return code

    return go


def files_of(far: Path, git: Git, rev: str = LAB) -> dict[str, str]:
    """Mode and path → content of a commit there."""
    rows = [row.split("\t") for row in git("ls-tree", "-r", rev, cwd=far).splitlines()]
    return {f"{facts[:6]} {path}": git("cat-file", "-p", facts.split()[2], cwd=far) for facts, path in rows}


def test_everything_is_taken_as_it_is(repo: Path, far: Path, git: Git, run, capfd: pytest.CaptureFixture[str]) -> None:
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
    wants = asked.read(git("log", "-1", "--format=%B", LAB, cwd=far))
    assert ([spec.command for spec in wants.runs], wants.problems, wants.fyre_from) == (["true"], (), head)
    assert ident.valid(wants.fyre_id)
    assert git("for-each-ref", "--format=%(refname)", cwd=far).split() == [LAB, "refs/heads/main"]


def test_the_notebook_goes_on_page_by_page(repo: Path, far: Path, git: Git, run) -> None:
    for _ in range(2):
        assert run("-m", "An attempt") == 0
    head = git("rev-parse", "HEAD", cwd=repo)
    assert git("log", "-1", "--format=%P", LAB, cwd=far) == f"{git('rev-parse', f'{LAB}^1', cwd=far)} {head}"
    assert git("rev-list", "--count", "--first-parent", f"main..{LAB}", cwd=far) == "2"
    assert git("rev-parse", f"{LAB}^{{tree}}", cwd=far) == git("rev-parse", "main^{tree}", cwd=far)
    assert "\n\nAn attempt\n\nFyre-Run: true" in git("log", "-1", "--format=%B", LAB, cwd=far)


def test_a_change_of_the_same_size_at_the_same_time_is_seen(repo: Path, far: Path, git: Git, run) -> None:
    then = (repo / ".git/index").stat().st_mtime_ns
    (repo / "README").write_text("HELLO\n")
    git("add", "README", cwd=repo)
    index = repo / ".git/index"
    (repo / "README").write_text("WORLD\n")
    for path in (repo / "README", index):
        os.utime(path, ns=(then, then))
    git("update-index", "--cacheinfo", f"100644,{git('rev-parse', 'HEAD:README', cwd=repo)},README", cwd=repo)
    git("config", "core.trustctime", "false", cwd=repo)
    assert run() == 0
    assert files_of(far, git)["100644 README"] == "WORLD"


def test_below_the_top_the_whole_tree_is_taken(repo: Path, *, far: Path, git: Git, monkeypatch, run, capfd) -> None:
    (repo / "sub").mkdir()
    (repo / "sub/x").write_text("x\n")
    (repo / "README").write_text("changed\n")
    monkeypatch.chdir(repo / "sub")
    assert run() == 0
    assert files_of(far, git) == {"100644 README": "changed", "100644 sub/x": "x"}
    assert "--workdir sub runs it here" in capfd.readouterr().err


def test_two_machines_at_once(repo: Path, far: Path, git: Git, tmp_path: Path) -> None:
    places = [repo, tmp_path / "other"]
    git("clone", "-q", f"file://{far}", str(places[1]), cwd=tmp_path)
    words = "from fyre import cli; import sys; sys.exit(max(cli.main(['run', '-d', f'echo {n}']) for n in range(4)))"
    both = [subprocess.Popen([sys.executable, "-c", words], cwd=place, stdout=-1, stderr=-1) for place in places]
    answers = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], answers
    shas = {sha for out, _ in answers for sha in out.decode().split()}
    assert set(git("rev-list", "--first-parent", f"main..{LAB}", cwd=far).split()) == shas
    assert len(shas) == 8


def test_a_second_machine_writes_on_the_same_notebook(
    repo: Path, far: Path, git: Git, tmp_path: Path, monkeypatch
) -> None:
    assert cli.main(["run", "-d", "true"]) == 0
    git("clone", "-q", f"file://{far}", "other", cwd=tmp_path)
    git("config", "--add", "remote.origin.fetch", "^refs/heads/fyre/*", cwd=tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    assert cli.main(["run", "-d", "true"]) == 0
    monkeypatch.chdir(repo)
    assert cli.main(["run", "-d", "true"]) == 0  # what is remembered here is not the tip any more
    assert git("rev-list", "--count", "--first-parent", f"main..{LAB}", cwd=far) == "3"


def test_a_notebook_that_was_thrown_away_begins_with_what_is_known(repo: Path, far: Path, git: Git, run) -> None:
    run()
    git("update-ref", "-d", LAB, cwd=far)
    assert run() == 0
    assert git("rev-list", "--count", "--first-parent", f"main..{LAB}", cwd=far) == "2"


@pytest.mark.parametrize("flags", [["--cone"], ["--no-cone"], ["--cone", "--sparse-index"]], ids="-".join)
def test_a_sparse_checkout_loses_nothing(repo: Path, far: Path, git: Git, run, flags: list[str]) -> None:
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
    assert (found["100644 in/file"], found["100644 out/file"], found["100644 out/new"]) == ("changed", "out", "new")
    assert "100644 README" in found


def test_a_shallow_clone_stays_as_shallow(repo: Path, *, far: Path, git: Git, tmp_path: Path, monkeypatch, run) -> None:
    assert cli.main(["run", "-d", "true"]) == 0
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", str(number), cwd=repo)
    git("push", "-q", cwd=repo)
    other = tmp_path / "other"
    git("clone", "-q", "--depth=1", f"file://{far}", str(other), cwd=tmp_path)
    shallow = (other / ".git/shallow").read_bytes()
    monkeypatch.chdir(other)
    for _ in range(2):
        assert run(at=other) == 0
    assert (other / ".git/shallow").read_bytes() == shallow
    assert git("rev-list", "--count", "HEAD", cwd=other) == "1"
    assert git("rev-list", "--count", "--first-parent", LAB, cwd=far) == "4"
    assert git("rev-list", "--count", f"{LAB}^2", cwd=far) == "4"
    git("fsck", "--strict", cwd=far)


@pytest.fixture
def vendor(repo: Path, far: Path, git: Git, tmp_path: Path, monkeypatch) -> Path:
    """A submodule of ``repo`` with a remote of its own."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    git("clone", "-q", "--bare", f"file://{far}", "vendor.git", cwd=tmp_path)
    git("submodule", "--quiet", "add", f"file://{tmp_path}/vendor.git", "vendor", cwd=repo)
    git("commit", "-q", "-m", "Vendor", cwd=repo)
    git("push", "-q", cwd=repo)
    return repo / "vendor"


def test_submodules_are_taken_when_others_can_have_them(repo: Path, far: Path, git: Git, vendor: Path, run) -> None:
    assert run() == 0
    git("commit", "-q", "--allow-empty", "-m", "On", cwd=vendor)
    git("push", "-q", cwd=vendor)
    assert run() == 0
    assert git("rev-parse", f"{LAB}:vendor", cwd=far) == git("rev-parse", "HEAD", cwd=vendor)


def test_submodules_are_refused_when_others_can_not(
    repo: Path, *, far: Path, git: Git, vendor: Path, run, capfd
) -> None:
    (vendor / "README").write_text("changed\n")
    assert run() == 1
    assert "a submodule has changes of its own: vendor" in capfd.readouterr().err
    git("commit", "-q", "-am", "Mine alone", cwd=vendor)
    assert run() == 1
    assert "a submodule is at a commit that is not pushed: vendor" in capfd.readouterr().err
    git("commit", "-q", "-am", "Vendor moved", cwd=repo)
    assert run("--yes") == 1  # committed here does not help
    err = capfd.readouterr().err
    assert "not pushed: vendor" in err
    assert "git -C vendor push" in err
    git("push", "-q", cwd=vendor)
    assert run("--yes") == 0


def test_a_repository_git_was_not_told_of_is_refused(repo: Path, far: Path, git: Git, run, capfd) -> None:
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


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signs with ssh-keygen")
def test_snapshots_are_signed_where_commits_are(repo: Path, *, far: Path, git: Git, run, tmp_path: Path, capfd) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    for key, value in {"gpg.format": "ssh", "user.signingKey": str(tmp_path / "key"), "commit.gpgSign": "true"}.items():
        git("config", key, value, cwd=repo)
    assert run() == 0
    assert "BEGIN SSH SIGNATURE" in git("cat-file", "commit", LAB, cwd=far)
    git("config", "user.signingKey", str(tmp_path / "nosuch"), cwd=repo)
    assert run() == 1
    assert "nosuch" in capfd.readouterr().err


def test_a_gpg_that_fails_is_a_failure(repo: Path, far: Path, git: Git, run, capfd) -> None:
    git("config", "gpg.program", "false", cwd=repo)
    git("config", "commit.gpgSign", "true", cwd=repo)
    assert run() == 1
    assert "gpg failed to sign the data" in capfd.readouterr().err
    assert LAB not in git("for-each-ref", cwd=far)


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
    wants = asked.read(git("log", "-1", "--format=%B", LAB, cwd=far))
    assert (git("log", "-1", "--format=%P", LAB, cwd=far), wants.fyre_from, wants.problems) == ("", fyre_git.ZERO, ())


def test_filters_and_line_ends_are_gits(repo: Path, far: Path, git: Git, run) -> None:
    git("config", "core.autocrlf", "true", cwd=repo)
    git("config", "filter.upper.clean", "tr a-z A-Z", cwd=repo)
    (repo / ".gitattributes").write_text("*.up filter=upper\n")
    (repo / "a.up").write_text("up\n")
    (repo / "crlf").write_bytes(b"a\r\nb\r\n")
    assert run() == 0
    assert git("cat-file", "-p", f"{LAB}:a.up", cwd=far) == "UP"
    assert git("cat-file", "-s", f"{LAB}:crlf", cwd=far) == "4"


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_what_git_was_told_to_overlook_is_said(repo: Path, *, far: Path, git: Git, run, capfd, bit: str) -> None:
    git("update-index", bit, "README", cwd=repo)
    (repo / "README").write_text("mine\n")
    assert run() == 0
    assert files_of(far, git) == {"100644 README": "hello"}
    err = capfd.readouterr().err
    assert "kept as committed" in err
    assert "README" in err


@pytest.mark.parametrize("kind", ["split", "read-only", "untracked-cache", "fsmonitor", "version 4"])
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


def test_what_should_not_be_published_is_asked_about(repo: Path, far: Path, git: Git, run, capfd) -> None:
    (repo / ".env").write_text("x\n")
    (repo / ".env.example").write_text("x\n")
    (repo / "notes").write_text("\n-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (repo / "big").write_bytes(b"\0" * 2_000_000)
    git("config", "fyre.large", "1m", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "Not pushed", cwd=repo)
    assert run() == 1
    err = capfd.readouterr().err
    assert ".env looks secret" in err
    assert "notes holds a private key" in err
    assert "big is large (2.0 MB)" in err
    assert "Not pushed is not published yet" in err
    assert "hint: --yes" in err
    assert "example" not in err
    assert LAB not in git("for-each-ref", cwd=far)
    assert run("--yes") == 0
    (repo / ".env").unlink()
    (repo / "notes").unlink()
    (repo / "big").unlink()
    assert run() == 0  # the commit is published by now: by the notebook


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 1), (b"no\n", 1)])
def test_on_a_terminal_it_asks(repo: Path, far: Path, git: Git, answer: bytes, code: int) -> None:
    (repo / ".netrc").write_text("x\n")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    words = [sys.executable, "-m", "fyre", "run", "-d", "true"]
    done = subprocess.run(words, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, check=False)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == code
    assert ".netrc looks secret by its name" in said
    assert "Publish it? [y/N]" in said
    assert (LAB in git("for-each-ref", cwd=far)) is (code == 0)


@pytest.mark.parametrize(
    ("own", "email", "name"),
    [
        ("", "Ada.Lovelace@example.org", "ada.lovelace"),
        ("", "12345+ada@users.noreply.github.com", "ada"),
        ("", "ada and~co..lock@x", "ada-and-co"),
        ("grace", "ada@example.org", "grace"),
        ("", "@x", ""),
    ],
)
def test_whose_notebook_it_is(repo: Path, far: Path, git: Git, run, capfd, *, own: str, email: str, name: str):
    git("config", "user.email", email, cwd=repo)
    if own:
        git("config", "fyre.user", own, cwd=repo)
    assert run() == (0 if name else 1)
    if name:
        assert f"refs/heads/fyre/{name}" in git("for-each-ref", "--format=%(refname)", cwd=far)
    else:
        assert "git config fyre.user NAME" in capfd.readouterr().err


def test_no_name_makes_a_bad_ref() -> None:
    for text in ("-a", ".a", "a.", "a.lock", "a..b", "a b", "ä", "..", "a/b", "A@{1}"):
        name = lab.sanitised(text)
        assert (
            not name
            or subprocess.run(["git", "check-ref-format", f"refs/heads/fyre/{name}"], check=False).returncode == 0
        )


def test_hooks_see_the_push_and_may_refuse_it(repo: Path, far: Path, git: Git, run, capfd) -> None:
    hook = repo / ".git/hooks/pre-push"
    hook.write_text('#!/bin/sh\ncat >> "$(git rev-parse --git-common-dir)/seen"\necho told >&2\n')
    hook.chmod(0o755)
    (repo / ".git/seen").touch()
    assert run() == 0
    assert (repo / ".git/seen").read_text().split()[2] == LAB
    assert "told" in capfd.readouterr().err
    hook.write_text("#!/bin/sh\necho not like this >&2\nexit 1\n")
    assert run() == 1
    err = capfd.readouterr().err
    assert err.count("not like this") == 1
    assert "hint: git push origin" in err


def test_a_remote_that_refuses_says_why(repo: Path, far: Path, git: Git, run, capfd) -> None:
    hook = far / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho closed for today\nexit 1\n")
    hook.chmod(0o755)
    assert run() == 1
    assert "pre-receive hook declined" in capfd.readouterr().err
    shutil.move(far, far.parent / "gone")
    assert run() == 1
    assert "was not pushed to origin" in capfd.readouterr().err


def test_only_the_notebook_is_pushed_and_fetched(repo: Path, far: Path, git: Git, run) -> None:
    git("config", "push.followTags", "true", cwd=repo)
    git("tag", "-a", "-m", "mine", "mine", cwd=repo)
    git("branch", "private", cwd=repo)
    assert run() == 0
    assert git("for-each-ref", "--format=%(refname)", cwd=far).split() == [LAB, "refs/heads/main"]
    assert git("for-each-ref", "--format=%(refname)", "refs/fyre", cwd=repo) == "refs/fyre/lab/origin/ada"
