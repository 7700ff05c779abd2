"""Fixtures of the local forge."""

from tests.support.local_forge import _all_servers_end
from tests.support.local_forge import forge
from tests.support.local_forge import pushed
from tests.support.local_forge import receiver

__all__ = ["_all_servers_end", "forge", "pushed", "receiver"]  # fixtures
