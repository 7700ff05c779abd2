"""GitHub's own descriptions, from npm.

``npm install --prefix DIR`` with this folder's package.json, then
``FYRE_NODE_MODULES=DIR/node_modules pytest tests/contract/github``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.contract.github import openapi_subset as cut
from tests.support.local_forge import Served, forge, pushed, receiver
from tests.support.waiting import until

__all__ = ["forge", "pushed", "receiver"]


# Asked once, at import: the isolation of tests takes FYRE_* out of the environment.
MODULES = Path(os.environ.get("FYRE_NODE_MODULES") or "node_modules").resolve()


@pytest.fixture(scope="session")
def modules() -> Path:
    """The npm packages; skips without them."""
    for needed in ("@octokit/openapi", "@octokit/webhooks-schemas", "@stoplight/prism-cli"):
        if not (MODULES / needed).is_dir():
            pytest.skip(f"the npm package {needed} is not in {MODULES}: set FYRE_NODE_MODULES")
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    return MODULES


@pytest.fixture(scope="session")
def description(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part of GitHub's OpenAPI description that Fyre uses."""
    target = tmp_path_factory.mktemp("openapi") / "github.json"
    whole = json.loads(
        (modules / "@octokit/openapi/generated/api.github.com.deref.json").read_bytes()
    )
    target.write_text(json.dumps(cut.cut(whole)))
    return target


@pytest.fixture
def proxy(forge: Served, modules: Path, description: Path, tmp_path: Path) -> Iterator[str]:
    """Put the forge's API behind a proxy that validates it.

    The proxy answers 4xx and 5xx for whatever GitHub's description forbids.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, said = f"http://127.0.0.1:{port}", tmp_path / "prism.log"
    command = [
        "node",
        str(modules / "@stoplight/prism-cli/dist/index.js"),
        "proxy",
        str(description),
        forge.api,
    ]
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--errors", "-h", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, said.read_text()
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        requests.get(f"{url}/rate_limit", timeout=20)
    except requests.ConnectionError:
        return False
    return True
