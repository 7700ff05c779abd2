"""Logs for good: one compressed file a run, in a folder or at any URL that fsspec knows (``s3://``, ``gs://`` …)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import fsspec  # type: ignore[import-untyped] # it comes without types
import zstandard

from fyre.errors import UserError

_CHUNK = 256 * 1024


class Store:
    """Files by the run's key. Thread-safe, as fsspec's file systems are."""

    def __init__(self, url: str) -> None:
        """``url`` is a folder's path or URL; credentials come the way that its file system takes them.

        Raises ``UserError`` where there is no such kind of storage, or its package is not installed.
        """
        kind = url.partition("://")[0]  # the rest may hold a credential
        try:
            self._files, self._root = fsspec.url_to_fs(url)
        except ImportError as error:
            hint = "that package beside Fyre, in its image by --build-arg PACKAGES=…"
            raise UserError(f"logs can't be kept at {kind}://: {error}", hint=hint) from error
        except ValueError as error:
            raise UserError(
                f"logs can't be kept at {kind}://", hint="a folder, s3://, gs:// …"
            ) from error
        self._files.makedirs(self._root, exist_ok=True)

    def put(self, key: str, pieces: Iterable[bytes]) -> None:
        """Keep a log, whole or not at all; an earlier one of the same run is replaced."""
        draft = self._path(key) + ".new"
        with (
            self._files.open(draft, "wb") as file,
            zstandard.ZstdCompressor().stream_writer(file) as packed,
        ):
            for piece in pieces:
                packed.write(piece)
        self._files.mv(draft, self._path(key))

    def get(self, key: str) -> Iterator[bytes] | None:
        """A kept log in pieces, or None."""
        try:
            file = self._files.open(self._path(key), "rb")
        except FileNotFoundError:
            return None
        return _unpacked(file)

    def has(self, key: str) -> bool:
        """Whether a log is kept."""
        return bool(self._files.exists(self._path(key)))

    def prune(self, before: float) -> None:
        """Drop what was kept before a time, in seconds since the epoch, where the file system knows times."""
        for path in self._files.ls(self._root, detail=False):
            try:
                if self._files.modified(path).timestamp() < before:
                    self._files.rm_file(path)
            except (FileNotFoundError, NotImplementedError):
                continue

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}.zst"


def _unpacked(file) -> Iterator[bytes]:  # type: ignore[no-untyped-def]  # noqa: ANN001 - any file system's own kind
    with file, zstandard.ZstdDecompressor().stream_reader(file) as packed:
        while piece := packed.read(_CHUNK):
            yield piece
