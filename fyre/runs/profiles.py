"""Profiles: what an admin lets runs have on the cluster. Pure.

A trailer chooses one of the profiles, and requests resources within the policy's caps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KubernetesObject = Mapping[str, Any]
"""A piece of a Kubernetes object, as the admin wrote it: Fyre passes it on."""


@dataclass(frozen=True, slots=True)
class CheckoutOptions:
    """Options of the checkout: how the code comes into the pod."""

    image: str = ""  # with git and sh; "" if the run's own image has them
    depth: int = 1  # commits; 0 for the whole history
    submodules: str = ""  # "", "1", "recursive"
    lfs: bool = False
    sparse: tuple[str, ...] = ()  # folders; empty for all of them


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of place to run in. Each ``KubernetesObject`` goes into the pod as it is."""

    name: str = "default"
    namespace: str = ""  # "" for the repository's own
    image: str = ""  # for a run that names none
    resources: tuple[tuple[str, str], ...] = ()  # if a run requests none of that name
    # If true, resources are requests without limits: a run may use more if there is room.
    burst: bool = False
    checkout: CheckoutOptions = CheckoutOptions()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: KubernetesObject = field(default_factory=dict)
    tolerations: tuple[KubernetesObject, ...] = ()
    volumes: tuple[KubernetesObject, ...] = ()
    volume_mounts: tuple[KubernetesObject, ...] = ()  # for the command's container
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # every run of this profile has them as environment
    secrets_allowed: tuple[str, ...] = ()  # globs of the secrets that a run may request besides
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    priority_class: str = ""
    queue: str = ""  # Kueue's local queue
    runtime_class: str = ""
    scheduler: str = ""
    # The pod's securityContext; restricted unless the admin says more.
    security_context: KubernetesObject = field(default_factory=dict)
    container_security_context: KubernetesObject = field(default_factory=dict)
    termination_grace_seconds: int = 30  # seconds between TERM and KILL
