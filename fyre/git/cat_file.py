"""Read git objects through one long-lived ``git cat-file --batch`` for each repository."""

from __future__ import annotations

import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fyre.git import git_command

OPEN_READERS_MAX = 32
"""Processes kept open, more than there are workers; the least recently used one is closed first."""

OBJECT_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of the largest object that is read."""

_START_BYTES = 1024 * 1024
"""Bytes that are kept of a larger one."""


@dataclass(frozen=True, slots=True)
class GitObject:
    """An object of git: its SHA, type and content."""

    sha: str
    type: str  # blob, tree, commit or tag
    content: bytes
    is_cut: bool = False
    """It is larger than ``OBJECT_BYTES_MAX``: ``content`` is only its beginning."""


class ObjectReader:
    """Reads the objects of many repositories. Thread-safe."""

    def __init__(self) -> None:
        self._processes: OrderedDict[Path, _CatFileProcess] = OrderedDict()
        self._lock = threading.Lock()

    def find_object(self, git_dir: Path, revision: str) -> GitObject | None:
        """Return the object that a revision or ``revision:path`` names.

        None if it names nothing, or something too large.
        """
        found = self.find_object_start(git_dir, revision)
        return found if found is not None and not found.is_cut else None

    def find_object_start(self, git_dir: Path, revision: str) -> GitObject | None:
        """Return the object, or the beginning of one that is too large; None for nothing."""
        if "\n" in revision or "\0" in revision or not _is_encodable(revision):
            return None
        process = self._open_process(git_dir)
        try:
            return process.read_object(revision)
        except (OSError, ValueError):
            # It died, or another thread closed it as the oldest one: start a new one.
            with self._lock:
                if self._processes.get(git_dir) is process:
                    del self._processes[git_dir]
            process.close()
            return self._open_process(git_dir).read_object(revision)

    def find_commit_sha(self, git_dir: Path, revision: str) -> str | None:
        """Return the SHA of the commit that a revision names, through tags, or None."""
        commit = self.find_object_start(git_dir, revision + "^{commit}")
        return commit.sha if commit is not None else None

    def close(self) -> None:
        """Stop the processes."""
        with self._lock:
            while self._processes:
                self._processes.popitem()[1].close()

    def _open_process(self, git_dir: Path) -> _CatFileProcess:
        oldest = None
        with self._lock:
            process = self._processes.pop(git_dir, None) or _CatFileProcess(git_dir)
            self._processes[git_dir] = process
            if len(self._processes) > OPEN_READERS_MAX:
                oldest = self._processes.popitem(last=False)[1]
        if oldest is not None:
            oldest.close()
        return process


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
        assert stdin is not None  # noqa: S101 - both are pipes
        assert stdout is not None  # noqa: S101
        with self._lock:
            stdin.write(revision.encode(errors="surrogateescape") + b"\n")
            stdin.flush()
            header = stdout.readline().split()
            if not header:
                raise OSError("git cat-file ended")
            if len(header) != 3 or not header[2].isdigit():
                return None  # "missing", "ambiguous"
            size = int(header[2])
            content = _read_exactly(stdout.read, size)
            stdout.read(1)
        is_cut = size > OBJECT_BYTES_MAX
        return GitObject(header[0].decode(), header[1].decode(), content, is_cut)

    def close(self) -> None:
        with self._lock:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # a request that git never read
                        pipe.close()
            self._process.wait()


def _is_encodable(revision: str) -> bool:
    try:
        revision.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Read ``size`` bytes; if that is too large, read them all, and return the beginning."""
    kept = min(size, _START_BYTES if size > OBJECT_BYTES_MAX else OBJECT_BYTES_MAX)
    content, left = read(kept), size - kept
    if len(content) != kept:
        raise OSError("git cat-file ended")
    while left > 0:
        left -= len(read(min(left, 1 << 20))) or left
    return content
