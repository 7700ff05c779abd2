"""A clean checkout of exactly one SHA, and its removal."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
from typing import Any

from fyre.engines.local import processes
from fyre.engines.segmented_log import SegmentedLogWriter


class CheckoutError(Exception):
    """The code can't be had: ``args[0]`` says why."""


def create_checkout(job: dict[str, Any], work_dir: str, log: SegmentedLogWriter) -> None:
    """A clean checkout of exactly the SHA: the repository laid out by hand, its objects borrowed, one git process.

    Submodules are not fetched, LFS files stay pointers. There is no ref to pin the SHA: the bare repository's reflogs
    never expire, so gc takes only what a deleted branch held alone; gone before its turn came, that is an error that
    names it. (A ref would have to be written and removed through git, two processes a run.) Raises ``CheckoutError``.
    """
    dot = os.path.join(work_dir, ".git")
    _init_repository(dot, job["sha"], job["git_dir"])
    status, said = _reset_files(work_dir, job)
    with open(os.path.join(dot, "HEAD"), encoding="utf-8") as file:
        head = file.read().strip()
    if status or head != job["sha"]:
        log.write(said)
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise CheckoutError(f"commit {job['sha'][:12]} can't be checked out: {lines[-1][:100]}")


def _init_repository(dot_git: str, sha: str, git_dir: str) -> None:
    """A repository whose HEAD is that commit, and whose objects are the other's."""
    os.makedirs(os.path.join(dot_git, "objects", "info"))
    os.mkdir(os.path.join(dot_git, "refs"))
    wide = len(sha) == 64
    files = {
        "HEAD": sha + "\n",
        "objects/info/alternates": os.path.join(git_dir, "objects") + "\n",
        "config": "[core]\n\trepositoryformatversion = 1\n\tbare = false\n\thooksPath = /dev/null\n"
        + ("[extensions]\n\tobjectFormat = sha256\n" if wide else ""),
    }
    for name, text in files.items():
        with open(os.path.join(dot_git, name), "w", encoding="utf-8") as file:
            file.write(text)
    shallow = os.path.join(git_dir, "shallow")
    if os.path.exists(shallow):
        shutil.copy(shallow, os.path.join(dot_git, "shallow"))


def _reset_files(work_dir: str, job: dict[str, Any]) -> tuple[int, bytes]:
    """The files of that commit, by git: its status, and the beginning of what it said."""
    argv = ["git", "reset", "--hard", "--quiet", job["sha"]]
    try:
        pid, pipe = processes.start_process(argv, work_dir, {**os.environ, **job["git_env"]})
    except processes.StartError as error:
        raise CheckoutError(f"commit {job['sha'][:12]} can't be checked out: {error}") from error
    said = b""
    try:
        while data := os.read(pipe, 65536):
            said += data[: 10_000 - len(said)]
    except BaseException:  # a cancel: a checkout may hang on a dead disk
        processes.kill_process_group(pid, signal.SIGKILL)
        raise
    finally:
        os.close(pipe)
        _, status = os.waitpid(pid, 0)
    return status, said


def remove_tree(path: str) -> None:
    """Remove a tree, whatever its permissions: a command may have made directories that nobody can write."""

    with contextlib.suppress(RecursionError):  # Python 3.11 goes down a deep tree by calling itself
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _chmod_directories(path)
        import subprocess

        subprocess.run(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL, check=False)


def _chmod_directories(path: str) -> None:
    """Give ourselves every directory of a tree, each before it is listed; links are not followed."""
    todo = [path]
    while todo:
        place = todo.pop()
        with contextlib.suppress(OSError):  # another user's, or gone this instant
            os.chmod(place, stat.S_IRWXU)
            todo += [
                entry.path for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)
            ]
