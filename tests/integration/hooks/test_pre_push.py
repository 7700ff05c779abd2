from __future__ import annotations

import contextlib
import os
import pty
import re
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.git import submodules
from fyre.message import fyre_ids
from tests.support.first_push import push_to_bare


@pytest.fixture(autouse=True)
def far(hooked: Path, tmp_path: Path) -> Path:
    path = tmp_path / "far.git"
    push_to_bare(hooked, path, str(path))
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


def test_9_a8_a_credential_is_warned_of_before_it_leaves(attempt) -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    commit(attempt, f"One\n\nFyre-Run: TOKEN={token} python x")
    commit(attempt, "Two\n\nFyre-Run: python x")
    done = attempt("push", "origin", "main")
    assert done.returncode == 0
    assert done.stderr.count("what looks like a credential is in") == 1
    assert token not in done.stderr


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


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_9_40_a_branch_whose_name_is_no_utf_8_is_named(attempt, locale: str) -> None:
    commit(attempt, "One\n\nFyre-Run: one")
    done = attempt("push", "origin", b"main:caf\xe9", LC_ALL=locale)
    assert done.returncode == 0, done.stderr
    (line,) = said(done)
    assert line == r"fyre: nothing runs on caf\xe9: the branch's name is not UTF-8"


def test_9_33_a_submodule_s_commit_that_is_not_pushed_is_named(
    attempt, git, hooked: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    git("clone", "-q", str(hooked), str(hooked / "lib"), cwd=tmp_path)
    (hooked / ".gitmodules").write_text('[submodule "lib"]\n\tpath = lib\n\turl = ../lib\n')
    git("add", ".gitmodules", "lib", cwd=hooked)
    assert submodules.find_unpushed(git("write-tree", cwd=hooked), hooked) == []
    git("commit", "-q", "--allow-empty", "-m", "New", cwd=hooked / "lib")
    assert main.main(["commit", "-a", "--run", "true", "-m", "Not pushed"]) == 0
    note = "note: a submodule is at a commit that is not pushed, so the run can't fetch it: lib"
    assert note in capfd.readouterr().err
    done = attempt("push", "origin", "main")
    assert done.returncode == 0
    assert "is at a commit that is not pushed, so its run can't fetch it: lib\n" in done.stderr
    assert "hint: git push --recurse-submodules=on-demand" in done.stderr
    git("config", "push.recurseSubmodules", "on-demand", cwd=hooked)
    assert submodules.find_unpushed("HEAD", hooked) == []


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


@pytest.fixture
def second(hooked: Path, git, tmp_path: Path) -> Path:
    """Another remote of the same clone."""
    path = tmp_path / "second.git"
    git("init", "-q", "--bare", str(path), cwd=tmp_path)
    git("remote", "add", "second", str(path), cwd=hooked)
    return path


AGAIN = (
    "fyre: 1 commit that asks for runs came to another remote before: if a receiver serves "
    "second, all of it runs again there"
)


def test_9_b18_what_would_run_again_on_a_second_remote_is_said(
    attempt, git, hooked: Path, second: Path
) -> None:
    commit(attempt, "One\n\nFyre-Run: one")
    assert AGAIN not in said(attempt("push", "origin", "main"))
    commit(attempt, "Two\n\nFyre-Run: two")
    done = attempt("push", "second", "main")
    assert done.returncode == 0  # nobody is there to be asked
    assert said(done) == ["fyre: SHA run: one", "fyre: SHA run: two", AGAIN]
    commit(attempt, "Three\n\nFyre-Run: three")
    assert AGAIN not in said(attempt("push", "second", "main"))


@pytest.mark.parametrize("answer", [(b"y\n", 0), (b"\n", 1)])
def test_9_b18_on_a_terminal_it_asks(
    attempt, git, hooked: Path, second: Path, answer: tuple[bytes, int]
) -> None:
    typed, code = answer
    commit(attempt, "One\n\nFyre-Run: one")
    attempt("push", "origin", "main")
    child, terminal = pty.fork()
    if child == 0:  # with a terminal of its own
        os.chdir(hooked)
        os.execvp("git", ["git", "push", "second", "main"])
    shown = b""
    while b"push it? [y/N] " not in shown:
        shown += os.read(terminal, 65536)
    os.write(terminal, typed)
    with contextlib.suppress(OSError):  # how a terminal says that it ends
        while more := os.read(terminal, 65536):
            shown += more
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert AGAIN.encode() in shown.replace(b"\r\n", b"\n")
    assert ("refs/heads/main" in git("for-each-ref", cwd=second)) is (code == 0)
    if code:
        git("config", "remote.second.fyreRunsAgain", "true", cwd=hooked)
        assert said(attempt("push", "second", "main")) == ["fyre: SHA run: one"]


def test_9_a1_a_commit_in_an_encoding_that_no_receiver_reads_is_not_pushed(attempt) -> None:
    text = "Odd\n\nFyre-Run: true"
    attempt("-c", "i18n.commitEncoding=utf-7", "commit", "--allow-empty", "--no-verify", "-m", text)
    done = attempt("push", "origin", "main")
    assert done.returncode != 0
    assert "encoding 'utf-7' is not read: use UTF-8" in done.stderr
