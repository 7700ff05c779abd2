"""Starting the programs of the cluster in their order, and leaving nothing behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import ssl
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from tests.cluster import build, images, settings
from tests.cluster.certificates import Authority
from tests.cluster.programs import Programs, run_command
from tests.cluster.settings import ADDRESS, NODE, NODE_DEVICE, POD_DEVICE, Ports

_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_PACKAGES = ("containerd", "runc", "ctr", "debootstrap", "ip", "nft", "gcc", "go", "busybox")


def missing() -> list[str]:
    """What this machine lacks to run a cluster; empty when it can."""
    lacks = [f"{name} is not installed" for name in _PACKAGES if shutil.which(name) is None]
    if not Path("/usr/lib/cni/bridge").exists():
        lacks.append("the CNI plugins are not in /usr/lib/cni")
    return lacks + (["it needs root"] if os.geteuid() else [])


class Cluster(Programs):
    """A cluster of one node; it writes under ``home`` alone, whose name must be short (sockets)."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, build.binary())
        self.keys = home / "keys"
        self.kubeconfig = self.keys / "admin.kubeconfig"
        self.ports = Ports(*_free_ports(7))
        self._images = images.make_all(build.cache())
        self._lock = _only_one()
        self._sysctls = {name: _sysctl(name) for name in _SYSCTLS}

    def start(self) -> None:
        """Everything, in its order; returns when the node is ready for pods."""
        self.keys.mkdir(parents=True, exist_ok=True)
        _sweep()  # what a cluster that was killed has left
        run_command("ip", "link", "add", NODE_DEVICE, "type", "bridge")
        run_command("ip", "address", "add", f"{ADDRESS}/32", "dev", NODE_DEVICE)
        run_command("ip", "link", "set", NODE_DEVICE, "up")
        self._make_keys()
        self.start_program("etcd", str(self.home / "etcd"), f"http://127.0.0.1:{self.ports.etcd}")
        self.start_containerd(self._images)
        self.start_api_server()
        for command in (
            settings.controller_manager(self.home, self.ports),
            settings.scheduler(self.home, self.ports),
        ):
            self.start_program(*command)
        flags, config = settings.kubelet(self.home, self.ports.kubelet)
        (self.home / "kubelet.yaml").write_text(config)
        self.start_program(*flags)
        flags, config = settings.proxy(self.home, self.ports)
        (self.home / "proxy.yaml").write_text(config)
        self.start_program(*flags)
        self.await_there("the node", self._node_is_ready)
        self.await_there(
            "service accounts",
            lambda: self._get("/api/v1/namespaces/default/serviceaccounts/default"),
        )

    def start_api_server(self) -> None:
        """The API server, which tests also kill."""
        self.start_program(*settings.api_server(self.home, self.ports))
        self.await_there("the API server", lambda: self._get("/readyz"))

    def stop(self) -> None:
        """End it all by pid, pods first, and give the machine its settings back."""
        for name in (
            "kube-proxy",
            "kubelet",
            "kube-scheduler",
            "kube-controller-manager",
            "kube-apiserver",
            "etcd",
        ):
            self.end_program(name)
        self.stop_containerd()
        _sweep()
        for name, value in self._sysctls.items():
            if value is not None and _sysctl(name) != value:
                Path("/proc/sys", name).write_text(value)

    def _make_keys(self) -> None:
        authority = Authority.make(self.keys)
        authority.issue(
            "api", "kube-apiserver", hosts=("localhost", "127.0.0.1", ADDRESS, "10.96.0.1")
        )
        authority.issue("accounts", "service-accounts")
        authority.issue("kubelet", f"system:node:{NODE}", "system:nodes", hosts=(ADDRESS, NODE))
        for user, name, group in (
            ("admin", "admin", "system:masters"),
            ("controllers", "system:kube-controller-manager", ""),
            ("scheduler", "system:kube-scheduler", ""),
            ("proxy", "system:kube-proxy", ""),
        ):
            authority.issue(user, name, group)
        for user in ("admin", "controllers", "scheduler", "proxy", "kubelet"):
            (self.keys / f"{user}.kubeconfig").write_text(
                settings.kubeconfig(self.home, self.ports, user)
            )

    def _node_is_ready(self) -> bool:
        node = json.loads(self._get(f"/api/v1/nodes/{NODE}"))
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"]
        )
        return ready and not node["spec"].get("taints")

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.keys / "ca.crt"))
        context.load_cert_chain(self.keys / "admin.crt", self.keys / "admin.key")
        with urllib.request.urlopen(
            f"https://{ADDRESS}:{self.ports.api}{path}", context=context, timeout=5
        ) as answer:
            return bytes(answer.read())


def _sweep() -> None:
    """Take what the cluster puts into the kernel out of it."""
    for device in (NODE_DEVICE, POD_DEVICE):
        run_command("ip", "link", "delete", device, check=False)
    for family in ("ip", "ip6"):
        run_command("nft", "delete", "table", family, "kube-proxy", check=False)


def _only_one() -> IO[str]:
    """The lock of this machine's one cluster: it has devices and addresses of its own."""
    lock = Path("/run/fyre-test-cluster.lock").open("w")  # noqa: SIM115 - held as long as the cluster
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _free_ports(count: int) -> Iterable[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _sysctl(name: str) -> str | None:
    path = Path("/proc/sys", name)
    return path.read_text() if path.exists() else None
