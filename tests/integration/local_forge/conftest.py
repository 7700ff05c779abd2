"""Fixtures of the local forge."""

from tests.support.local_forge import _all_servers_end, forge, pushed, receiver

__all__ = ["_all_servers_end", "forge", "pushed", "receiver"]  # fixtures
