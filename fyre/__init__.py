"""Fyre: run code on a cluster with nothing but git."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fyre.seed import Fyre, FyreLocal

__version__ = "0.1.0"
__all__ = ["Fyre", "FyreLocal", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """``from fyre import Fyre``, loaded when it is asked for: the hooks import this package too."""
    if name in ("Fyre", "FyreLocal"):
        from fyre import seed

        return getattr(seed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
