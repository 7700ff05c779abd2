"""The parts that the containers of a pod have in common: variables, rights, resources. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.message import value_parsers


def escape_expansion(text: str) -> str:
    """Return the text escaped, so that Kubernetes hands it on unchanged.

    Kubernetes expands ``$(VAR)`` and takes ``$$`` for ``$``.
    """
    return text.replace("$", "$$")


def env_entries(pairs: Iterable[tuple[str, str]]) -> list[KubeObject]:
    """Return variables as a container has them."""
    return [{"name": name, "value": escape_expansion(value)} for name, value in pairs]


def restricted_security() -> KubeObject:
    """Return the security context that restricted Pod Security demands."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


_OWN_LIMITS = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "0"}
"""The least that a container of ours may take, where the command has limits."""


def own_resources(requests: Mapping[str, str], command_limits: Mapping[str, str]) -> KubeObject:
    """Return the requests of a container of ours, and limits of what the command has limits of.

    A ResourceQuota on limits refuses a pod if one container has none. They are the command's own
    where those are larger: the pod counts as much as its largest part.
    """
    limits = {
        name: _larger_quantity(least, command_limits[name])
        for name, least in _OWN_LIMITS.items()
        if name in command_limits
    }
    return {"requests": dict(requests)} | ({"limits": limits} if limits else {})


def _larger_quantity(least: str, quantity: str) -> str:
    """Return the larger of two quantities; the second if it is none, which the cluster refuses."""
    try:
        return max(least, quantity, key=value_parsers.parse_quantity)
    except value_parsers.BadValueError:
        return quantity
