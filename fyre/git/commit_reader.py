"""Commits and files out of bare repositories on this machine, through one long-lived ``git cat-file --batch`` each.

What runs is read from the commit object itself, not from what a webhook says of it: exact bytes, the commit's own
encoding, its parents. A look-up costs microseconds, where a request to the forge costs milliseconds and a right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fyre.git import git_command
from fyre.git.cat_file import ObjectReader
from fyre.github.errors import NotFoundError
from fyre.runs.run import Commit, Repository


class LocalCommitReader:
    """The commits of many repositories. Thread-safe."""

    def __init__(self, git_dir_of: Callable[[Repository], Path]) -> None:
        self._git_dir_of = git_dir_of
        self._objects = ObjectReader()

    def read_commit(self, repository: Repository, sha: str) -> Commit:
        """The facts of a commit. Raises ``NotFoundError``."""
        found = self._objects.find_object(self._git_dir_of(repository), sha)
        if found is None or found.type != "commit":
            raise NotFoundError(
                f"commit {sha} of {repository.name}: not found", hint="was it force-pushed away?"
            )
        return parse_commit(sha, found.content)

    def read_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file as it stands in a commit; None where there is none, or a directory."""
        found = self._objects.find_object(self._git_dir_of(repository), f"{sha}:{path}")
        return found.content if found is not None and found.type == "blob" else None

    def list_ancestors(self, repository: Repository, head_sha: str, limit: int) -> list[str]:
        """The newest so many SHAs that a commit stands on, itself included, oldest first."""
        done = git_command.run_git(f"--git-dir={self._git_dir_of(repository)}", "rev-list", f"--max-count={limit}", head_sha,
                       env=git_command.clean_env(), check=False)  # fmt: skip
        if done.returncode:
            raise NotFoundError(
                f"commit {head_sha} of {repository.name}: not found",
                hint="was it force-pushed away?",
            )
        return done.stdout.decode().split()[::-1]

    def branches_containing(self, repository: Repository, sha: str) -> list[str]:
        """The branches (``refs/heads/…``) that a commit is on; none where it is not here."""
        done = git_command.run_git(f"--git-dir={self._git_dir_of(repository)}", "for-each-ref", f"--contains={sha}",
                       "--format=%(refname)", "refs/heads/", env=git_command.clean_env(), check=False)  # fmt: skip
        return (
            done.stdout.decode(errors="surrogateescape").split("\n")[:-1]
            if done.returncode == 0
            else []
        )

    def pull_head(self, repository: Repository, pull_number: int) -> str:
        """The SHA of a pull request's head. Raises ``NotFoundError``."""
        found = self._objects.find_commit_sha(
            self._git_dir_of(repository), f"refs/pull/{pull_number}/head"
        )
        if found is None:
            raise NotFoundError(
                f"pull request {pull_number} of {repository.name}: its head is not found"
            )
        return found

    def close(self) -> None:
        """End the readers."""
        self._objects.close()


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
        parents=tuple(
            value.decode("ascii", "replace") for key, value in fields if key == b"parent"
        ),
        message=_decode_message(message, named.get(b"encoding", b"").decode("ascii", "replace")),
        committed_at=_parse_commit_time(named.get(b"committer", b"")),
    )


def _decode_message(message: bytes, encoding: str) -> str:
    if encoding and encoding.lower() not in ("utf-8", "utf8"):
        try:
            return message.decode(encoding)
        except (LookupError, UnicodeError):
            pass  # as git does: show the bytes as they are
    return message.decode("utf-8", "surrogateescape")


def _parse_commit_time(committer: bytes) -> float:
    """``Name <mail> 1700000000 +0100``; 0 where it is broken, which is older than any history."""
    words = committer.rpartition(b">")[2].split()
    return float(words[0]) if words and words[0].isdigit() and len(words[0]) < 13 else 0.0
