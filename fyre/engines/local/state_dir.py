"""The engine's state directory: its lock, the runs in it, and their deletion."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fyre.engines.local.cut_short_runs import CutShortRuns
from fyre.engines.local.run_dir import RunDirectory
from fyre.errors import TransientError, UserError
from fyre.regular_files import NotRegularFileError, open_regular
from fyre.runs.run import Run
from fyre.stored_form import UnreadableError, warn_once

log = logging.getLogger(__name__)


DAMAGE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, NotRegularFileError)
"""Errors of what is not there any more, or is something else than we put there."""

_LOCK_PATIENCE = 0.3
"""Seconds to wait for a lock: a child of a killed server holds it until it runs its program."""


def lock_state(path: Path) -> int:
    """Hold the state for this process alone; the kernel releases it however the process ends.

    Raises ``UserError`` if another process holds it.
    """
    try:
        file = open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UserError(
            f"{path} can't be used as a lock: {error.strerror}",
            hint="move it away, or use another --root",
        ) from error
    try:
        _wait_for_lock(file)
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


def _wait_for_lock(file: int) -> None:
    give_up_at = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)


def load_runs(parent: Path, cut_short_runs: CutShortRuns) -> Iterator[tuple[RunDirectory, Run]]:
    """Yield every run that is written down.

    What a crash left half written or half removed is deleted on the way.
    """
    for path in sorted(parent.iterdir()):
        directory = RunDirectory(path)
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
            continue
        with leave_unreadable(path):
            if directory.is_torn():
                log.warning(
                    "%s was cut short before it started: forgotten, so that it can be launched "
                    "again",
                    path.name,
                )
                if not directory.is_cancelled():
                    cut_short_runs.add(path.name)
                delete_run(path)
            else:
                yield directory, directory.read_run()


@contextmanager
def leave_unreadable(path: Path) -> Iterator[None]:
    """Leave a run that can't be read where it is, whatever is wrong with it; others go on."""
    try:
        yield
    except (UnreadableError, OSError) as error:
        # Of another version, torn after it started, or the disk refuses it.
        log.warning(
            "%s can't be read; its run is not shown, and never started again: %s", path, error
        )


@contextmanager
def disk_errors_as_transient() -> Iterator[None]:
    """Raise ``TransientError`` for an error of the disk: what it refuses now it may take later."""
    try:
        yield
    except OSError as error:
        raise TransientError(f"the run can't be written to disk: {error.strerror}") from error


@contextmanager
def note_errors_as_transient(key: str) -> Iterator[None]:
    """Raise ``TransientError`` as above; a note that can never be written is done without.

    That is said once. After the next start the statuses are looked up on the forge.
    """
    with disk_errors_as_transient():
        try:
            yield
        except DAMAGE as error:
            warn_once(f"notes.json of {key}", f"it can't be written: {error.strerror}")


def delete_run(path: Path) -> None:
    """Remove a run.

    It is renamed first, so that a crash halfway leaves nothing that looks as if it had never
    started.
    """
    trash = path.with_name(f".gone-{path.name}")
    shutil.rmtree(trash, ignore_errors=True)
    with suppress(FileNotFoundError):  # its command took it away
        path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)
