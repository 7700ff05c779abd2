"""Logs for good: one compressed file a run, in a folder or at any URL that fsspec knows (``s3://``, ``gs://`` …)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import fsspec  # type: ignore[import-untyped] # it comes without types
import zstandard

from fyre.errors import UserError

_CHUNK_SIZE = 256 * 1024


class LogStore:
    """Files by the run's key. Thread-safe, as fsspec's file systems are."""

    def __init__(self, url: str) -> None:
        """``url`` is a folder's path or URL; credentials come the way that its file system takes them.

        Raises ``UserError`` where there is no such kind of storage, or its package is not installed.
        """
        kind = url.partition("://")[0]  # the rest may hold a credential
        try:
            self._filesystem, self._root = fsspec.url_to_fs(url)
        except ImportError as error:
            hint = "that package beside Fyre, in its image by --build-arg PACKAGES=…"
            raise UserError(f"logs can't be kept at {kind}://: {error}", hint=hint) from error
        except ValueError as error:
            raise UserError(
                f"logs can't be kept at {kind}://", hint="a folder, s3://, gs:// …"
            ) from error
        self._filesystem.makedirs(self._root, exist_ok=True)

    def put_log(self, key: str, chunks: Iterable[bytes]) -> None:
        """Keep a log, whole or not at all; an earlier one of the same run is replaced."""
        draft = self._file_path(key) + ".new"
        with (
            self._filesystem.open(draft, "wb") as file,
            zstandard.ZstdCompressor().stream_writer(file) as packed,
        ):
            for piece in chunks:
                packed.write(piece)
        self._filesystem.mv(draft, self._file_path(key))

    def get_log(self, key: str) -> Iterator[bytes] | None:
        """A kept log in pieces, or None."""
        try:
            file = self._filesystem.open(self._file_path(key), "rb")
        except FileNotFoundError:
            return None
        return _decompressed_chunks(file)

    def has_log(self, key: str) -> bool:
        """Whether a log is kept."""
        return bool(self._filesystem.exists(self._file_path(key)))

    def prune_logs(self, before: float) -> None:
        """Drop what was kept before a time, in seconds since the epoch, where the file system knows times."""
        for path in self._filesystem.ls(self._root, detail=False):
            try:
                if self._filesystem.modified(path).timestamp() < before:
                    self._filesystem.rm_file(path)
            except (FileNotFoundError, NotImplementedError):
                continue

    def _file_path(self, key: str) -> str:
        return f"{self._root}/{key}.zst"


def _decompressed_chunks(file) -> Iterator[bytes]:  # type: ignore[no-untyped-def]  # noqa: ANN001 - any file system's own kind
    with file, zstandard.ZstdDecompressor().stream_reader(file) as packed:
        while piece := packed.read(_CHUNK_SIZE):
            yield piece
