"""Garbage collection, when a repository is idle: every status is four loose objects, and a push waits for no gc."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from pathlib import Path

from fyre.git import git_command

log = logging.getLogger(__name__)

LOOSE_OBJECTS_MAX = 6700
"""Loose objects from which a repository is packed; git's own default."""

IDLE_SECONDS = 60.0
"""Seconds without a new status before it is packed; with ten times ``LOOSE_MAX`` it is packed at once."""

_STATUSES_REF = "refs/notes/fyre/statuses"


STALE_LOCK_SECONDS = 10.0
"""Seconds after which a ref's lock belongs to a git that was killed: a living one holds it for milliseconds."""


def remove_stale_locks(git_dir: Path, forge_refs: tuple[str, ...]) -> None:
    """Remove the locks that a killed server or its gits left behind. Only for whoever is the one forge here."""
    for ref in forge_refs:
        (git_dir / f"{ref}.lock").unlink(missing_ok=True)
    for lock in (
        git_dir / "HEAD.lock",
        git_dir / "packed-refs.lock",
        *(git_dir / "refs").rglob("*.lock"),
    ):
        try:
            if time.time() - lock.stat().st_mtime > STALE_LOCK_SECONDS:
                lock.unlink()
        except FileNotFoundError:
            continue


def needs_gc(git_dir: Path, now: float) -> bool:
    """Whether it is time; counts one of 256 directories, as git does."""
    try:
        loose = len(list((git_dir / "objects/17").iterdir())) * 256
    except FileNotFoundError:
        return False
    try:
        busy = now - (git_dir / _STATUSES_REF).stat().st_mtime < IDLE_SECONDS
    except FileNotFoundError:  # packed, or none yet
        busy = False
    return loose > LOOSE_OBJECTS_MAX * (10 if busy else 1)


def run_gc(git_dir: Path, stopped: threading.Event) -> None:
    """Pack a repository, behind everything else that runs here; given up when the forge stops."""
    command = ["nice", "git", f"--git-dir={git_dir}", "gc", "--quiet"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=git_command.clean_env()
    )
    while process.poll() is None:
        if stopped.wait(0.05):
            process.terminate()
            process.wait()
            return
    if process.returncode:
        log.warning("git gc in %s: exit %s", git_dir, process.returncode)


def gc_idle_repositories(git_dirs: list[Path], stopped: threading.Event) -> None:
    """Pack whichever is due."""
    for git_dir in git_dirs:
        if not stopped.is_set() and needs_gc(git_dir, time.time()):
            run_gc(git_dir, stopped)
