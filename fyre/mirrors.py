"""Commits and files out of bare repositories on this machine, through one long-lived ``git cat-file --batch`` each.

What runs is read from the commit object itself, not from what a webhook says of it: exact bytes, the commit's own
encoding, its parents. A look-up costs microseconds, where a request to the forge costs milliseconds and a right.
"""

from __future__ import annotations

import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from fyre import git
from fyre.forge import NotFoundError
from fyre.run import Commit, Repository

OPEN_MAX = 32
"""Readers kept open; the one used longest ago is closed first."""

MESSAGE_MAX = 32 * 1024 * 1024
"""Bytes of an object that are read; a larger commit or ``.fyre.yaml`` is nobody's honest work."""


class Mirrors:
    """The commits of many repositories. Thread-safe."""

    def __init__(self, git_dir: Callable[[Repository], Path]) -> None:
        self._git_dir = git_dir
        self._readers: OrderedDict[Path, _Reader] = OrderedDict()
        self._lock = threading.Lock()

    def commit(self, repository: Repository, sha: str) -> Commit:
        """The facts of a commit. Raises ``NotFoundError``."""
        found = self._ask(repository, sha)
        if found is None or found[0] != "commit":
            raise NotFoundError(f"commit {sha} of {repository.name}: not found", hint="was it force-pushed away?")
        return parse_commit(sha, found[1])

    def file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file as it stands in a commit; None where there is none, or a directory."""
        found = self._ask(repository, f"{sha}:{path}")
        return found[1] if found is not None and found[0] == "blob" else None

    def history(self, repository: Repository, head: str, limit: int) -> list[str]:
        """The newest so many SHAs that a commit stands on, itself included, oldest first."""
        done = git.run(f"--git-dir={self._git_dir(repository)}", "rev-list", f"--max-count={limit}", head,
                       env=git.clean_env(), check=False)  # fmt: skip
        if done.returncode:
            raise NotFoundError(f"commit {head} of {repository.name}: not found", hint="was it force-pushed away?")
        return done.stdout.decode().split()[::-1]

    def close(self) -> None:
        """End the readers."""
        with self._lock:
            while self._readers:
                self._readers.popitem()[1].close()

    def _ask(self, repository: Repository, name: str) -> tuple[str, bytes] | None:
        where = self._git_dir(repository)
        with self._lock:
            reader = self._readers.pop(where, None) or _Reader(where)
            self._readers[where] = reader
            while len(self._readers) > OPEN_MAX:
                self._readers.popitem(last=False)[1].close()
            try:
                return reader.ask(name)
            except (OSError, ValueError):  # it died: the next question gets a new one
                self._readers.pop(where).close()
                raise


class _Reader:
    """One ``git cat-file --batch``."""

    def __init__(self, git_dir: Path) -> None:
        command = ["git", f"--git-dir={git_dir}", "cat-file", "--batch"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git.clean_env()
        )

    def ask(self, name: str) -> tuple[str, bytes] | None:
        """Type and content of an object; None when there is none. The name holds no newline."""
        assert self._process.stdin is not None  # noqa: S101 - both were asked for as pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(name.encode() + b"\n")
        self._process.stdin.flush()
        head = self._process.stdout.readline().split()
        if not head:
            raise OSError("git cat-file ended")
        if len(head) != 3 or not head[2].isdigit():
            return None  # "missing", "ambiguous"
        size = int(head[2])
        if size > MESSAGE_MAX:
            raise OSError(f"an object of {size} bytes")  # closing the reader skips it
        content = self._process.stdout.read(size)
        self._process.stdout.read(1)
        return head[1].decode(), content

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()


def parse_commit(sha: str, content: bytes) -> Commit:
    """A commit object's facts; its message decoded as the commit says, bytes that don't fit kept by surrogates."""
    head, _, message = content.partition(b"\n\n")
    fields: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        fields.append((key, value))  # a signature's further lines have an empty key
    named = dict(reversed(fields))  # the first of each counts
    return Commit(
        sha=sha,
        tree=named.get(b"tree", b"").decode("ascii", "replace"),
        parents=tuple(value.decode("ascii", "replace") for key, value in fields if key == b"parent"),
        message=_decoded(message, named.get(b"encoding", b"").decode("ascii", "replace")),
        committed_at=_time_of(named.get(b"committer", b"")),
    )


def _decoded(message: bytes, encoding: str) -> str:
    if encoding and encoding.lower() not in ("utf-8", "utf8"):
        try:
            return message.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            pass  # as git does: show the bytes as they are
    return message.decode("utf-8", "surrogateescape")


def _time_of(committer: bytes) -> float:
    """``Name <mail> 1700000000 +0100``; 0 where it is broken, which is older than any history."""
    words = committer.rpartition(b">")[2].split()
    return float(words[0]) if words and words[0].isdigit() and len(words[0]) < 13 else 0.0
