"""Fixtures: a person with a clone, and `fyre up`."""

from tests.support.person import person

__all__ = ["person"]  # fixtures
