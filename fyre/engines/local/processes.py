"""Starting, ending and reaping processes, for a supervisor that is a process itself."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Collection
from typing import NoReturn

_MAX_PASSES = 10
"""Times that leftovers are searched for: one may start another during the search."""


def create_wake_pipe() -> tuple[int, int]:
    """Create a pipe that blocks nobody.

    Descriptors are not inherited anyway; macOS has no ``pipe2``.
    """
    pipe = os.pipe()
    for end in pipe:
        os.set_blocking(end, False)
    return pipe


class StartError(Exception):
    """The kernel refused to start a program, so nothing of it ran; ``args[0]`` says why."""


def start_process(argv: list[str], directory: str, env: dict[str, str]) -> tuple[int, int]:
    """Start a process in its own session, with both outputs in one pipe.

    Return its pid and the pipe's end to read. Raises ``StartError``: a shell's exit code for that
    could be taken for the command's.
    """
    read_end, write_end = os.pipe()
    error_read, error_write = os.pipe()  # closed by the program's start
    pid = os.fork()
    if pid == 0:
        _exec_program(argv, directory, env, write_end, error_write)
    os.close(write_end)
    os.close(error_write)
    error_number = b"0"  # until it has started: a cancel may come at any time
    try:
        error_number = os.read(error_read, 16)
    finally:
        os.close(error_read)
        if error_number:
            os.close(read_end)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if error_number:
        raise StartError(f"{argv[0]} can't be started: {os.strerror(int(error_number))}")
    return pid, read_end


def _exec_program(
    argv: list[str], directory: str, env: dict[str, str], output: int, error_pipe: int
) -> NoReturn:
    """Become the program, in the child; or report the number of the error."""
    error_number = errno.EINVAL  # a NUL somewhere
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        # Python ignores some of these, and what is ignored stays ignored in the program.
        for signal_number in (
            signal.SIGTERM,
            signal.SIGCHLD,
            signal.SIGPIPE,
            signal.SIGINT,
            signal.SIGXFSZ,
        ):
            signal.signal(signal_number, signal.SIG_DFL)
        os.chdir(directory)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - to start a program is the task
    except OSError as error:
        error_number = error.errno or error_number
    finally:
        os.write(error_pipe, str(error_number).encode())
        os._exit(127)


def reap_exit_code(pid: int) -> int | None:
    """Return the exit code of that child if it has ended: negative for a signal.

    Orphans that were inherited are reaped without a word.
    """
    while True:
        try:
            ended_pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended_pid == pid:
            return os.waitstatus_to_exitcode(status)
        if not ended_pid:
            return None


def child_pids() -> list[int]:
    """Return the children of this process; the command's orphans become its children."""
    own_pid = os.getpid()
    try:
        with open(f"/proc/{own_pid}/task/{own_pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # not Linux: processes that left the group are not found
        return []


def descendant_pids(pid: int) -> list[int]:
    """Return the children of a process, theirs, and so on; none where it is not Linux."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and (fields := _read_stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found[1:]


def is_stopped(pid: int) -> bool:
    """Return True if somebody stopped a process, and it can go on; False where it is not Linux."""
    return _read_stat(pid)[:1] == [b"T"]


def _read_stat(pid: int) -> list[bytes]:
    """Return what the kernel says of a process, from its state on; nothing if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def kill_process_group(pid: int, signal_number: int) -> None:
    """Send a signal to a process group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def kill_processes(pids: Collection[int], signal_number: int) -> None:
    """Send a signal to processes, of which some may be gone, or another user's."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal_number)


def is_in_group(pid: int, group: int) -> bool:
    """Return True if a process belongs to a process group; False also if it is gone."""
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False


def is_group_alive(group: int) -> bool:
    """Return True if a process group has a member that can be sent a signal."""
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def kill_processes_of_runs(keys: Collection[str]) -> None:
    """Kill what lost runs left behind: a supervisor that was killed can't do that. Linux only."""
    markers = {f"FYRE_KEY={key}".encode() for key in keys}
    if not markers or not os.path.isdir("/proc"):
        return
    for _ in range(_MAX_PASSES):
        names = [name for name in os.listdir("/proc") if name.isdigit()]
        pids = [int(name) for name in names if _has_run_marker(name, markers)]
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _has_run_marker(pid: str, markers: set[bytes]) -> bool:
    """Return True if a process was started by one of those runs.

    A process that has ended has no environment any more.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return not markers.isdisjoint(file.read().split(b"\0"))
    except OSError:
        return False
