"""Run a real image registry (Debian's docker-registry), and push a small image to it."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

PROGRAM = "docker-registry"


@contextmanager
def registry(root: Path, **auth: Any) -> Iterator[str]:
    """Run the registry until the block ends; yield its host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(root / "images")}}
    config = {"version": 0.1, "log": {"level": "error"}, "http": {"addr": host}, "storage": storage}
    config |= {"auth": auth} if auth else {}
    (root / "registry.json").write_text(json.dumps(config))  # JSON is YAML
    with (root / "registry.log").open("w") as log:
        server = subprocess.Popen(
            [PROGRAM, "serve", str(root / "registry.json")], stdout=log, stderr=log
        )
    try:
        _await(server, host, root / "registry.log")
        yield host
    finally:
        server.terminate()
        server.wait(30)


def push(
    host: str, name: str, tag: str, content: bytes, login: tuple[str, str] | None = None
) -> str:
    """Push an image of one layer; return the digest of its manifest."""
    config, layer = json.dumps({"architecture": "amd64", "os": "linux"}).encode(), content
    with requests.Session() as session:
        session.auth = login
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _blob(
                    session, host, name, config, "application/vnd.oci.image.config.v1+json"
                ),
                "layers": [
                    _blob(session, host, name, layer, "application/vnd.oci.image.layer.v1.tar")
                ],
            }
        ).encode()
        answer = session.put(
            f"http://{host}/v2/{name}/manifests/{tag}",
            data=manifest,
            headers={"Content-Type": "application/vnd.oci.image.manifest.v1+json"},
        )
        answer.raise_for_status()
    return _digest(manifest)


def _blob(
    session: requests.Session, host: str, name: str, content: bytes, kind: str
) -> dict[str, Any]:
    where = session.post(f"http://{host}/v2/{name}/blobs/uploads/").headers["Location"]
    answer = session.put(
        where,
        params={"digest": _digest(content)},
        data=content,
        headers={"Content-Type": "application/octet-stream"},
    )
    answer.raise_for_status()
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _await(server: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            requests.get(f"http://{host}/v2/", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.02)
        else:
            return
