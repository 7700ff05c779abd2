"""Commits and files out of mirrors that are fetched when they lack one."""

from __future__ import annotations

from contextlib import suppress

from fyre.git.commit_reader import Mirrors
from fyre.git.mirror_store import Clones
from fyre.github.errors import NotFoundError
from fyre.runs.run import Commit, Repository


class Fetched:
    """What ``Mirrors`` offers, of repositories that need not be here yet. Thread-safe."""

    def __init__(self, clones: Clones) -> None:
        self._clones, self._mirrors = clones, Mirrors(clones.git_dir)

    def commit(self, repository: Repository, sha: str) -> Commit:
        """The facts of a commit; raises ``NotFoundError``, ``DeniedError``, ``TryAgainError``."""
        if self._clones.find(repository.id) is not None:
            # A push of thousands is fetched once; its commits are read without a process for each.
            with suppress(NotFoundError):
                return self._mirrors.commit(repository, sha)
        self._clones.ensure(repository, sha)
        return self._mirrors.commit(repository, sha)

    def file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file in a commit, or None."""
        return self._mirrors.file(repository, sha, path)

    def history(self, repository: Repository, head: str, limit: int) -> list[str]:
        """The newest so many SHAs below and with a commit, oldest first."""
        self._clones.ensure(repository, head)
        return self._mirrors.history(repository, head, limit)

    def branches(self, repository: Repository, sha: str) -> list[str]:
        """The branches that a commit is on now; raises what fetching it raises.

        Fetched each time: a branch that moves to what is here already, or away from it, has nobody else fetch.
        """
        self._clones.renew(repository)
        self._clones.ensure(repository, sha)
        return self._mirrors.branches(repository, sha)

    def pull_head(self, repository: Repository, number: int) -> str:
        """The SHA of a pull request's head, fetched now."""
        return self._clones.pull_head(repository, number)

    def close(self) -> None:
        """End the readers."""
        self._mirrors.close()
