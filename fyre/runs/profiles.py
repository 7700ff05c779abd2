"""What an admin lets runs have on the cluster: a trailer chooses among profiles and asks within caps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KubernetesObject = Mapping[str, Any]
"""A piece of a Kubernetes object, as the admin wrote it: Fyre hands it on."""


@dataclass(frozen=True, slots=True)
class CheckoutOptions:
    """How the code comes into the pod."""

    image: str = ""  # with git and sh; "" means the run's own image has them
    depth: int = 1  # commits; 0 for the whole history
    submodules: str = ""  # "", "1", "recursive"
    lfs: bool = False
    sparse: tuple[str, ...] = ()  # folders; all of them when empty


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of place to run in. What is a ``Plain`` goes into the pod as it is."""

    name: str = "default"
    namespace: str = ""  # "" for the one of the repository
    image: str = ""  # where a run names none
    resources: tuple[tuple[str, str], ...] = ()  # where a run asks for none of that name
    burst: bool = (
        False  # resources are requests without limits: a run may use more where there is room
    )
    checkout: CheckoutOptions = CheckoutOptions()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: KubernetesObject = field(default_factory=dict)
    tolerations: tuple[KubernetesObject, ...] = ()
    volumes: tuple[KubernetesObject, ...] = ()
    volume_mounts: tuple[KubernetesObject, ...] = ()  # of the command's container
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # every run of this profile has them as environment
    secrets_allowed: tuple[str, ...] = ()  # globs of what a run may ask for besides
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    priority_class: str = ""
    queue: str = ""  # Kueue's local queue
    runtime_class: str = ""
    scheduler: str = ""
    security_context: KubernetesObject = field(
        default_factory=dict
    )  # the pod's securityContext; restricted unless the admin says more
    container_security_context: KubernetesObject = field(default_factory=dict)
    termination_grace_seconds: int = 30  # seconds between TERM and KILL
