"""The engine's folder of state: who may use it, what is found in it, and how a run is forgotten."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fyre.engines.local.run_dir import Folder
from fyre.errors import TryAgainError, UserError
from fyre.runs.run import Run
from fyre.stored_form import UnreadableError

log = logging.getLogger(__name__)


def lock(path: Path) -> int:
    """Hold the state for this process alone; the kernel lets go when it ends, however it ends. Raises ``UserError``."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.read(file, 32).decode(errors="replace") or "?"
        os.close(file)
        raise UserError(
            f"another Fyre (pid {pid}) is using {path.parent}",
            hint="stop it, or use another --root",
        ) from error
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    return file


def runs(parent: Path) -> Iterator[tuple[Folder, Run]]:
    """Every run that is written down. What a crash left half written or half removed is swept on the way."""
    for path in sorted(parent.iterdir()):
        folder = Folder(path)
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
        elif folder.torn():
            log.warning(
                "%s was cut short before it started: forgotten, so that it can be launched again",
                path.name,
            )
            forget(path)
        elif (run := _read(folder)) is not None:
            yield folder, run


@contextmanager
def written_down() -> Iterator[None]:
    """What the disk refuses now it may take later. Raises ``TryAgainError``."""
    try:
        yield
    except OSError as error:
        raise TryAgainError(f"it can't be written down: {error.strerror}") from error


def forget(path: Path) -> None:
    """Remove a run; renamed first, so that a crash halfway leaves nothing that looks as if it had never started."""
    gone = path.with_name(f".gone-{path.name}")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _read(folder: Folder) -> Run | None:
    try:
        return folder.run()
    except (
        UnreadableError
    ) as error:  # of another version, or torn after it started: left where it is
        log.warning(
            "%s can't be read; its run is not shown, and never started again: %s",
            folder.path,
            error,
        )
        return None
