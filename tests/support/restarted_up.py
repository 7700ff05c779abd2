"""A `fyre up` that is stopped and started again at the same address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests


class RestartedUp:
    """The process of a ``fyre up`` on one root and port."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root, self.port, self.options = root, 0, options
        self.messages = root.parent / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        words = ["up", "--root", str(self.root), "--port", str(self.port), *self.options]
        with self.messages.open("wb") as messages:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fyre", *words],
                stderr=messages,
                env={key: value for key, value in os.environ.items() if key[:5] != "FYRE_"},
            )
        while not (lines := self._ready_lines()):
            assert self.process.poll() is None, self.messages.read_text()
            time.sleep(0.02)
        self.port = int(lines[0].rpartition(":")[2])

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal, and wait for its end."""
        assert self.process is not None
        self.process.send_signal(signal_number)
        self.process.wait(30)

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs that its first page lists, newest first."""
        found: list[dict[str, Any]] = requests.get(f"{self.url}/runs.json").json()
        return found

    def _ready_lines(self) -> list[str]:
        lines = self.messages.read_text().splitlines(keepends=True)
        return [line for line in lines if line.startswith("ready ") and line.endswith("\n")]
