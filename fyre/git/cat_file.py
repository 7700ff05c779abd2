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

OPEN_MAX = 16
"""Readers kept open; the one used longest ago is closed first."""

SIZE_MAX = 32 * 1024 * 1024
"""Bytes of an object that are read."""


@dataclass(frozen=True, slots=True)
class Object:
    """What git has under a name."""

    sha: str
    type: str  # blob tree commit tag
    content: bytes


class Objects:
    """The objects of many repositories. Thread-safe."""

    def __init__(self) -> None:
        self._readers: OrderedDict[Path, _Reader] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, git_dir: Path, name: str) -> Object | None:
        """What a revision or ``revision:path`` names; None when it names nothing, or something too large."""
        if "\n" in name or "\0" in name or not _encodable(name):
            return None
        reader = self._reader(git_dir)
        try:
            return reader.ask(name)
        except (
            OSError,
            ValueError,
        ):  # it died, or another thread closed it as the oldest one: ask a new one
            with self._lock:
                if self._readers.get(git_dir) is reader:
                    del self._readers[git_dir]
            reader.close()
            return self._reader(git_dir).ask(name)

    def commit(self, git_dir: Path, name: str) -> str | None:
        """The SHA of the commit that a revision names, through tags."""
        found = self.find(git_dir, name + "^{commit}")
        return found.sha if found is not None else None

    def close(self) -> None:
        """End the readers."""
        with self._lock:
            while self._readers:
                self._readers.popitem()[1].close()

    def _reader(self, git_dir: Path) -> _Reader:
        with self._lock:
            reader = self._readers.pop(git_dir, None) or _Reader(git_dir)
            self._readers[git_dir] = reader
            oldest = self._readers.popitem(last=False)[1] if len(self._readers) > OPEN_MAX else None
        if oldest is not None:
            oldest.close()
        return reader


class _Reader:
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

    def ask(self, name: str) -> Object | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - both were asked for as pipes
        assert stdout is not None  # noqa: S101
        with self._lock:
            stdin.write(name.encode(errors="surrogateescape") + b"\n")
            stdin.flush()
            head = stdout.readline().split()
            if not head:
                raise OSError("git cat-file ended")
            if len(head) != 3 or not head[2].isdigit():
                return None  # "missing", "ambiguous"
            size = int(head[2])
            content = _exactly(stdout.read, size)
            stdout.read(1)
        return Object(head[0].decode(), head[1].decode(), content) if size <= SIZE_MAX else None

    def close(self) -> None:
        with self._lock:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # a question that was never read
                        pipe.close()
            self._process.wait()


def _encodable(name: str) -> bool:
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Read ``size`` bytes; what is too large is read past, and kept nowhere."""
    if size <= SIZE_MAX:
        content = read(size)
        if len(content) != size:
            raise OSError("git cat-file ended")
        return content
    while size > 0:
        size -= len(read(min(size, 1 << 20))) or size
    return b""
