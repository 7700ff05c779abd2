"""Run fetches, each bounded in time, that can all be cut off at once; read what went wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from fyre.errors import TransientError, UserError
from fyre.git import git_command
from fyre.github.errors import DeniedError, NotFoundError, NotVisibleError
from fyre.runs.run import Repository

FETCH_TIMEOUT = 1800.0
"""Seconds for one fetch, however much it brings. One that brings next to nothing for a minute is
ended by git itself."""


_CREDENTIAL_HELPER = (
    '!f() { if [ "$1" = get ]; then echo username=x-access-token;'
    ' echo "password=$FYRE_FORGE_TOKEN"; fi; }; f'
)


class FetchProcesses:
    """The git processes that fetch now. Thread-safe."""

    def __init__(self, timeout: float = FETCH_TIMEOUT) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def run(self, args: list[str], env: Mapping[str, str]) -> tuple[int, str]:
        """Run ``git`` with these arguments; return its exit code and its errors.

        Raises ``TransientError`` if it takes too long, or is cut off.
        """
        process = self._start(args, env)
        try:
            _, stderr = process.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired as error:
            raise TransientError(f"fetching took more than {self._timeout:.0f} s") from error
        finally:
            _kill_group(process)
            with self._lock:
                self._running.discard(process)
        if self._is_closed:
            raise TransientError("fetching was cut off: the receiver stops")
        return process.returncode, stderr.decode(errors="replace")

    def close(self) -> None:
        """End what runs now, and start nothing more."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for process in running:
            _kill_group(process)

    def _start(self, args: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise TransientError("nothing is fetched: the receiver stops")
            try:
                process = subprocess.Popen(
                    ["git", *args],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # git's helpers talk to the server: all are ended
                )
            except FileNotFoundError as error:
                raise UserError(
                    "git is not installed, or not on the PATH", hint="install git 2.34 or newer"
                ) from error
            self._running.add(process)
            return process


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, if it has not ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fetch_environment(url: str, token: str | None) -> dict[str, str]:
    """Return the environment of a fetch.

    It alone holds the token: not a URL, a file or a command line.
    """
    parts = urlsplit(url)
    settings = {
        "safe.directory": "*",
        "protocol.allow": "never",
        "protocol.http.allow": "always",
        "protocol.https.allow": "always",
        "fetch.unpackLimit": "1",  # always a pack: thousands of loose objects are slower to serve
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "60",
        "credential.helper": "",
        f"credential.{parts.scheme}://{parts.netloc}.helper": _CREDENTIAL_HELPER if token else "",
    }
    pairs = {"GIT_CONFIG_COUNT": str(len(settings)), "FYRE_FORGE_TOKEN": token or "", "LC_ALL": "C"}
    for number, (key, value) in enumerate(settings.items()):
        pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return git_command.clean_env(**pairs)


def fetch_error(repository: Repository, stderr: str) -> Exception:
    """Return the error for a failed fetch.

    Git's exit code is 128 whatever happened, so its message decides.
    """
    if re.search(r"fatal: repository '.*' not found", stderr):
        return NotVisibleError(
            f"{repository.name}: "
            "the forge has no such repository, or does not show it to this token"
        )
    if match := re.search(r"fatal: couldn't find remote ref (\S+)", stderr):
        return NotFoundError(f"{repository.name}: the forge has no {match[1]}")
    if re.search(
        r"Authentication failed|could not read (Username|Password)|returned error: 403", stderr
    ):
        return DeniedError(
            f"{repository.name}: the forge does not let this token fetch",
            hint="fix the token's permissions",
        )
    errors = [line for line in stderr.splitlines() if line.startswith(("fatal:", "error:"))]
    reason = errors[-1] if errors else stderr.strip()[-200:]
    return TransientError(f"{repository.name}: fetching failed: {reason}")
