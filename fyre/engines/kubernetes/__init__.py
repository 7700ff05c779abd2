"""The Kubernetes engine: runs as Jobs. Only this package loads the client library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fyre.engines.kubernetes.engine import KubernetesEngine

__all__ = ["KubernetesEngine"]


def __getattr__(name: str) -> type[KubernetesEngine]:
    """Import the engine, and with it the client library, when it is first asked for.

    What reads a policy needs the section of its profiles in this package, and no cluster.
    """
    if name != "KubernetesEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fyre.engines.kubernetes.engine import KubernetesEngine

    return KubernetesEngine
