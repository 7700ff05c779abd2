"""A node beside the cluster's own, which a test may stop: nobody else's pods come to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiException

from tests.cluster import access, build, cluster, images, settings
from tests.cluster.certificates import Authority
from tests.cluster.programs import Programs

LABEL = "fyre.test/node"
"""Its label and its taint, both with its name."""


def why_not() -> str:
    """Return why there can be none here; "" if there can."""
    if lacks := cluster.missing():
        return "; ".join(lacks)
    if not (_cluster_keys() / "ca.key").exists():
        return "only a cluster of ours (python -m tests.cluster) takes nodes of a test"
    return ""


def _cluster_keys() -> Path:
    config = yaml.safe_load(Path(access.KUBECONFIG).read_text())
    return Path(config["clusters"][0]["cluster"].get("certificate-authority", "")).parent


class ExtraNode(Programs):
    """A kubelet and a containerd of its own; it shares the network and the API server."""

    def __init__(self, home: Path, admin: access.Admin) -> None:
        super().__init__(home, build.binary())
        self.name = f"spare-{os.getpid()}"  # after "node": tests take the first one
        self.admin = admin
        self.selector = {LABEL: self.name}
        self.tolerations = [{"key": LABEL, "operator": "Exists"}]

    def start(self) -> None:
        """Join the cluster; return when the node is ready for pods."""
        keys, given = self.home / "keys", _cluster_keys()
        keys.mkdir()
        shutil.copy(given / "ca.crt", keys)
        user = f"system:node:{self.name}"
        authority = replace(Authority.load(given), folder=keys)
        authority.issue("kubelet", user, "system:nodes", hosts=(settings.ADDRESS, self.name))
        files = {
            "client-certificate": f"{keys}/kubelet.crt",
            "client-key": f"{keys}/kubelet.key",
        }
        self.admin.write_kubeconfig(keys / "kubelet.kubeconfig", files)
        self.start_containerd(images.make_small(build.cache()))
        self.start_kubelet()
        self.await_there("the node", self.is_ready)

    def start_kubelet(self) -> None:
        """Start the kubelet, for the first time or again."""
        with socket.create_server((settings.ADDRESS, 0)) as free:
            port = free.getsockname()[1]
        # Another kubelet of this machine keeps the groups of its own pods alone, and ends others.
        more = {
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "registerWithTaints": [{"key": LABEL, "value": self.name, "effect": "NoSchedule"}],
        }
        flags, config = settings.kubelet(self.home, port, self.name, more)
        (self.home / "kubelet.yaml").write_text(config)
        self.start_program(*flags, f"--node-labels={LABEL}={self.name}")

    def freeze(self) -> None:
        """Stop the kubelet where it is: the node is silent, and its containers go on."""
        os.kill(self.pid("kubelet"), signal.SIGSTOP)

    def thaw(self) -> None:
        """Have the kubelet go on."""
        os.kill(self.pid("kubelet"), signal.SIGCONT)

    def wake(self) -> None:
        """Have a kubelet run, whatever was done to it."""
        if "kubelet" in self._processes:
            self.thaw()
        else:
            self.start_kubelet()

    def leave(self) -> None:
        """Be taken out of the cluster, as by somebody who knows that the machine is gone."""
        with suppress(ApiException):
            self.admin.core.delete_node(self.name)

    def tell(self, pod: Any) -> None:
        """Write the file ``go`` into the checkout of a pod, past its kubelet."""
        volumes = self.home / "kubelet" / "pods" / pod.metadata.uid / "volumes"
        (volumes / "kubernetes.io~empty-dir" / "fyre-work" / "go").touch()

    def raw_log(self, pod: Any) -> str:
        """Return what the runtime has written of a pod's command, past its kubelet."""
        (file,) = (self.home / "logs" / "pods").glob(f"*_{pod.metadata.uid}/run/0.log")
        return file.read_text()

    def is_ready(self) -> bool:
        """Return True if the control plane hears of the node, and pods may come to it."""
        with suppress(ApiException):
            node = self.admin.core.read_node(self.name)
            keys = [taint.key for taint in node.spec.taints or []]
            ready = [one.status for one in node.status.conditions or [] if one.type == "Ready"]
            return ready == ["True"] and keys == [LABEL]
        return False

    def stop(self) -> None:
        """Leave the cluster, and leave nothing behind."""
        if "kubelet" in self._processes:
            self.kill("kubelet")  # it may be frozen
        self.stop_containerd()
        self.leave()
        shutil.rmtree(self.home, ignore_errors=True)
