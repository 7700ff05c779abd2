"""Fyre: run code on a cluster with nothing but git."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know it; importing typing would cost each hook milliseconds
if TYPE_CHECKING:
    from typing import Any

    from fyre.cli.legacy import Fyre, FyreLocal

__version__ = "0.1.0"
__all__ = ["Fyre", "FyreLocal", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """``from fyre import Fyre``, loaded when it is asked for: the hooks import this package too."""
    if name in ("Fyre", "FyreLocal"):
        from importlib import import_module

        return getattr(import_module("fyre.cli.legacy"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
