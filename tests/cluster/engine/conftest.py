"""Fixtures of the engine tests on a cluster."""

from tests.support.engine_fixtures import admin, namespace, on_cluster, sha

__all__ = ["admin", "namespace", "on_cluster", "sha"]  # fixtures
