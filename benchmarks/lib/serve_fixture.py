"""What some benchmarks share: an embedded forge in a thread of theirs, and a ``fyre serve`` beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.lib import up_fixture
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge as EmbeddedForge
from fyre.server import http_server


@contextmanager
def forge(folder: Path) -> Iterator[EmbeddedForge]:
    """The embedded forge in a thread; its ``base_url`` is where."""
    listening = http_server.bind_socket("127.0.0.1", 0, "")
    found = EmbeddedForge(
        folder / "state", base_url=f"http://127.0.0.1:{listening.getsockname()[1]}"
    )
    server = uvicorn.Server(
        uvicorn.Config(routes.create_forge_app(found), lifespan="off", log_level="warning")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield found
    finally:
        found.stop()
        server.should_exit = True
        thread.join()


@contextmanager
def serve(
    folder: Path, on: EmbeddedForge, more: Mapping[str, str], before: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """A ``fyre serve``; its URL and its process. ``before`` is a command that runs it."""
    env = {
        "FYRE_LISTEN": "127.0.0.1:0",
        "FYRE_URL": "http://fyre.example.org",
        "FYRE_STATE": str(folder / "serve"),
        "FYRE_FORGE": str(on.base_url),
        "FYRE_API": f"{on.base_url}/api",
        "FYRE_TOKEN": on.service_token,
        "FYRE_WEBHOOK_SECRET": on.webhook_secret,
        "FYRE_JOBS": "2",
    }
    command, env = [*before, *up_fixture.FYRE, "serve"], os.environ | env | dict(more)
    with (
        (folder / "serve.log").open("w") as log,
        subprocess.Popen(command, env=env, stderr=log, cwd=up_fixture.ROOT) as process,
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


def ask(on: EmbeddedForge, path: str, data: object = None) -> Any:  # noqa: ANN401 - what JSON holds
    """What the forge's API answers, to a POST where there is data."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(f"{on.base_url}/api{path}", body, up_fixture.HEADERS)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
