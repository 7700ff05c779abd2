"""Commits and files out of mirrors that are fetched when they lack one."""

from __future__ import annotations

from contextlib import suppress

from fyre.git.commit_reader import LocalCommitReader
from fyre.git.mirror_store import MirrorStore
from fyre.github.errors import NotFoundError
from fyre.runs.run import Commit, Repository


class FetchingCommitReader:
    """What ``Mirrors`` offers, of repositories that need not be here yet. Thread-safe."""

    def __init__(self, mirror_store: MirrorStore) -> None:
        self._mirror_store, self._reader = mirror_store, LocalCommitReader(mirror_store.mirror_dir)

    def read_commit(self, repository: Repository, sha: str) -> Commit:
        """The facts of a commit; raises ``NotFoundError``, ``DeniedError``, ``TryAgainError``."""
        if self._mirror_store.find_mirror(repository.id) is not None:
            # A push of thousands is fetched once; its commits are read without a process for each.
            with suppress(NotFoundError):
                return self._reader.read_commit(repository, sha)
        self._mirror_store.ensure_commit(repository, sha)
        return self._reader.read_commit(repository, sha)

    def read_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file in a commit, or None."""
        return self._reader.read_file(repository, sha, path)

    def list_ancestors(self, repository: Repository, head_sha: str, limit: int) -> list[str]:
        """The newest so many SHAs below and with a commit, oldest first."""
        self._mirror_store.ensure_commit(repository, head_sha)
        return self._reader.list_ancestors(repository, head_sha, limit)

    def branches_containing(self, repository: Repository, sha: str) -> list[str]:
        """The branches that a commit is on now; raises what fetching it raises.

        Fetched each time: a branch that moves to what is here already, or away from it, has nobody else fetch.
        """
        self._mirror_store.fetch_mirror(repository)
        self._mirror_store.ensure_commit(repository, sha)
        return self._reader.branches_containing(repository, sha)

    def pull_head(self, repository: Repository, pull_number: int) -> str:
        """The SHA of a pull request's head, fetched now."""
        return self._mirror_store.pull_head(repository, pull_number)

    def close(self) -> None:
        """End the readers."""
        self._reader.close()
