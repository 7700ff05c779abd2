"""A real S3 server: versitygw, built from its Go module, once for each version.

    python -m tests.support.s3_server     builds it

Needs Go. The program is kept in the cache, outside of the repository.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support import waiting

VERSION = "v1.8.0"
MODULE = "github.com/versity/versitygw/cmd/versitygw"

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fyre-test-s3"
# a test has another home

ACCESS_KEY, SECRET_KEY, REGION = "fyre-test-key", "fyre-test-secret", "us-east-1"


def program() -> Path:
    """Return the server's program, which the first call builds in half a minute."""
    built = _CACHE / f"versitygw-{VERSION}"
    if not built.exists():
        draft = _CACHE / f"draft-{os.getpid()}"
        environ = {**os.environ, "GOBIN": str(draft), "CGO_ENABLED": "0"}
        command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"]
        subprocess.run(command, env=environ, check=True, stdout=sys.stderr)
        (draft / "versitygw").rename(built)
        draft.rmdir()
    return built


@dataclass(frozen=True)
class S3Server:
    """A server that runs. Each folder below ``data`` is a bucket."""

    port: int
    data: Path

    def make_bucket(self, name: str) -> Path:
        """Make a bucket, and return its folder."""
        folder = self.data / name
        folder.mkdir()
        return folder

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Return the variables with which a client finds the server, or a proxy before it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
        }


@contextmanager
def run_server(folder: Path) -> Iterator[S3Server]:
    """Run a server that keeps its data in a folder."""
    data, sidecar = folder / "data", folder / "sidecar"
    for one in (data, sidecar):
        one.mkdir(parents=True)
    port = _free_port()
    command = [
        *(str(program()), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION),
        *("--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"),
        *("posix", "--sidecar", str(sidecar), str(data)),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            waiting.until(lambda: _answers(port))
            yield S3Server(port, data)
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


if __name__ == "__main__":
    print(program())
