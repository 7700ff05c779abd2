"""Runs as process groups on this machine, each under a supervisor that outlives the server."""

from fyre.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
