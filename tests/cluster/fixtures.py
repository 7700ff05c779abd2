"""The cluster and a namespace of one's own, for every suite that needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import access


@pytest.fixture(scope="session")
def admin() -> access.Admin:
    if not access.KUBECONFIG:
        pytest.skip(access.WHY_NOT)
    return access.Admin()


@pytest.fixture(scope="session")
def namespace(admin: access.Admin) -> Iterator[str]:
    with admin.namespace() as name:
        yield name
