"""Commits are read from the objects themselves: exact bytes, their own encoding, parents."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fyre.errors import TooLargeError
from fyre.git import history, message_encoding
from fyre.git.commit_reader import LocalCommitReader, parse_commit
from fyre.github.errors import NotFoundError
from fyre.message import request
from fyre.runs.run import Repository
from tests.conftest import git
from tests.support.ci_marks import long_case

REPOSITORY = Repository("http://forge/api", 1, "ada/lab")
AUTHOR = "A <a@example.org> 1700000000 +0100"


@pytest.fixture
def mirrors(repo: Path) -> Iterator[LocalCommitReader]:
    found = LocalCommitReader(lambda _: repo / ".git")
    yield found
    found.close()


def store(repo: Path, message: bytes, *headers: str) -> str:
    """A commit object made byte by byte."""
    (sha,) = store_all(repo, [(message, *headers)])
    return sha


def store_all(repo: Path, commits: list[tuple[Any, ...]]) -> list[str]:
    """Commit objects, each of a message and headers, made byte by byte by one git."""
    tree, parent = git("rev-parse", "HEAD^{tree}", "HEAD", cwd=repo).split()
    start = [f"tree {tree}", f"parent {parent}", f"author {AUTHOR}", f"committer {AUTHOR}"]
    for number, (message, *headers) in enumerate(commits):
        raw = "\n".join([*start, *headers]).encode() + b"\n\n" + message
        (repo / f".git/raw{number}").write_bytes(raw)
    command = ["hash-object", "-t", "commit", "-w", "--literally", "--no-filters", "--stdin-paths"]
    paths = "".join(f".git/raw{number}\n" for number in range(len(commits)))
    return git(*command, cwd=repo, stdin=paths).split()


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
        (b"S\n\nFyre-Run: echo \x81", ("encoding CP1252",), "echo \udc81"),
        (b"S\n\nFyre-Run: echo \xe9", (), "echo \udce9"),
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


def hidden(codec: str) -> bytes:
    """A message whose trailer only Python sees: git and GitHub show other words."""
    text = "S\n\nFyre-Run: curl example.org\n"
    if codec == "utf-7":
        return b"S\n\n+AEY-yre-Run: curl example.org\n"
    if codec in ("unicode_escape", "raw_unicode_escape"):
        return b"S\\u000a\\u000a\\u0046yre-Run: curl example.org\n"
    return text.encode("utf-8" if codec == "punycode" else codec)


@pytest.mark.parametrize(
    "codec",
    ["unicode_escape", "raw_unicode_escape", "utf-7", "punycode", "idna", "utf-16", "utf-16-le",
     "utf-32", "cp037", "cp1026", "utf_8_sig", "utf-8//IGNORE", "latin-1//TRANSLIT", "mbcs",
     "x\ty", "hz", "utf8 "],
)  # fmt: skip
def test_9_a1_a_codec_that_is_no_encoding_of_gits_is_refused_by_name(
    repo: Path, mirrors: LocalCommitReader, codec: str
) -> None:
    try:
        message = hidden(codec)
    except LookupError:
        message = hidden("utf-8")
    commit = mirrors.read_commit(REPOSITORY, store(repo, message, f"encoding {codec}"))
    assert commit.message == ""
    assert f"encoding {codec!r} is not read" in commit.message_problem


def test_9_a1_an_old_commit_in_an_encoding_of_gits_is_left_in_peace(
    repo: Path, mirrors: LocalCommitReader
) -> None:
    quiet = store(repo, "S 你好\n".encode("gb18030"), "encoding GB18030")
    assert mirrors.read_commit(REPOSITORY, quiet).message_problem == ""
    asking = store(repo, b"S\n\nFyre-Run: make\n", "encoding GB18030")
    assert "'GB18030' is not read" in mirrors.read_commit(REPOSITORY, asking).message_problem


def git_shows(repo: Path, *shas: str) -> list[bytes]:
    """The messages of commits, as git shows them."""
    command = ["git", "log", "-z", "--no-walk=unsorted", "--encoding=UTF-8",
               "--no-show-signature", "--format=tformat:%B", *shas]  # fmt: skip
    done = subprocess.run(command, cwd=repo, capture_output=True, check=True)
    return done.stdout.split(b"\0")[:-1]


def commits_in(name: str) -> list[tuple[bytes, str]]:
    """Return messages in an encoding, and the headers that name it."""
    random = Random(name)
    valid = "".join(map(chr, range(0xA0, 0x17F))) + "абвгдежзπρστあいう你好한국"
    bytes_of = valid.encode(message_encoding.CODECS[name], "ignore") + bytes(range(32, 127))
    commits = []
    for number in range(12):
        size = random.randrange(1, 60)
        noise = random.choice([bytes_of, bytes(range(1, 256))])
        # What git strips and cuts from any message is not what is compared here.
        text = bytes(random.choice(noise) for _ in range(size)).replace(b"\n", b"").strip()
        message = b"S\n\nFyre-Run: echo " + (text if number else b"plain") + b".\n"
        commits.append((message, f"encoding {name.upper() if number % 2 else name}"))
    return commits


def test_9_a1_each_allowed_encoding_is_read_as_git_shows_it(
    repo: Path, mirrors: LocalCommitReader
) -> None:
    written = [(name, one) for name in sorted(message_encoding.CODECS) for one in commits_in(name)]
    shas = store_all(repo, [commit for _, commit in written])
    for (name, _), sha, shown in zip(written, shas, git_shows(repo, *shas), strict=True):
        commit = mirrors.read_commit(REPOSITORY, sha)
        if commit.message_problem:
            codec = message_encoding.CODECS[name]
            assert codec in ("gbk", "euc_kr", "euc_jp", "shift_jis"), name
        else:
            assert commit.message.encode(errors="surrogateescape") == shown, name


def test_9_a1_a_byte_of_the_header_that_can_not_be_re_encoded_counts(
    repo: Path, mirrors: LocalCommitReader
) -> None:
    headers = ("x-name \u00c1", "encoding CP1252")  # 0x81 is nothing in CP1252
    sha = store(repo, "S\n\nFyre-Run: echo \u00e9\n".encode(), *headers)
    assert mirrors.read_commit(REPOSITORY, sha).message.encode() == git_shows(repo, sha)[0]


def test_9_a1_megabytes_are_not_decoded() -> None:
    head = b"tree x\nencoding punycode\n\n"
    assert parse_commit("a" * 40, head + b"a" * 5_000_000).message_problem == ""
    asking = parse_commit("a" * 40, head + b"S\n\nFyre-Run: x\n" + b"a" * 5_000_000)
    assert (asking.message, asking.message_problem) == ("", request.TOO_LONG)
    near_limit = parse_commit("a" * 40, head + b"-" * 4_000_000)
    assert "'punycode' is not read" in near_limit.message_problem


@long_case
def test_9_b16_what_is_larger_than_32_mib_is_named(repo: Path, mirrors: LocalCommitReader) -> None:
    large = b"x" * (33 << 20)
    commit = mirrors.read_commit(REPOSITORY, store(repo, b"S\n\n" + large))
    assert commit.message_problem == "the commit's message is larger than 32 MiB"
    assert commit.parents == (git("rev-parse", "HEAD", cwd=repo),)
    (repo / ".fyre.yaml").write_bytes(large)
    git("add", ".fyre.yaml", cwd=repo)
    git("commit", "-q", "-m", "Large", cwd=repo)
    with pytest.raises(TooLargeError, match=r"\.fyre\.yaml is larger than 32 MiB"):
        mirrors.read_file(REPOSITORY, "HEAD", ".fyre.yaml")
    assert mirrors.read_file(REPOSITORY, "HEAD", "README") == b"hello\n"  # nothing is left behind


def test_9_a1_the_history_is_read_by_the_same_rules(repo: Path) -> None:
    odd = store(repo, b"S\n\nFyre-Run: \\u0041\n", "encoding unicode_escape")
    latin = store(repo, b"S\n\nFyre-Run: \xe9\n", "encoding latin1")
    assert [*history.find_run_commits([odd], 5, repo)] == [(odd, "")]
    assert [*history.find_run_commits([latin], 5, repo)] == [(latin, "S\n\nFyre-Run: é\n")]
