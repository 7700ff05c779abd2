"""A clean checkout of exactly one SHA, and its removal."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import stat
import time
from collections.abc import Callable
from typing import Any

from fyre.engines.local import processes
from fyre.engines.segmented_log import SegmentedLogWriter

_SAID_BYTES = 10_000  # bytes of git's messages that are kept


class CheckoutError(Exception):
    """The code can't be checked out; ``args[0]`` says why."""


def create_checkout(
    job: dict[str, Any], work_dir: str, log: SegmentedLogWriter, deadline: float | None
) -> None:
    """Check out exactly the SHA: a repository written by hand that borrows its objects, one git
    process.

    Submodules stay empty, LFS files stay pointers: see ``code_parts``. No ref pins the SHA: the
    bare repository's reflogs never expire, so gc takes only what a deleted branch alone held; if
    that is gone before the run's turn comes, the error names it. (A ref would have to be written
    and removed through git, two processes per run.) Raises ``CheckoutError``, also at the deadline
    (of ``time.monotonic``): a few kilobytes of objects may be millions of files.
    """
    output = write_files(job, work_dir, job["sha"], job["git_dir"], deadline)
    if output is not None:
        log.write(output)
        lines = output.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise CheckoutError(f"commit {job['sha'][:12]} can't be checked out: {lines[-1][:100]}")


def write_files(
    job: dict[str, Any], work_dir: str, sha: str, git_dir: str, deadline: float | None
) -> bytes | None:
    """Write the files of a commit whose objects are in ``git_dir``.

    Return None, or the beginning of what git says if it can't. Raises ``CheckoutError``.
    """
    dot_git = os.path.join(work_dir, ".git")
    _init_repository(dot_git, sha, git_dir)
    output = bytearray()
    status = run_git(
        ["reset", "--hard", "--quiet", sha],
        work_dir, job, deadline, lambda data: output.extend(data[: _SAID_BYTES - len(output)]),
    )  # fmt: skip
    with open(os.path.join(dot_git, "HEAD"), encoding="utf-8") as file:
        head = file.read().strip()
    return bytes(output) if status or head != sha else None


def _init_repository(dot_git: str, sha: str, git_dir: str) -> None:
    """Write a repository whose HEAD is that commit and whose objects are those of ``git_dir``."""
    os.makedirs(os.path.join(dot_git, "objects", "info"))
    os.mkdir(os.path.join(dot_git, "refs"))
    is_sha256 = len(sha) == 64
    files = {
        "HEAD": sha + "\n",
        "objects/info/alternates": os.path.join(git_dir, "objects") + "\n",
        "config": "[core]\n\trepositoryformatversion = 1\n\tbare = false\n\thooksPath = /dev/null\n"
        + ("[extensions]\n\tobjectFormat = sha256\n" if is_sha256 else ""),
    }
    for name, text in files.items():
        with open(os.path.join(dot_git, name), "w", encoding="utf-8") as file:
            file.write(text)
    shallow = os.path.join(git_dir, "shallow")
    if os.path.exists(shallow):
        shutil.copy(shallow, os.path.join(dot_git, "shallow"))


def run_git(
    git_args: list[str],
    work_dir: str,
    job: dict[str, Any],
    deadline: float | None,
    on_output: Callable[[bytes], None],
) -> int:
    """Run git with nobody's configuration, and return its exit status.

    ``on_output`` gets what it writes, messages too. Raises ``CheckoutError``.
    """
    # No attributes of a person's or of the machine's: see gitattributes(5).
    argv = ["git", "-c", f"core.attributesFile={os.devnull}", *git_args]
    env = {**os.environ, "GIT_ATTR_NOSYSTEM": "1", **job["git_env"]}
    try:
        pid, pipe = processes.start_process(argv, work_dir, env)
    except processes.StartError as error:
        raise CheckoutError(f"commit {job['sha'][:12]} can't be checked out: {error}") from error
    try:
        while data := _read_before(pipe, deadline, job):
            on_output(data)
    except BaseException:  # a cancel, for example: a checkout may hang on a dead disk
        processes.kill_process_group(pid, signal.SIGKILL)
        raise
    finally:
        os.close(pipe)
        _, status = os.waitpid(pid, 0)
    return status


def raise_at_deadline(deadline: float | None, job: dict[str, Any]) -> None:
    """Raise ``CheckoutError`` if the time for the checkout is over."""
    if deadline is not None and time.monotonic() >= deadline:
        raise CheckoutError(f"commit {job['sha'][:12]} can't be checked out: it took too long")


def _read_before(pipe: int, deadline: float | None, job: dict[str, Any]) -> bytes:
    """Return what git writes, b"" at its end. Raises ``CheckoutError`` at the deadline."""
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    if not select.select([pipe], [], [], left)[0]:
        raise CheckoutError(f"commit {job['sha'][:12]} can't be checked out: it took too long")
    return os.read(pipe, 65536)


def remove_tree(path: str) -> None:
    """Remove a tree, whatever its permissions: a command may have made unwritable directories."""

    if os.path.islink(path):
        os.unlink(path)  # what it leads to is not ours
        return
    with contextlib.suppress(RecursionError):  # Python 3.11 goes down a deep tree by calling itself
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _chmod_directories(path)
        import subprocess

        subprocess.run(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL, check=False)


def _chmod_directories(path: str) -> None:
    """Make every directory of a tree accessible, before it is listed; follow no links."""
    todo = [path]
    while todo:
        directory = todo.pop()
        with contextlib.suppress(OSError):  # another user's, or deleted this instant
            os.chmod(directory, stat.S_IRWXU)
            entries = os.scandir(directory)
            todo += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
