"""Run a `fyre up` for tests that need the whole program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def up(root: Path) -> Iterator[str]:
    """Run it until the block ends; yield its address."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "FYRE_"))}
    env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(root.parent)}
    words = [sys.executable, "-m", "fyre", "up", "--root", str(root), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as server:
        said = server.stderr.readline()
        try:
            assert said.startswith("ready "), said + server.stderr.read()
            yield said.split()[1]
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
