"""Forks supervisors: a small process that has loaded what they need, so that a run costs a fork and no Python start.

It ends when the server does; the supervisors do not. Its standard input is a socket to the server (``spawner``).
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
    """Each message is the folder of a run and, beside it, the pipe on which the server is told of changes."""
    signal.signal(signal.SIGCHLD, _reap_children)
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
                _run_supervisor(folder.decode(), pipes[0])
            os.close(pipes[0])


def _reap_children(*_: object) -> None:
    """Wait for those that ended: what they used is then counted as the server's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run_supervisor(directory: str, pipe: int) -> None:
    """In the child: never return."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        Supervisor(directory, pipe).run()
        code = 0
    except (
        Exception
    ):  # a bug: the run is declared lost or started again; the words go to the server's stderr
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
