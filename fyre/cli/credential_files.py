"""Files for secrets that are told once: made sure of before they are asked for, and never lost afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fyre.errors import UserError

PROBE_BYTES = 64 * 1024
"""Bytes that are asked of the disk beforehand: more than any key has."""

_FALLBACK_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - each gets a folder that is ours alone


class CredentialFiles:
    """Files of these names in one folder, for this user alone; none that is there is ever overwritten."""

    def __init__(self, folder: Path, file_names: Mapping[str, str]) -> None:
        """``names``: what is kept → its file's name. Raises ``UserError`` where the folder does not take them."""
        self.folder, self._file_names = folder.absolute(), dict(file_names)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in self._file_names.values():
                if (self.folder / name).is_symlink() or (self.folder / name).exists():
                    hint = "it may be the only copy of a key: move it away, or --out another folder"
                    raise UserError(f"{self.folder / name} is there already", hint=hint)
            with tempfile.NamedTemporaryFile(dir=self.folder) as trial:  # has mode 0600
                trial.write(bytes(PROBE_BYTES))
                trial.flush()
                os.fsync(trial.fileno())
        except OSError as error:
            hint = "--out names a folder that you may write to"
            raise UserError(
                f"{self.folder} can't be written to: {error.strerror}", hint=hint
            ) from error

    def write_secrets(self, secrets: Mapping[str, str]) -> dict[str, Path]:
        """Write each; where that fails, all of them to the first private place that takes them.

        Raises ``UserError`` where none does.
        """
        for folder in self._candidate_folders():
            written: dict[str, Path] = {}
            try:
                for what, secret in secrets.items():
                    path = folder / self._file_names[what]
                    _write_durably(path, secret)
                    written[what] = path
            except OSError:
                with suppress(OSError):  # together or not at all
                    for path in written.values():
                        path.unlink(missing_ok=True)
                    if folder != self.folder:
                        folder.rmdir()
            else:
                return written
        hint = "make a new private key and another webhook secret on the App's settings page: those are gone"
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
    """The file, whole and on the disk, or an ``OSError`` and none."""
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
