"""The server's side of the forker: starts it, has supervisors forked by it, and starts it anew when it is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import fyre
from fyre.engines.local import processes

_CREDENTIAL_VARIABLES = {
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_PAT",
    "GITLAB_TOKEN",
}
_RUNNER_FILE_VARIABLES = {
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
}
"""Files in which a workflow's runner takes a step's commands: what a run prints is none, and what it writes neither."""

_START_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from fyre.engines.local import fork_server; fork_server.main()"


class ForkServerClient:
    """The server's side: a spawner process that is started anew when it is gone. Used by one thread at a time."""

    def __init__(self) -> None:
        """Started now, so that the first run does not wait for it."""
        self.process, self._connection = _start_fork_server()

    def fork_supervisor(self, directory: Path) -> int:
        """Have a supervisor forked for a run; answers with the end to read of the pipe on which it tells of changes."""
        read, write = processes.create_wake_pipe()
        try:
            for _ in range(2):
                try:
                    socket.send_fds(self._connection, [str(directory).encode()], [write])
                    break
                except OSError:  # it was killed; the next one does
                    self.close()
                    self.process, self._connection = _start_fork_server()
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


def _start_fork_server() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process in a session of its own, with an environment that holds no forge's credentials."""
    ours, theirs = socket.socketpair(
        socket.AF_UNIX, socket.SOCK_STREAM
    )  # each message ends where its pipe comes
    env = {name: value for name, value in os.environ.items() if not _is_private_variable(name)}
    command = [sys.executable, "-I", "-S", "-c", _START_CODE, str(Path(fyre.__file__).parents[1])]
    with theirs:
        process = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env=env,
        )
    return process, ours


def _is_private_variable(name: str) -> bool:
    """Whether a variable of the server's is none of a command's business: a forge's or Fyre's credential, git's own, or
    a way to command a workflow.

    ``GIT_*`` may point git at another repository (in a hook) or hold a credential (``GIT_ASKPASS``,
    ``GIT_CONFIG_VALUE_0``); everything else is the user's environment and stays.
    """
    ours = name.startswith(("FYRE_", "ACTIONS_")) and name.endswith(
        ("_TOKEN", "_SECRET", "_PASSWORD", "_KEY")
    )
    return ours or name in _CREDENTIAL_VARIABLES | _RUNNER_FILE_VARIABLES or name.startswith("GIT_")
