"""The archive of logs: one compressed file per run.

It is a folder, or any URL that fsspec knows (``s3://``, ``gs://`` …).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import fsspec  # type: ignore[import-untyped] # it comes without types
import zstandard
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped] # as above

from fyre.errors import UserError

_CHUNK_SIZE = 256 * 1024


class LogStore:
    """Compressed log files, named by the run's key. Thread-safe, as fsspec's file systems are."""

    def __init__(self, url: str) -> None:
        """Open a folder's path or URL; its file system finds the credentials in its usual way.

        Raises ``UserError`` where there is no such kind of storage, or its package is not
        installed.
        """
        scheme = url.partition("://")[0]  # the rest may hold a credential
        try:
            self._filesystem, self._root = fsspec.url_to_fs(url)
        except ImportError as error:
            hint = "that package beside Fyre, in its image by --build-arg PACKAGES=…"
            raise UserError(f"logs can't be kept at {scheme}://: {error}", hint=hint) from error
        except ValueError as error:
            raise UserError(
                f"logs can't be kept at {scheme}://", hint="a folder, s3://, gs:// …"
            ) from error
        self._filesystem.makedirs(self._root, exist_ok=True)

    def put_log(self, key: str, chunks: Iterable[bytes]) -> None:
        """Store a log, whole or not at all; replace an earlier one of the same run."""
        draft = self._file_path(key) + ".new"
        with (
            self._filesystem.open(draft, "wb") as file,
            zstandard.ZstdCompressor().stream_writer(file) as compressor,
        ):
            for chunk in chunks:
                compressor.write(chunk)
        self._filesystem.mv(draft, self._file_path(key))

    def get_log(self, key: str) -> Iterator[bytes] | None:
        """Return a stored log in chunks, or None."""
        try:
            file = self._filesystem.open(self._file_path(key), "rb")
        except FileNotFoundError:
            return None
        return _decompressed_chunks(file)

    def has_log(self, key: str) -> bool:
        """Return True if a log of this run is stored."""
        return bool(self._filesystem.exists(self._file_path(key)))

    def prune_logs(self, oldest: float) -> None:
        """Delete the logs that were stored before ``oldest``, in seconds since the epoch.

        A file system that knows no times keeps them.
        """
        for path in self._filesystem.ls(self._root, detail=False):
            try:
                if self._filesystem.modified(path).timestamp() < oldest:
                    self._filesystem.rm_file(path)
            except (FileNotFoundError, NotImplementedError):
                continue

    @property
    def is_local(self) -> bool:
        """Return True for a folder: what is small is written there at once."""
        return isinstance(self._filesystem, LocalFileSystem)

    def add_mark(self, name: str) -> None:
        """Store an empty file of that name, beside the logs."""
        self._filesystem.pipe_file(f"{self._root}/{name}", b"")

    def remove_mark(self, name: str) -> None:
        """Remove what ``add_mark`` stored."""
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._root}/{name}")

    def list_marks(self, prefix: str) -> list[str]:
        """Return the names that begin so. Where a file system can, it looks at no others."""
        paths = self._filesystem.find(self._root, prefix=prefix)
        names = (str(path).rpartition("/")[2] for path in paths)
        return [name for name in names if name.startswith(prefix)]

    def _file_path(self, key: str) -> str:
        return f"{self._root}/{key}.zst"


# A file has the type of its own file system.
def _decompressed_chunks(file) -> Iterator[bytes]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        while chunk := reader.read(_CHUNK_SIZE):
            yield chunk
