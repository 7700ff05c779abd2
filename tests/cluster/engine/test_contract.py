"""The Kubernetes engine on a real cluster: the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.engine import EngineContract

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def engine(on_cluster: MakeOnCluster) -> KubernetesEngine:
    return on_cluster()


class TestContract(EngineContract):
    """The Kubernetes engine keeps the contract."""
