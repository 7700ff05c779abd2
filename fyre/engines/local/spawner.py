"""Forks supervisors: a small process that has loaded what they need, so that a run costs a fork and no Python start.

It ends when the server does; the supervisors do not. Its standard input is a socket to the server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import fyre
from fyre.engines.local import processes
from fyre.engines.local.supervisor import Supervisor

_CREDENTIALS = {
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_PAT",
    "GITLAB_TOKEN",
}
_START = "import sys; sys.path.insert(0, sys.argv[1]); from fyre.engines.local import spawner; spawner.main()"


class Spawner:
    """The server's side: a spawner process that is started anew when it is gone. Used by one thread at a time."""

    def __init__(self) -> None:
        """Started now, so that the first run does not wait for it."""
        self.process, self._connection = _new()

    def spawn(self, folder: Path) -> int:
        """Have a supervisor forked for a run; answers with the end to read of the pipe on which it tells of changes."""
        read, write = processes.wake_pipe()
        try:
            for _ in range(2):
                try:
                    socket.send_fds(self._connection, [str(folder).encode()], [write])
                    break
                except OSError:  # it was killed; the next one does
                    self.close()
                    self.process, self._connection = _new()
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)  # where both failed, the pipe ends here, and the run is queued again
        return read

    def close(self) -> None:
        """End the process; supervisors that it forked go on."""
        self._connection.close()
        self.process.wait()


def _new() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process in a session of its own, with an environment that holds no forge's credentials."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)  # each message ends where its pipe comes
    env = {name: value for name, value in os.environ.items() if not _is_private(name)}
    command = [sys.executable, "-I", "-S", "-c", _START, str(Path(fyre.__file__).parents[1])]
    with theirs:
        process = subprocess.Popen(
            command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True, env=env
        )
    return process, ours


def _is_private(name: str) -> bool:
    """Whether a variable of the server's is none of a command's business: a forge's or Fyre's credential, git's own.

    ``GIT_*`` may point git at another repository (in a hook) or hold a credential (``GIT_ASKPASS``,
    ``GIT_CONFIG_VALUE_0``); everything else is the user's environment and stays.
    """
    ours = name.startswith(("FYRE_", "ACTIONS_")) and name.endswith(("_TOKEN", "_SECRET", "_PASSWORD"))
    return ours or name in _CREDENTIALS or name.startswith("GIT_")


def main() -> None:
    """Each message is the folder of a run and, beside it, the pipe on which the server is told of changes."""
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as server:
        while True:
            folder, pipes, _, _ = socket.recv_fds(server, 4096, 1)
            if not folder:
                return
            # A command that held the pipe would hide its supervisor's death.
            os.set_inheritable(pipes[0], False)  # noqa: FBT003 - its only form
            if os.fork() == 0:
                server.close()
                _supervise(folder.decode(), pipes[0])
            os.close(pipes[0])


def _reap(*_: object) -> None:
    """Wait for those that ended: what they used is then counted as the server's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _supervise(folder: str, pipe: int) -> None:
    """In the child: never return."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        Supervisor(folder, pipe).run()
        code = 0
    except Exception:  # a bug: the run is declared lost or started again; the words go to the server's stderr
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
