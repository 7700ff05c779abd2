"""Garbage collection of idle repositories: each status adds four loose objects.

Git's own is off, so that no push waits for it.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from pathlib import Path

from fyre.git import git_command

log = logging.getLogger(__name__)

LOOSE_OBJECTS_MAX = 6700
"""Number of loose objects above which a repository is packed; git's own default."""

IDLE_SECONDS = 60.0
"""Seconds without a new status before a repository is packed.

With ten times ``LOOSE_OBJECTS_MAX`` it is packed at once.
"""

_STATUSES_REF = "refs/notes/fyre/statuses"

STALE_LOCK_SECONDS = 10.0
"""Seconds after which a lock of a ref is stale.

Its git was killed: a live one holds it for milliseconds.
"""


def remove_stale_locks(git_dir: Path, forge_refs: tuple[str, ...]) -> None:
    """Remove the locks that a killed server or its git processes left behind.

    Call this only as the one forge that serves the directory.
    """
    for ref in forge_refs:
        (git_dir / f"{ref}.lock").unlink(missing_ok=True)
    ref_locks = (git_dir / "refs").rglob("*.lock")
    for lock in (git_dir / "HEAD.lock", git_dir / "packed-refs.lock", *ref_locks):
        try:
            if time.time() - lock.stat().st_mtime > STALE_LOCK_SECONDS:
                lock.unlink()
        except FileNotFoundError:
            continue


def needs_gc(git_dir: Path, now: float) -> bool:
    """Return True if it is time to pack; counts one of 256 directories, as git does."""
    try:
        loose_objects = len(list((git_dir / "objects/17").iterdir())) * 256
    except FileNotFoundError:
        return False
    try:
        busy = now - (git_dir / _STATUSES_REF).stat().st_mtime < IDLE_SECONDS
    except FileNotFoundError:  # the ref is packed, or does not exist yet
        busy = False
    return loose_objects > LOOSE_OBJECTS_MAX * (10 if busy else 1)


def run_gc(git_dir: Path, stopped: threading.Event) -> None:
    """Pack a repository at the lowest priority; give up when the forge stops."""
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
    """Pack the repositories that need it."""
    for git_dir in git_dirs:
        if not stopped.is_set() and needs_gc(git_dir, time.time()):
            run_gc(git_dir, stopped)
