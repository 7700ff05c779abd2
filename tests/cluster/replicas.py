"""Start several ``fyre serve``, each a process, on one namespace and one Lease."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
import requests

from fyre.engines.kubernetes import rbac
from fyre.engines.kubernetes.leader_election import LEASE_VERBS
from tests.cluster import access
from tests.conftest import git
from tests.integration.apps.test_serve import NAME
from tests.support.local_forge import Served, served

KEY = "the same for all, and long enough"
LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": list(LEASE_VERBS)}


class Replica:
    """One ``fyre serve``, a process; its port is its own for good."""

    def __init__(self, env: dict[str, str], place: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        env = {**env, "FYRE_STATE": str(place), "FYRE_LISTEN": self.url.removeprefix("http://")}
        self.log = place.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fyre", "serve"], env=env, stderr=log, stdout=log
            )

    def says(self, path: str) -> str:
        """An answer; "" where there is none."""
        try:
            return requests.get(self.url + path, timeout=20).text
        except requests.RequestException:
            return ""

    @property
    def leads(self) -> bool:
        return "ready " in self.log.read_text()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


class Start(Protocol):
    """Starts a receiver of that name; the rest of its configuration is in variables."""

    def __call__(self, name: str, **env: str) -> Replica: ...


@pytest.fixture
def forge(tmp_path: Path, repo: Path) -> Iterator[Served]:
    with served(tmp_path / "forge") as forge:
        git("remote", "add", "origin", f"{forge.base}/{NAME}.git", cwd=repo)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
        git("push", "-q", "origin", "main", cwd=repo)
        yield forge


@pytest.fixture
def start(
    admin: access.Admin, namespace: str, relay: str, forge: Served, tmp_path: Path
) -> Iterator[Start]:
    if relay:
        pytest.skip("once is enough: the relay's door is carried as the other one is")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        json.dumps({"namespace": namespace, "profiles": {"default": {"image": access.IMAGE}}})
    )
    role = rbac.build_role(namespace, secret_names=(), exec_mode=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "FYRE_"))}
    env |= {
        "FYRE_TOKEN": forge.forge.service_token,
        "FYRE_WEBHOOK_SECRET": forge.forge.webhook_secret,
        "FYRE_KEY": KEY,
        "FYRE_URL": "https://fyre.example.org",
        "FYRE_FORGE": forge.base,
        "FYRE_API": f"{forge.base}/api",
        "FYRE_ENGINE": "kubernetes",
        "FYRE_POLICY": str(policy),
        "FYRE_KUBECONFIG": str(admin.kubeconfig(namespace, tmp_path, [*role["rules"], LEASES])),
        "FYRE_CHECKOUT_IMAGE": access.IMAGE,
        "FYRE_LOG_STORE": str(tmp_path / "logs"),
        "FYRE_LEASE": f"{namespace}/fyre",
        "FYRE_ADVERTISE": "127.0.0.1",
    }
    with ExitStack() as started:

        def make(name: str, **more: str) -> Replica:
            replica = Replica({**env, **more}, tmp_path / name)
            started.callback(lambda: replica.process.poll() is None and replica.end(signal.SIGKILL))
            return replica

        yield make
