"""What the programs of the cluster are told: pure, a function a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.images import PAUSE

ADDRESS = "10.99.0.1"
"""The node's own, on a device of its own: pods reach what listens on it, other machines don't."""

NODE, PODS, SERVICES = "node", "10.98.0.0/16", "10.96.0.0/16"
NODE_DEVICE, POD_DEVICE = "fyre-node", "fyre-pods"


@dataclass(frozen=True)
class Ports:
    """Where everybody listens, all of them free when they were chosen."""

    etcd: int
    api: int
    controllers: int
    scheduler: int
    kubelet: int
    proxy: int
    proxy_metrics: int


def api_server(home: Path, ports: Ports) -> list[str]:
    """It listens on the node's address, so that pods reach it too."""
    keys = home / "keys"
    return [
        "kube-apiserver",
        f"--bind-address={ADDRESS}",
        f"--secure-port={ports.api}",
        f"--advertise-address={ADDRESS}",
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodSecurity,ResourceQuota,Priority",
        "--anonymous-auth=false",
        "--allow-privileged=true",
        f"--client-ca-file={keys}/ca.crt",
        f"--tls-cert-file={keys}/api.crt",
        f"--tls-private-key-file={keys}/api.key",
        f"--service-account-issuer=https://{ADDRESS}:{ports.api}",
        f"--service-account-key-file={keys}/accounts.key",
        f"--service-account-signing-key-file={keys}/accounts.key",
        f"--kubelet-client-certificate={keys}/admin.crt",
        f"--kubelet-client-key={keys}/admin.key",
        f"--kubelet-certificate-authority={keys}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--event-ttl=2h",
    ]


def controller_manager(home: Path, ports: Ports) -> list[str]:
    """Every controller, each under its own service account."""
    keys = home / "keys"
    return [
        "kube-controller-manager",
        *_component(home, "controllers", ports.controllers),
        "--use-service-account-credentials=true",
        f"--root-ca-file={keys}/ca.crt",
        f"--service-account-private-key-file={keys}/accounts.key",
        f"--cluster-signing-cert-file={keys}/ca.crt",
        f"--cluster-signing-key-file={keys}/ca.key",
        "--terminated-pod-gc-threshold=0",
    ]


def scheduler(home: Path, ports: Ports) -> list[str]:
    """The default scheduler."""
    return ["kube-scheduler", *_component(home, "scheduler", ports.scheduler)]


def _component(home: Path, name: str, port: int) -> list[str]:
    config = f"{home}/keys/{name}.kubeconfig"
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
    ]


def kubelet(
    home: Path, port: int, node: str = NODE, more: dict[str, object] | None = None
) -> tuple[list[str], str]:
    """Its flags and its configuration file, with ``more`` in that."""
    keys = home / "keys"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "port": port,
        "healthzPort": 0,
        "readOnlyPort": 0,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "containerRuntimeEndpoint": f"unix://{home}/containerd.sock",
        "tlsCertFile": f"{keys}/kubelet.crt",
        "tlsPrivateKeyFile": f"{keys}/kubelet.key",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{keys}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "registryPullQPS": 0,
        "eventRecordQPS": 100,
        "eventBurst": 200,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "podLogsDir": f"{home}/logs/pods",
        **(more or {}),
    }
    flags = [
        "kubelet",
        f"--config={home}/kubelet.yaml",
        f"--kubeconfig={keys}/kubelet.kubeconfig",
        f"--root-dir={home}/kubelet",
        f"--hostname-override={node}",
        f"--node-ip={ADDRESS}",
    ]
    return flags, yaml.safe_dump(config)


def proxy(home: Path, ports: Ports) -> tuple[list[str], str]:
    """Its flags and its configuration file. It owns the nftables tables ``kube-proxy``."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": f"{home}/keys/proxy.kubeconfig"},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "healthzBindAddress": f"127.0.0.1:{ports.proxy}",
        "metricsBindAddress": f"127.0.0.1:{ports.proxy_metrics}",
        "conntrack": {
            "maxPerCore": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },  # as they are
        "nftables": {
            "masqueradeAll": True
        },  # pods of one bridge answer each other past the node otherwise
    }
    return ["kube-proxy", f"--config={home}/proxy.yaml"], yaml.safe_dump(config)


def containerd(home: Path) -> str:
    """Its configuration: all of its own, and no capability that this machine may not have."""
    return f"""
version = 2
root = "{home}/containerd"
state = "{home}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home}/cni"
"""


def network() -> dict[str, object]:
    """Pods reach the node and each other, and nothing else."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_DEVICE,
                "isGateway": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "loopback"},
        ],
    }


def kubeconfig(home: Path, ports: Ports, user: str) -> str:
    """How one user reaches the API server."""
    keys = home / "keys"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": f"https://{ADDRESS}:{ports.api}",
                        "certificate-authority": f"{keys}/ca.crt",
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate": f"{keys}/{user}.crt",
                        "client-key": f"{keys}/{user}.key",
                    },
                }
            ],
            "contexts": [
                {
                    "name": "test",
                    "context": {"cluster": "test", "user": user, "namespace": "default"},
                }
            ],
        }
    )
