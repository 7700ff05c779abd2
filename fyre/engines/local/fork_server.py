"""The fork server: a small process that forks supervisors.

It has loaded what they need, so that a run costs a fork and no start of Python. It ends when the
server does; the supervisors do not. Its standard input is a socket to the server (``fork_client``).
It starts with each server, so it loads what supervisors need and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from fyre.engines.local.supervisor import Supervisor


def main() -> None:
    """Fork a supervisor for each message.

    A message is the directory of a run, and beside it the pipe on which the server is told the
    supervisor's pid, and then of changes.
    """
    signal.signal(signal.SIGCHLD, _reap_children)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as server:
        while True:
            directory, pipes, _, _ = socket.recv_fds(server, 4096, 1)
            if not directory:
                return
            # A command that held the pipe would hide its supervisor's death.
            os.set_inheritable(pipes[0], False)  # noqa: FBT003 - its only form
            pid = os.fork()
            if pid == 0:
                server.close()
                _run_supervisor(directory.decode(), pipes[0])
            with contextlib.suppress(OSError):  # the server is gone
                os.write(pipes[0], b"%d\n" % pid)
            os.close(pipes[0])


def _reap_children(*_: object) -> None:
    """Wait for children that ended, so that what they used counts as the server's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run_supervisor(directory: str, pipe: int) -> None:
    """Run the supervisor in the child; never return."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        Supervisor(directory, pipe).run()
        code = 0
    except Exception:
        # A bug: the run is declared lost or started again; the server's stderr gets the traceback.
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
