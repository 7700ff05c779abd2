"""The server's side of the fork server.

It starts the fork server for the first run, asks it to fork supervisors, and starts it again when
it has died.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fyre.engines.local import own_environment, processes

_CREDENTIAL_VARIABLES = {
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_PAT",
    "GITLAB_TOKEN",
}
_IMPORT_ROOT = Path(__file__).parents[3]
"""The folder from which this package was imported; the fork server imports it from there too."""

_RUNNER_FILE_VARIABLES = {
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
}
"""Files in which a workflow's runner takes the commands of a step.

Neither what a run prints nor what it writes may be such a command.
"""

_START_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from fyre.engines.local import fork_server; fork_server.main()"
)


class ForkServerClient:
    """A fork server process that is started when it is needed, also where one has died. Used by one
    thread at a time.
    """

    def __init__(
        self, programs: Path, *, own_python: bool = False, command_umask: int = -1
    ) -> None:
        """Take down today's environment; it is that of all runs. ``command_umask`` is -1 for ours.

        With ``own_python`` runs see the Python environment that Fyre itself is in; else only the
        command ``fyre``, by a file in the folder ``programs``.
        """
        self._env = (
            dict(os.environ)
            if own_python
            else own_environment.without_own_environment(os.environ, programs)
        )
        self._umask = command_umask
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process unless one was started, and return it."""
        return self._started()[0]

    def fork_supervisor(self, directory: Path) -> int:
        """Have a supervisor forked for a run.

        Return the end to read of the pipe that brings its pid and a line's end, and then a byte for
        each change.
        """
        read_end, write_end = processes.create_wake_pipe()
        try:
            for _ in range(2):
                try:
                    connection = self._started()[1]
                    socket.send_fds(connection, [str(directory).encode()], [write_end])
                    break
                except OSError:  # it was killed; a new one does it
                    self.close()
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)  # where both failed, the pipe ends now, and the run is queued again
        return read_end

    def pid(self) -> int | None:
        """Return the pid of the process, None if there is none."""
        return self._server[0].pid if self._server else None

    def kill(self) -> None:
        """Kill the process; what it was asked for and has not done, it never will."""
        if self._server is not None:
            self._server[0].kill()
            self.close()

    def close(self) -> None:
        """End the process; supervisors that it forked go on."""
        if self._server is not None:
            process, connection = self._server
            self._server = None
            connection.close()
            process.wait()

    def _started(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._server is None:
            self._server = _start_fork_server(self._env, self._umask)
        return self._server


def _start_fork_server(
    env: Mapping[str, str], umask: int
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process in its own session, with an environment without credentials of a forge."""
    # Also in a stream, each message ends where the pipe that comes with it does.
    connection, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    env = {name: value for name, value in env.items() if not _is_private_variable(name)}
    command = [sys.executable, "-I", "-S", "-c", _START_CODE, str(_IMPORT_ROOT)]
    with server_end:
        process = subprocess.Popen(
            command,
            stdin=server_end.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env=env,
            umask=umask,
        )
    return process, connection


def _is_private_variable(name: str) -> bool:
    """Return True if a command must not see this variable of the server.

    That is a credential of a forge or of Fyre, a variable of git's own, or a way to command a
    workflow.

    ``GIT_*`` may point git at another repository (in a hook) or hold a credential (``GIT_ASKPASS``,
    ``GIT_CONFIG_VALUE_0``). All other variables are the user's environment and stay.
    """
    is_secret = name.startswith(("FYRE_", "ACTIONS_")) and name.endswith(
        ("_TOKEN", "_SECRET", "_PASSWORD", "_KEY")
    )
    return (
        is_secret
        or name in _CREDENTIAL_VARIABLES | _RUNNER_FILE_VARIABLES
        or name.startswith("GIT_")
    )
