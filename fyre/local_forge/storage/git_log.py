"""Read commits in bulk.

One ``git log`` serves a whole push or page; there is never a process for each commit.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fyre.git import git_command

_LOG_FORMAT = "%x00".join(["%H", "%T", "%P", "%an", "%ae", "%aI", "%cn", "%ce", "%cI", "%B"])
_FIELD_COUNT = _LOG_FORMAT.count("%x00") + 1

MESSAGE_BYTES_MAX = 64 * 1024
"""Bytes kept of a message; the command to run is read from the commit object, not from this."""

EPOCH_DATE = "1970-01-01T00:00:00Z"
"""Replaces a date that git can't read."""


@dataclass(frozen=True, slots=True)
class Person:
    """An author or a committer. ``date`` is ISO 8601."""

    name: str
    email: str
    date: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One commit as ``git log`` shows it."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


def read_git_log(git_dir: Path, revisions: Iterable[str], *options: str) -> list[LogEntry]:
    """Return the commits of ``revisions`` (``^SHA`` excludes) in topological order, newest first.

    Missing objects are skipped. Raises ``OSError`` if git fails.
    """
    format_options = (f"--format=tformat:{_LOG_FORMAT}", "--topo-order", "--encoding=UTF-8")
    process = _start_git(git_dir, revisions, "log", "-z", *format_options, *options)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with process:
        entries = [_parse_entry(fields) for fields in _split_records(process.stdout)]
    _check_exit_code(process)
    return entries


def rev_list(git_dir: Path, revisions: Iterable[str], *options: str) -> frozenset[str]:
    """Return only the SHAs of the commits that ``read_git_log`` returns."""
    with _start_git(git_dir, revisions, "rev-list", *options) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        shas = frozenset(line.decode().strip() for line in process.stdout)
    _check_exit_code(process)
    return shas


def count_ahead_behind(git_dir: Path, left: str, right: str) -> tuple[int, int]:
    """Return how many commits only the left one has, and how many only the right one."""
    command = ("rev-list", "--left-right", "--count", f"{left}...{right}")
    result = git_command.run_git(f"--git-dir={git_dir}", *command, env=git_command.clean_env())
    only_left, only_right = result.stdout.split()
    return int(only_left), int(only_right)


def merge_base(git_dir: Path, left: str, right: str) -> str | None:
    """Return the newest commit that both have; None for unrelated histories."""
    command = (f"--git-dir={git_dir}", "merge-base", left, right)
    result = git_command.run_git(*command, env=git_command.clean_env(), check=False)
    return result.stdout.decode().strip() or None


def is_ancestor(git_dir: Path, old: str, new: str) -> bool:
    """Return True if the old commit is in the history of the new one.

    Dates play no part in this; ``rev-list`` goes by dates.
    """
    command = (f"--git-dir={git_dir}", "merge-base", "--is-ancestor", old, new)
    result = git_command.run_git(*command, env=git_command.clean_env(), check=False)
    return result.returncode == 0


def list_parents(git_dir: Path, sha: str) -> list[str]:
    """Return the parents of a commit. Raises ``OSError`` if git fails."""
    return list(read_git_log(git_dir, [sha], "--max-count=1")[0].parents)


def _start_git(git_dir: Path, revisions: Iterable[str], *command: str) -> subprocess.Popen[bytes]:
    """Start git and write the revisions to it.

    Git reads all of its input before it writes any output, so writing first can't deadlock.
    """
    process = subprocess.Popen(
        ["git", f"--git-dir={git_dir}", *command, "--ignore-missing", "--stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=git_command.clean_env(),
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    # Where git ended at once, its exit code says so, and whoever has the process waits for it.
    with suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write("".join(f"{revision}\n" for revision in revisions).encode())
    return process


def _check_exit_code(process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        command = process.args[2] if isinstance(process.args, list) else ""
        raise OSError(f"git {command} failed: {process.returncode}")


def _split_records(stream: IO[bytes]) -> Iterator[list[bytes]]:
    fields: list[bytes] = []
    for field in _split_fields(stream):
        fields.append(field)
        if len(fields) == _FIELD_COUNT:
            yield fields
            fields = []


def _split_fields(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the text before each NUL, cut at ``MESSAGE_BYTES_MAX``.

    The rest of a huge message (a gigabyte, say) is read and dropped.
    """
    pending = b""
    while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined] # it is a BufferedReader
        first, *rest = chunk.split(b"\0")
        pending += first[: max(0, MESSAGE_BYTES_MAX - len(pending))]
        for field in rest:
            yield pending
            pending = field[:MESSAGE_BYTES_MAX]


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
