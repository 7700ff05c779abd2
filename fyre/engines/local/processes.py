"""Starting, ending and judging processes, for a supervisor that is one itself."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Collection
from typing import NoReturn

_MAX_PASSES = 10
"""Times that leftovers are looked for: one may start another while we look."""


def create_wake_pipe() -> tuple[int, int]:
    """A pipe that blocks nobody. Descriptors are not inherited anyway; macOS has no ``pipe2``."""
    pipe = os.pipe()
    for end in pipe:
        os.set_blocking(end, False)
    return pipe


class StartError(Exception):
    """The kernel refused to start a program, so nothing of it ran: ``args[0]`` says why."""


def start_process(argv: list[str], directory: str, env: dict[str, str]) -> tuple[int, int]:
    """Start a process in a session of its own, both outputs into one pipe: its pid and the pipe's end to read.

    Raises ``StartError``, where a shell's exit code could be taken for the command's.
    """
    read, write = os.pipe()
    trouble, report = os.pipe()  # closed by the program's start
    pid = os.fork()
    if pid == 0:
        _exec_program(argv, directory, env, write, report)
    os.close(write)
    os.close(report)
    number = b"0"  # until it has started: a cancel may come now
    try:
        number = os.read(trouble, 16)
    finally:
        os.close(trouble)
        if number:
            os.close(read)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if number:
        raise StartError(f"{argv[0]} can't be started: {os.strerror(int(number))}")
    return pid, read


def _exec_program(
    argv: list[str], directory: str, env: dict[str, str], output: int, error_pipe: int
) -> NoReturn:
    """In the child: turn into the program, or report the number of the error."""
    number = errno.EINVAL  # a NUL somewhere
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for ours in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(ours, signal.SIG_DFL)  # Python ignores some, and what is ignored stays so
        os.chdir(directory)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - that is what we are for
    except OSError as error:
        number = error.errno or number
    finally:
        os.write(error_pipe, str(number).encode())
        os._exit(127)


def reap_exit_code(pid: int) -> int | None:
    """The exit code of that child if it has ended: negative for a signal. Orphans that we inherited go unremarked."""
    while True:
        try:
            done, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if done == pid:
            return os.waitstatus_to_exitcode(status)
        if not done:
            return None


def child_pids() -> list[int]:
    """The processes whose parent we are; the orphans of the command become that."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # not Linux: what left the group is not found
        return []


def kill_process_group(pid: int, signal_number: int) -> None:
    """Send a signal to a process group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def kill_processes_of_runs(keys: Collection[str]) -> None:
    """Kill what lost runs left behind: a supervisor that was killed can't do it any more. Linux only."""
    marks = {f"FYRE_KEY={key}".encode() for key in keys}
    if not marks or not os.path.isdir("/proc"):
        return
    for _ in range(_MAX_PASSES):
        found = [
            int(name)
            for name in os.listdir("/proc")
            if name.isdigit() and _has_run_marker(name, marks)
        ]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _has_run_marker(pid: str, markers: set[bytes]) -> bool:
    """Whether a process was started by one of those runs; one that has ended has no environment any more."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return not markers.isdisjoint(file.read().split(b"\0"))
    except OSError:
        return False
