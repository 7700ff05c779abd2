"""Fixtures of the engine tests."""

from tests.support.engine_fixtures import sha

__all__ = ["sha"]  # fixtures
