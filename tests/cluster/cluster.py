"""Starting the programs of the cluster in their order, and leaving nothing behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.cluster import build, images, settings
from tests.cluster.certificates import Authority
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


class Cluster:
    """A cluster of one node; it writes under ``home`` alone, whose name must be short (sockets)."""

    def __init__(self, home: Path) -> None:
        self.home, self.keys = home, home / "keys"
        self.kubeconfig = self.keys / "admin.kubeconfig"
        self.ports = Ports(*_free_ports(7))
        self._binary = build.binary()
        self._images = images.make_all(build.cache())
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = _only_one()
        self._sysctls = {name: _sysctl(name) for name in _SYSCTLS}

    def start(self) -> None:
        """Everything, in its order; returns when the node is ready for pods."""
        for folder in (self.keys, self.home / "logs", self.home / "cni"):
            folder.mkdir(parents=True, exist_ok=True)
        _sweep()  # what a cluster that was killed has left
        _run("ip", "link", "add", NODE_DEVICE, "type", "bridge")
        _run("ip", "address", "add", f"{ADDRESS}/32", "dev", NODE_DEVICE)
        _run("ip", "link", "set", NODE_DEVICE, "up")
        self._make_keys()
        self.start_program("etcd", str(self.home / "etcd"), f"http://127.0.0.1:{self.ports.etcd}")
        self._start_containerd()
        self.start_api_server()
        for command in (
            settings.controller_manager(self.home, self.ports),
            settings.scheduler(self.home, self.ports),
        ):
            self.start_program(*command)
        flags, config = settings.kubelet(self.home, self.ports)
        (self.home / "kubelet.yaml").write_text(config)
        self.start_program(*flags)
        flags, config = settings.proxy(self.home, self.ports)
        (self.home / "proxy.yaml").write_text(config)
        self.start_program(*flags)
        self._await("the node", self._node_is_ready)
        self._await(
            "service accounts",
            lambda: self._get("/api/v1/namespaces/default/serviceaccounts/default"),
        )

    def start_api_server(self) -> None:
        """The API server, which tests also kill."""
        self.start_program(*settings.api_server(self.home, self.ports))
        self._await("the API server", lambda: self._get("/readyz"))

    def start_program(self, name: str, *args: str) -> None:
        """One of the programs in the binary; its output goes to ``logs/NAME.log``."""
        self._start(name, [str(self._binary), name, *args])

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """The process of a program."""
        return self._processes[name].pid

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
            self._end(name)
        if "containerd" in self._processes:
            for kind, force in (("tasks", ["-f"]), ("containers", [])):
                for each in self._ctr(kind, "list", "-q").split():
                    self._ctr(kind, "rm", *force, each)
        self._end("containerd")
        self._end_shims()
        self._unmount()
        _sweep()
        for name, value in self._sysctls.items():
            if value is not None and _sysctl(name) != value:
                Path("/proc/sys", name).write_text(value)

    def _await(self, what: str, there: Callable[[], object], seconds: float = 120) -> None:
        """Wait until it is there; an error means not yet, a program that ended means never."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(urllib.error.URLError, OSError, KeyError, subprocess.SubprocessError):
                if there():
                    return
            ended = [
                name for name, process in self._processes.items() if process.poll() is not None
            ]
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not there; ended: {ended}; see the logs")
            time.sleep(0.1)

    def _start(self, name: str, command: list[str]) -> None:
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_containerd(self) -> None:
        (self.home / "containerd.toml").write_text(settings.containerd(self.home))
        (self.home / "cni" / "pods.conflist").write_text(json.dumps(settings.network()))
        self._start("containerd", ["containerd", "--config", str(self.home / "containerd.toml")])
        self._await("containerd", lambda: self._ctr("version"))
        for archive in self._images:
            self._ctr("images", "import", str(archive), check=True)

    def _ctr(self, *args: str, check: bool = False) -> str:
        command = ["ctr", f"--address={self.home}/containerd.sock", "--namespace=k8s.io", *args]
        return subprocess.run(
            command, check=check, capture_output=True, text=True, timeout=120
        ).stdout

    def _end_shims(self) -> None:
        """A shim outlives its containerd; ours name our socket."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if (
                    b"containerd-shim" in words[0]
                    and f"{self.home}/containerd.sock".encode() in words
                ):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _unmount(self) -> None:
        points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for point in sorted((p for p in points if p.startswith(f"{self.home}/")), reverse=True):
            _run("umount", "--lazy", point, check=False)

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
        _run("ip", "link", "delete", device, check=False)
    for family in ("ip", "ip6"):
        _run("nft", "delete", "table", family, "kube-proxy", check=False)


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


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(
        command, check=check, stderr=None if check else subprocess.DEVNULL, stdout=sys.stderr
    )
