"""Commits are read from the objects themselves: exact bytes, their own encoding, parents."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fyre.git.commit_reader import LocalCommitReader, parse_commit
from fyre.github.errors import NotFoundError
from fyre.message import request
from fyre.runs.run import Repository
from tests.conftest import git

REPOSITORY = Repository("http://forge/api", 1, "ada/lab")
AUTHOR = "A <a@example.org> 1700000000 +0100"


@pytest.fixture
def mirrors(repo: Path) -> Iterator[LocalCommitReader]:
    found = LocalCommitReader(lambda _: repo / ".git")
    yield found
    found.close()


def store(repo: Path, message: bytes, *headers: str) -> str:
    """A commit object made byte by byte."""
    tree = git("rev-parse", "HEAD^{tree}", cwd=repo)
    lines = [
        f"tree {tree}",
        f"parent {git('rev-parse', 'HEAD', cwd=repo)}",
        f"author {AUTHOR}",
        f"committer {AUTHOR}",
        *headers,
    ]
    raw = "\n".join(lines).encode() + b"\n\n" + message
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"]
    done = subprocess.run(command, cwd=repo, input=raw, capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_the_branches_that_a_commit_is_on_and_no_other_refs(
    repo: Path, mirrors: LocalCommitReader
) -> None:
    first, loose = git("rev-parse", "HEAD", cwd=repo), store(repo, b"Loose\n")
    git("branch", "release/1", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("tag", "v1", loose, cwd=repo)
    git("update-ref", "refs/pull/1/head", loose, cwd=repo)
    assert mirrors.branches_containing(REPOSITORY, first) == [
        "refs/heads/main",
        "refs/heads/release/1",
    ]
    assert mirrors.branches_containing(REPOSITORY, git("rev-parse", "HEAD", cwd=repo)) == [
        "refs/heads/main"
    ]
    for elsewhere in (loose, "0" * 40, "--format=%(objectname)", ""):
        assert mirrors.branches_containing(REPOSITORY, elsewhere) == []


def test_the_facts_of_a_commit(repo: Path, mirrors: LocalCommitReader) -> None:
    sha = store(repo, b"S\n\nFyre-Run: make\n")
    commit = mirrors.read_commit(REPOSITORY, sha)
    assert (commit.sha, commit.tree) == (sha, git("rev-parse", "HEAD^{tree}", cwd=repo))
    assert commit.parents == (git("rev-parse", "HEAD", cwd=repo),)
    assert (commit.message, commit.committed_at) == ("S\n\nFyre-Run: make\n", 1700000000.0)


@pytest.mark.parametrize(
    ("message", "headers", "command"),
    [
        ("S\n\nFyre-Run: echo é".encode("latin-1"), ("encoding ISO-8859-1",), "echo é"),
        ("S\n\nFyre-Run: echo é".encode(), ("encoding utf8",), "echo é"),
        ("S\n\nFyre-Run: echo あ".encode("shift-jis"), ("encoding Shift_JIS",), "echo あ"),
        (b"S\n\nFyre-Run: echo \xe9", (), "echo \udce9"),
        (b"S\n\nFyre-Run: echo \xe9", ("encoding no-such-thing",), "echo \udce9"),
        (b"S\r\n\r\nFyre-Run: echo a\r\n", (), "echo a"),
        (b"S\n\nFyre-Run: echo a\0b\n", (), "echo a"),
        (b"S\n\nFyre-Run: echo $(x) `y` ##vso\n", (), "echo $(x) `y` ##vso"),
        (b"S\n\nFyre-Run: " + b"x" * 60_000 + b"\n", (), "x" * 60_000),
        (
            b"S\n\nFyre-Run: a\n",
            ("gpgsig -----BEGIN PGP SIGNATURE-----", " tree fake", " -----END PGP SIGNATURE-----"),
            "a",
        ),
    ],
)
def test_a_message_is_read_as_its_commit_says(
    repo: Path, mirrors: LocalCommitReader, message: bytes, headers: tuple[str, ...], command: str
) -> None:
    commit = mirrors.read_commit(REPOSITORY, store(repo, message, *headers))
    (spec,) = request.parse_message(commit.message).runs
    assert spec.command == command
    os.fsencode(spec.command)  # whatever the bytes were, they reach the shell as they were


def test_a_megabyte_line_is_a_problem_and_no_crash(repo: Path, mirrors: LocalCommitReader) -> None:
    commit = mirrors.read_commit(REPOSITORY, store(repo, b"S\n\nFyre-Run: " + b"x" * 1_000_000))
    (problem,) = request.parse_message(commit.message).problems
    assert "the command is 1,000,000 bytes long" in problem.message


def test_what_is_not_there(repo: Path, mirrors: LocalCommitReader) -> None:
    with pytest.raises(NotFoundError):
        mirrors.read_commit(REPOSITORY, "f" * 40)
    with pytest.raises(NotFoundError):
        mirrors.read_commit(REPOSITORY, git("rev-parse", "HEAD^{tree}", cwd=repo))
    with pytest.raises(NotFoundError):
        mirrors.list_ancestors(REPOSITORY, "f" * 40, 5)
    assert mirrors.read_file(REPOSITORY, "HEAD", "nope") is None
    assert mirrors.read_file(REPOSITORY, "HEAD", "README") == b"hello\n"


def test_commits_pushed_later_are_seen_by_the_same_reader(
    repo: Path, mirrors: LocalCommitReader
) -> None:
    mirrors.read_commit(REPOSITORY, git("rev-parse", "HEAD", cwd=repo))
    sha = store(repo, b"Later\n")
    git("repack", "-a", "-d", "-q", cwd=repo)
    assert mirrors.read_commit(REPOSITORY, sha).message == "Later\n"
    assert mirrors.list_ancestors(REPOSITORY, sha, 5)[-1] == sha


def test_a_broken_commit_is_older_than_any_history() -> None:
    assert parse_commit("a" * 40, b"tree x\ncommitter nobody\n\nm").committed_at == 0.0
