"""Read commits and files from bare repositories on this machine, by ``git cat-file --batch``.

The command to run is read from the commit object itself, not from the webhook's copy: exact bytes,
the commit's own encoding, its parents. A look-up costs microseconds; a request to the forge costs
milliseconds and needs a permission.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fyre.errors import TooLargeError
from fyre.git import git_command, message_encoding
from fyre.git.cat_file import OBJECT_BYTES_MAX, ObjectReader
from fyre.github.errors import NotFoundError
from fyre.message import request as message_request
from fyre.runs.run import Commit, Repository


class LocalCommitReader:
    """Reads the commits of many repositories. Thread-safe."""

    def __init__(self, git_dir_of: Callable[[Repository], Path]) -> None:
        self._git_dir_of = git_dir_of
        self._objects = ObjectReader()

    def read_commit(self, repository: Repository, sha: str) -> Commit:
        """Return a commit. Raises ``NotFoundError``.

        Of one that is too large only the beginning is read; its message is not.
        """
        commit = self._objects.find_object_start(self._git_dir_of(repository), sha)
        if commit is None or commit.type != "commit":
            raise NotFoundError(
                f"commit {sha} of {repository.name}: not found", hint="was it force-pushed away?"
            )
        if commit.is_cut:
            reason = f"the commit's message is larger than {OBJECT_BYTES_MAX >> 20} MiB"
            return replace(_parse_header(sha, commit.content), message_problem=reason)
        return parse_commit(sha, commit.content)

    def find_commit(self, repository: Repository, sha: str) -> Commit | None:
        """Return a commit, or None."""
        try:
            return self.read_commit(repository, sha)
        except NotFoundError:
            return None

    def read_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """Return a file's content in a commit; None if there is no such file.

        Raises ``TooLargeError``.
        """
        blob = self._objects.find_object_start(self._git_dir_of(repository), f"{sha}:{path}")
        if blob is None or blob.type != "blob":
            return None
        if blob.is_cut:
            raise TooLargeError(f"{path} is larger than {OBJECT_BYTES_MAX >> 20} MiB")
        return blob.content

    def list_ancestors(self, repository: Repository, head_sha: str, limit: int) -> list[str]:
        """Return the newest ``limit`` SHAs of a commit's history, itself included, oldest first."""
        result = self._run_git(repository, "rev-list", f"--max-count={limit}", head_sha)
        if result.returncode:
            raise NotFoundError(
                f"commit {head_sha} of {repository.name}: not found",
                hint="was it force-pushed away?",
            )
        return result.stdout.decode().split()[::-1]

    def branches_containing(self, repository: Repository, sha: str) -> list[str]:
        """Return the branches (``refs/heads/…``) that contain a commit.

        None of them do if the commit is missing.
        """
        options = (f"--contains={sha}", "--format=%(refname)")
        result = self._run_git(repository, "for-each-ref", *options, "refs/heads/")
        if result.returncode:
            return []
        return result.stdout.decode(errors="surrogateescape").split("\n")[:-1]

    def pull_head(self, repository: Repository, pull_number: int) -> str:
        """Return the SHA of a pull request's head. Raises ``NotFoundError``."""
        ref = f"refs/pull/{pull_number}/head"
        sha = self._objects.find_commit_sha(self._git_dir_of(repository), ref)
        if sha is None:
            raise NotFoundError(
                f"pull request {pull_number} of {repository.name}: its head is not found"
            )
        return sha

    def close(self) -> None:
        """Stop the processes."""
        self._objects.close()

    def _run_git(self, repository: Repository, *args: str) -> subprocess.CompletedProcess[bytes]:
        git_dir = f"--git-dir={self._git_dir_of(repository)}"
        return git_command.run_git(
            git_dir,
            *args,
            env=git_command.clean_env(),
            check=False,
            timeout=git_command.LOCAL_TIMEOUT,
        )


def parse_commit(sha: str, content: bytes) -> Commit:
    """Parse a commit object.

    The message is decoded as the commit says; bytes that don't fit are kept as surrogates. If it
    can't be decoded, ``message_problem`` says why.
    """
    commit = _parse_header(sha, content)
    if len(content) > message_encoding.COMMIT_BYTES_MAX:
        is_request = message_request.asks_for_run(content.partition(b"\n\n")[2])
        return replace(commit, message_problem=message_request.TOO_LONG if is_request else "")
    try:
        encoding = _header_fields(content).get(b"encoding", b"").decode("ascii", "replace")
        return replace(commit, message=message_encoding.decode_message(content, encoding))
    except message_encoding.MessageEncodingError as error:
        return replace(commit, message_problem=str(error))


def _parse_header(sha: str, content: bytes) -> Commit:
    """Return a commit without its message."""
    fields = _header_fields(content)
    return Commit(
        sha=sha,
        tree=fields.get(b"tree", b"").decode("ascii", "replace"),
        parents=tuple(
            line.removeprefix(b"parent ").decode("ascii", "replace")
            for line in content.partition(b"\n\n")[0].split(b"\n")
            if line.startswith(b"parent ")
        ),
        message="",
        committed_at=_parse_commit_time(fields.get(b"committer", b"")),
    )


def _header_fields(content: bytes) -> dict[bytes, bytes]:
    """Return the fields of a commit object's header; the first one of each name counts."""
    fields: dict[bytes, bytes] = {}
    for line in content.partition(b"\n\n")[0].split(b"\n"):
        key, _, value = line.partition(b" ")
        fields.setdefault(key, value)  # the later lines of a signature have an empty key
    return fields


def _parse_commit_time(committer: bytes) -> float:
    """Return the time of ``Name <mail> 1700000000 +0100``.

    0 if it is malformed, which is older than any history.
    """
    words = committer.rpartition(b">")[2].split()
    return float(words[0]) if words and words[0].isdigit() and len(words[0]) < 13 else 0.0
