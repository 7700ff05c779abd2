"""Write secrets that are shown only once, such as an App's private key, to files.

The folder is checked before the secrets are requested, and they are not lost afterwards.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fyre.errors import UserError

PROBE_BYTES = 64 * 1024
"""Bytes that are written as a test beforehand: more than any key has."""

# a private folder is made in each of them
_FALLBACK_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108


class CredentialFiles:
    """Files in one folder that only this user can read; an existing file is never overwritten."""

    def __init__(self, folder: Path, file_names: Mapping[str, str]) -> None:
        """Check the folder; ``file_names`` maps each kind of secret to the name of its file.

        Raises ``UserError`` if a file exists already, or the folder can't be written.
        """
        self.folder, self._file_names = folder.absolute(), dict(file_names)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in self._file_names.values():
                if (self.folder / name).is_symlink() or (self.folder / name).exists():
                    hint = "it may be the only copy of a key: move it away, or --out another folder"
                    raise UserError(f"{self.folder / name} is there already", hint=hint)
            with tempfile.NamedTemporaryFile(dir=self.folder) as test_file:  # has mode 0600
                test_file.write(bytes(PROBE_BYTES))
                test_file.flush()
                os.fsync(test_file.fileno())
        except OSError as error:
            hint = "--out names a folder that you may write to"
            raise UserError(
                f"{self.folder} can't be written to: {error.strerror}", hint=hint
            ) from error

    def write_secrets(self, secrets: Mapping[str, str]) -> dict[str, Path]:
        """Write the secrets, and return the paths of their files.

        If that fails, all of them are written to a new private folder in the first place that has
        room.

        Raises ``UserError`` if there is no such place.
        """
        for folder in self._candidate_folders():
            written: dict[str, Path] = {}
            try:
                for kind, secret in secrets.items():
                    path = folder / self._file_names[kind]
                    _write_durably(path, secret)
                    written[kind] = path
            except OSError:
                with suppress(OSError):  # together or not at all
                    for path in written.values():
                        path.unlink(missing_ok=True)
                    if folder != self.folder:
                        folder.rmdir()
            else:
                return written
        hint = (
            "make a new private key and another webhook secret on the App's settings page: "
            "those are gone"
        )
        raise UserError("the App is there, and no disk takes its key", hint=hint)

    def _candidate_folders(self) -> Iterator[Path]:
        yield self.folder
        bases = (
            os.environ.get("HOME"),
            os.environ.get("XDG_RUNTIME_DIR"),
            os.environ.get("TMPDIR"),
            *_FALLBACK_FOLDERS,
        )
        for base in filter(None, bases):
            with suppress(OSError):
                yield Path(tempfile.mkdtemp(prefix="fyre-app-", dir=base))  # has mode 0700


def _write_durably(path: Path, secret: str) -> None:
    """Write the whole file to the disk, or raise ``OSError`` and leave no file."""
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret if secret.endswith("\n") else secret + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
