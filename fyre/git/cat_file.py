"""Git objects without a process for each question: one long-lived ``git cat-file --batch`` a repository."""

from __future__ import annotations

import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fyre.git import git_command

OPEN_READERS_MAX = 16
"""Readers kept open; the one used longest ago is closed first."""

OBJECT_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of an object that are read."""


@dataclass(frozen=True, slots=True)
class GitObject:
    """What git has under a name."""

    sha: str
    type: str  # blob tree commit tag
    content: bytes


class ObjectReader:
    """The objects of many repositories. Thread-safe."""

    def __init__(self) -> None:
        self._processes: OrderedDict[Path, _CatFileProcess] = OrderedDict()
        self._lock = threading.Lock()

    def find_object(self, git_dir: Path, revision: str) -> GitObject | None:
        """What a revision or ``revision:path`` names; None when it names nothing, or something too large."""
        if "\n" in revision or "\0" in revision or not _is_encodable(revision):
            return None
        reader = self._open_process(git_dir)
        try:
            return reader.read_object(revision)
        except (
            OSError,
            ValueError,
        ):  # it died, or another thread closed it as the oldest one: ask a new one
            with self._lock:
                if self._processes.get(git_dir) is reader:
                    del self._processes[git_dir]
            reader.close()
            return self._open_process(git_dir).read_object(revision)

    def find_commit_sha(self, git_dir: Path, revision: str) -> str | None:
        """The SHA of the commit that a revision names, through tags."""
        found = self.find_object(git_dir, revision + "^{commit}")
        return found.sha if found is not None else None

    def close(self) -> None:
        """End the readers."""
        with self._lock:
            while self._processes:
                self._processes.popitem()[1].close()

    def _open_process(self, git_dir: Path) -> _CatFileProcess:
        with self._lock:
            reader = self._processes.pop(git_dir, None) or _CatFileProcess(git_dir)
            self._processes[git_dir] = reader
            oldest = (
                self._processes.popitem(last=False)[1]
                if len(self._processes) > OPEN_READERS_MAX
                else None
            )
        if oldest is not None:
            oldest.close()
        return reader


class _CatFileProcess:
    """One ``git cat-file --batch``."""

    def __init__(self, git_dir: Path) -> None:
        command = ["git", f"--git-dir={git_dir}", "cat-file", "--batch"]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=git_command.clean_env(),
        )

    def read_object(self, revision: str) -> GitObject | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - both were asked for as pipes
        assert stdout is not None  # noqa: S101
        with self._lock:
            stdin.write(revision.encode(errors="surrogateescape") + b"\n")
            stdin.flush()
            head = stdout.readline().split()
            if not head:
                raise OSError("git cat-file ended")
            if len(head) != 3 or not head[2].isdigit():
                return None  # "missing", "ambiguous"
            size = int(head[2])
            content = _read_exactly(stdout.read, size)
            stdout.read(1)
        return (
            GitObject(head[0].decode(), head[1].decode(), content)
            if size <= OBJECT_BYTES_MAX
            else None
        )

    def close(self) -> None:
        with self._lock:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # a question that was never read
                        pipe.close()
            self._process.wait()


def _is_encodable(revision: str) -> bool:
    try:
        revision.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Read ``size`` bytes; what is too large is read past, and kept nowhere."""
    if size <= OBJECT_BYTES_MAX:
        content = read(size)
        if len(content) != size:
            raise OSError("git cat-file ended")
        return content
    while size > 0:
        size -= len(read(min(size, 1 << 20))) or size
    return b""
