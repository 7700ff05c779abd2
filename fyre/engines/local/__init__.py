"""The local engine: runs as process groups, each under a supervisor that outlives the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fyre.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]


def __getattr__(name: str) -> type[LocalEngine]:
    """Import the engine when it is first asked for.

    The fork server of supervisors is in this package too, and starts without it.
    """
    if name != "LocalEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fyre.engines.local.engine import LocalEngine

    return LocalEngine
