"""Run the local forge in a thread of a benchmark, and a ``fyre serve`` beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from benchmarks.lib import up_fixture, versions
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge
from fyre.server import http_server


@contextmanager
def run_forge(
    folder: Path, front: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> Iterator[LocalForge]:
    """Run the local forge in a thread, behind ``front``; it serves at its ``base_url``."""
    listening = http_server.bind_socket("127.0.0.1", 0, "")
    forge = LocalForge(folder / "state", base_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
    server = uvicorn.Server(
        uvicorn.Config(front(routes.create_forge_app(forge)), lifespan="off", log_level="warning")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield forge
    finally:
        forge.stop()
        server.should_exit = True
        thread.join()


@contextmanager
def run_serve(
    folder: Path, forge: LocalForge, settings: Mapping[str, str], wrapper: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """Run a ``fyre serve`` for a forge; yield its URL and its process id.

    ``settings`` are further environment variables; ``wrapper`` is a command that runs it, such as
    ``taskset``.
    """
    env = {
        "FYRE_LISTEN": "127.0.0.1:0",
        "FYRE_URL": "http://fyre.example.org",
        "FYRE_STATE": str(folder / "serve"),
        "FYRE_FORGE": str(forge.base_url),
        "FYRE_API": f"{forge.base_url}/api",
        "FYRE_TOKEN": forge.service_token,
        "FYRE_WEBHOOK_SECRET": forge.webhook_secret,
        "FYRE_JOBS": "2",
    }
    command, env = [*wrapper, *up_fixture.FYRE, "serve"], os.environ | env | dict(settings)
    with (
        (folder / "serve.log").open("w") as log,
        subprocess.Popen(command, env=env, stderr=log, cwd=versions.ROOT) as process,
    ):
        while not (
            ready := re.search(r"^ready (\S+)$", (folder / "serve.log").read_text(), re.MULTILINE)
        ):
            if process.poll() is not None:
                raise RuntimeError((folder / "serve.log").read_text())
            time.sleep(0.05)
        try:
            yield ready[1], process.pid
        finally:
            process.terminate()


def request_json(  # JSON holds anything
    forge: LocalForge, path: str, data: object = None
) -> Any:  # noqa: ANN401
    """Return the response of the forge's API to a GET, or to a POST if there is data."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(f"{forge.base_url}/api{path}", body, up_fixture.HEADERS)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
