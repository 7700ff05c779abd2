"""The keys of runs that a power loss took before they started: they may be launched again."""

from __future__ import annotations

from pathlib import Path


class CutShortRuns:
    """An empty file for each of them, until the run is launched again.

    Its status says that it waits, and nothing else on this machine knows whether it ran.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, key: str) -> None:
        """Remember a key, before its run's directory is deleted."""
        self._directory.mkdir(exist_ok=True, mode=0o700)
        (self._directory / key).touch(mode=0o600)

    def discard(self, key: str) -> None:
        """Forget a key whose run was launched again."""
        if self._directory.is_dir():
            (self._directory / key).unlink(missing_ok=True)

    def keys(self) -> frozenset[str]:
        """Return the keys."""
        if not self._directory.is_dir():
            return frozenset()
        return frozenset(path.name for path in self._directory.iterdir())
