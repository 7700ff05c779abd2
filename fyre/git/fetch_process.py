"""Run fetches, each bounded in time, that can all be cut off at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress

from fyre.errors import TransientError, UserError

FETCH_TIMEOUT = 1800.0
"""Seconds for one fetch, however much it brings. One that brings next to nothing for a minute is
ended by git itself."""


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
