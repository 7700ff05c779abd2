"""Git objects of a bare repository without a process per question: read through one ``cat-file``, write directly."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fyre import git

OPEN_MAX = 16
"""Readers kept open; the one used longest ago is closed first."""

SIZE_MAX = 32 * 1024 * 1024
"""Bytes of an object that are read."""


_ENTRY = re.compile(rb"(\d+) ([^\0]+)\0(.{20})", re.DOTALL)
"""One entry of a tree; in a whole tree they follow each other without a gap."""

TREE, BLOB = b"40000", b"100644"
"""Modes of a tree's entries."""


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
        except (OSError, ValueError):  # it died, or another thread closed it as the oldest one: ask a new one
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
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git.clean_env()
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


def write(git_dir: Path, kind: bytes, content: bytes) -> bytes:
    """Store a loose object and answer its binary SHA. As git by default: complete or absent, not fsynced."""
    whole = kind + b" %d\0" % len(content) + content
    digest = hashlib.sha1(whole, usedforsecurity=False)
    name = digest.hexdigest()
    home = git_dir / "objects" / name[:2]
    where = home / name[2:]
    try:
        os.utime(where)  # it is wanted again: gc goes by this
    except FileNotFoundError:
        pass
    else:
        return digest.digest()
    home.mkdir(exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix="tmp_obj_", dir=home)
    with os.fdopen(descriptor, "wb") as file:
        file.write(zlib.compress(whole, 1))
    os.chmod(fresh, 0o444)  # noqa: PTH101 - plain calls: a push of 500 commits writes thousands of these
    os.rename(fresh, where)  # noqa: PTH104
    return digest.digest()


def parse_tree(content: bytes) -> dict[bytes, tuple[bytes, bytes]]:
    """Name → mode and binary SHA."""
    return {name: (mode, digest) for mode, name, digest in _ENTRY.findall(content)}


def tree(entries: dict[bytes, tuple[bytes, bytes]]) -> bytes:
    """A tree object; git sorts a directory as if its name ended in a slash."""
    ordered = sorted(entries.items(), key=lambda entry: entry[0] + (b"/" if entry[1][0] == TREE else b""))
    return b"".join(mode + b" " + name + b"\0" + digest for name, (mode, digest) in ordered)
