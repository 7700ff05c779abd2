"""Runs as process groups on this machine, each under a supervisor that outlives the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fyre.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]


def __getattr__(name: str) -> type[LocalEngine]:
    """The engine, once asked for: the spawner of supervisors is in this package, and starts without it."""
    if name != "LocalEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fyre.engines.local.engine import LocalEngine

    return LocalEngine
