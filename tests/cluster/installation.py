"""What an installation by the chart needs: images, a disk, and a forge that pods reach."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge
from tests.cluster import access, build, images
from tests.cluster.conftest import RELAY_HOST
from tests.conftest import git
from tests.integration.apps.test_serve import NAME, GitHub
from tests.support.local_forge import Served


@pytest.fixture(scope="session")
def image(program: Path) -> str:
    """The image of this repository, where the containerd of a cluster of ours has it."""
    return load_server_image()


def load_server_image(root: Path = images.ROOT, kind: str = "fyre") -> str:
    """Build the image of what is in ``root`` and import it; return its name. Or skip the test."""
    if shutil.which("buildah") is None:
        pytest.skip("needs buildah")
    return load_image(lambda: images.server(build.cache(), root, kind))


def load_image(make: Callable[[], tuple[str, Path]]) -> str:
    """Make an image and import its archive; return its name. Or skip the test."""
    door = Path(str(access.Admin().settings.ssl_ca_cert)).parents[1] / "containerd.sock"
    if not door.exists():
        pytest.skip("needs a cluster of `python -m tests.cluster` on this machine")
    name, archive = make()
    command = ["ctr", f"--address={door}", "--namespace=k8s.io", "images"]
    held = subprocess.run(
        [*command, "list", "-q", f"name=={name}"], check=True, capture_output=True, text=True
    ).stdout
    if not held.strip():
        subprocess.run([*command, "import", archive], check=True, capture_output=True)
    return name


@pytest.fixture
def disk(admin: access.Admin, tmp_path: Path) -> Iterator[str]:
    """The name of a storage class that has one volume: a directory of this machine."""
    name = f"fyre-test-{uuid.uuid4().hex[:12]}"
    (tmp_path / "disk").mkdir()
    (node, *_) = admin.core.list_node().items
    here = {
        "key": "kubernetes.io/hostname",
        "operator": "In",
        "values": [node.metadata.labels["kubernetes.io/hostname"]],
    }
    spec = {
        "storageClassName": name,
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "local": {"path": str(tmp_path / "disk")},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    admin.core.create_persistent_volume({"metadata": {"name": name}, "spec": spec})
    yield name
    admin.core.delete_persistent_volume(name)


@pytest.fixture
def github(repo: Path, tmp_path: Path) -> Iterator[GitHub]:
    """The embedded forge where pods reach this machine, and somebody who has pushed there."""
    listener = socket.create_server((RELAY_HOST, 0))
    base = f"http://{RELAY_HOST}:{listener.getsockname()[1]}"
    forge = LocalForge(tmp_path / "forge", base_url=base)
    app = routes.create_forge_app(forge, [RELAY_HOST])
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        git("remote", "add", "origin", f"{base}/{NAME}.git", cwd=repo)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        yield GitHub(Served(forge, base), repo)
    finally:
        server.should_exit = True
        thread.join()
        forge.stop()
