"""Commits in bulk: one ``git log`` for a whole push or a whole page, never a process for each commit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fyre.git import git_command

_LOG_FORMAT = "%x00".join(["%H", "%T", "%P", "%an", "%ae", "%aI", "%cn", "%ce", "%cI", "%B"])
_FIELD_COUNT = _LOG_FORMAT.count("%x00") + 1

MESSAGE_BYTES_MAX = 64 * 1024
"""Bytes kept of a message; what runs is read from the commit object, not from here."""

EPOCH_DATE = "1970-01-01T00:00:00Z"
"""What stands for a date that git can't read."""


@dataclass(frozen=True, slots=True)
class Person:
    """An author or a committer. ``date`` is ISO 8601."""

    name: str
    email: str
    date: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One commit."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


def read_git_log(git_dir: Path, revisions: Iterable[str], *options: str) -> list[LogEntry]:
    """The commits of ``revisions`` (``^SHA`` excludes) in topological order, newest first; missing objects are passed.

    Raises ``OSError`` when git fails.
    """
    process = _start_git(
        git_dir,
        revisions,
        "log",
        "-z",
        f"--format=tformat:{_LOG_FORMAT}",
        "--topo-order",
        "--encoding=UTF-8",
        *options,
    )
    assert process.stdout is not None  # noqa: S101 - asked for as a pipe
    with process:
        entries = [_parse_entry(fields) for fields in _split_records(process.stdout)]
    _check_exit_code(process)
    return entries


def rev_list(git_dir: Path, revisions: Iterable[str], *options: str) -> frozenset[str]:
    """The same commits, by SHA alone."""
    with _start_git(git_dir, revisions, "rev-list", *options) as process:
        assert process.stdout is not None  # noqa: S101 - asked for as a pipe
        found = frozenset(line.decode().strip() for line in process.stdout)
    _check_exit_code(process)
    return found


def count_ahead_behind(git_dir: Path, left: str, right: str) -> tuple[int, int]:
    """How many commits only the left one has, and how many only the right one."""
    said = git_command.run_git(
        f"--git-dir={git_dir}",
        "rev-list",
        "--left-right",
        "--count",
        f"{left}...{right}",
        env=git_command.clean_env(),
    )
    only_left, only_right = said.stdout.split()
    return int(only_left), int(only_right)


def merge_base(git_dir: Path, left: str, right: str) -> str | None:
    """The newest commit that both have; None for unrelated histories."""
    said = git_command.run_git(
        f"--git-dir={git_dir}", "merge-base", left, right, env=git_command.clean_env(), check=False
    )
    return said.stdout.decode().strip() or None


def is_ancestor(git_dir: Path, old: str, new: str) -> bool:
    """Whether the old commit is in the new one's history, whatever their dates say (``rev-list`` goes by dates)."""
    said = git_command.run_git(
        f"--git-dir={git_dir}",
        "merge-base",
        "--is-ancestor",
        old,
        new,
        env=git_command.clean_env(),
        check=False,
    )
    return said.returncode == 0


def _start_git(git_dir: Path, revisions: Iterable[str], *command: str) -> subprocess.Popen[bytes]:
    """Git reads all revisions from its input before it answers, so writing them first can't deadlock."""
    process = subprocess.Popen(
        ["git", f"--git-dir={git_dir}", *command, "--ignore-missing", "--stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=git_command.clean_env(),
    )
    assert process.stdin is not None  # noqa: S101 - asked for as a pipe
    process.stdin.write("".join(f"{revision}\n" for revision in revisions).encode())
    process.stdin.close()
    return process


def _check_exit_code(process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        raise OSError(
            f"git {process.args[2] if isinstance(process.args, list) else ''} failed: {process.returncode}"
        )


def _split_records(stream: IO[bytes]) -> Iterator[list[bytes]]:
    fields: list[bytes] = []
    for field in _split_fields(stream):
        fields.append(field)
        if len(fields) == _FIELD_COUNT:
            yield fields
            fields = []


def _split_fields(stream: IO[bytes]) -> Iterator[bytes]:
    """What stands before each NUL, cut at ``MESSAGE_MAX``: a message of a gigabyte is read past, not kept."""
    kept = b""
    while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined] # BufferedReader has it, IO does not say so
        first, *rest = chunk.split(b"\0")
        kept += first[: max(0, MESSAGE_BYTES_MAX - len(kept))]
        for field in rest:
            yield kept
            kept = field[:MESSAGE_BYTES_MAX]


def _parse_entry(fields: list[bytes]) -> LogEntry:
    sha, tree, parents, *people, message = (field.decode("utf-8", "replace") for field in fields)
    author, committer = Person(*people[:3]), Person(*people[3:])
    return LogEntry(
        sha,
        tree,
        tuple(parents.split()),
        _with_valid_date(author),
        _with_valid_date(committer),
        message.rstrip("\n"),
    )


def _with_valid_date(person: Person) -> Person:
    return person if person.date else Person(person.name, person.email, EPOCH_DATE)
