"""Fixtures of the engine tests on a cluster."""

from tests.support.engine_fixtures import admin
from tests.support.engine_fixtures import namespace
from tests.support.engine_fixtures import on_cluster
from tests.support.engine_fixtures import sha

__all__ = ["admin", "namespace", "on_cluster", "sha"]  # fixtures
