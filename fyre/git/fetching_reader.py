"""Read commits and files from mirrors, and fetch a mirror that lacks a commit."""

from __future__ import annotations

from fyre.git.commit_reader import LocalCommitReader
from fyre.git.mirror_store import MirrorStore
from fyre.runs.run import Commit, Repository


class FetchingCommitReader:
    """Reads like ``LocalCommitReader``, and fetches what is missing first. Thread-safe."""

    def __init__(self, mirror_store: MirrorStore) -> None:
        self._mirror_store, self._reader = mirror_store, LocalCommitReader(mirror_store.mirror_dir)

    def read_commit(self, repository: Repository, sha: str) -> Commit:
        """Return a commit. Raises ``NotFoundError``, ``DeniedError``, ``TransientError``."""
        # A push of thousands of commits is fetched once; each is then read without a process.
        commit = self.find_commit(repository, sha)
        if commit is not None:
            return commit
        self._mirror_store.ensure_commit(repository, sha)
        return self._reader.read_commit(repository, sha)

    def find_commit(self, repository: Repository, sha: str) -> Commit | None:
        """Return a commit that is in the mirror already, or None."""
        if self._mirror_store.find_mirror(repository.id) is None:
            return None
        return self._reader.find_commit(repository, sha)

    def read_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """Return a file's content in a commit, or None."""
        return self._reader.read_file(repository, sha, path)

    def list_ancestors(self, repository: Repository, head_sha: str, limit: int) -> list[str]:
        """Return the newest ``limit`` SHAs of a commit's history, itself included, oldest first."""
        self._mirror_store.ensure_commit(repository, head_sha)
        return self._reader.list_ancestors(repository, head_sha, limit)

    def branches_containing(self, repository: Repository, sha: str) -> list[str]:
        """Return the branches that contain a commit now; raises what fetching it raises.

        Fetches each time: if a branch moves to a commit that is present already, or away from one,
        nothing else causes a fetch.
        """
        self._mirror_store.fetch_mirror(repository)
        self._mirror_store.ensure_commit(repository, sha)
        return self._reader.branches_containing(repository, sha)

    def pull_head(self, repository: Repository, pull_number: int) -> str:
        """Fetch a pull request's head and return its SHA."""
        return self._mirror_store.pull_head(repository, pull_number)

    def close(self) -> None:
        """Stop the processes."""
        self._reader.close()
