"""The Role that Fyre prints, asked about at a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from fyre.engines.kubernetes import rbac
from tests.cluster import access
from tests.support.waiting import until

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("exec_mode", [False, True])
def test_the_api_server_gives_what_is_printed_and_no_more(
    admin: access.Admin, tmp_path: Path, *, exec_mode: bool
) -> None:
    from fyre.engines.kubernetes.api_client import KubernetesClient

    with admin.namespace() as space:
        config = admin.kubeconfig(space, tmp_path, [])  # somebody who may nothing yet
        accounts = [
            one.metadata.name for one in admin.core.list_namespaced_service_account(space).items
        ]
        who = rbac.service_account_subject(
            space, next(name for name in accounts if name != "default")
        )
        role, binding = rbac.build_manifests(
            [space], subject=who, secret_names={"wandb"}, exec_mode=exec_mode
        )
        api = KubernetesClient(str(config))
        assert not any(
            api.has_permission(space, *right) for right in rbac.required_permissions(role)
        )
        admin.rbac.create_namespaced_role(space, role)
        admin.rbac.create_namespaced_role_binding(space, binding)
        # The API server's authorizer learns of a Role, and of a binding, later: by a watch.
        until(
            lambda: all(
                api.has_permission(space, *right) for right in rbac.required_permissions(role)
            )
        )
        beyond = [
            ("", "secrets", "get", "other"),
            ("", "secrets", "list", ""),
            ("batch", "jobs", "delete", ""),
            ("", "pods", "create", ""),
            ("", "pods", "delete", ""),
        ]
        assert [right for right in beyond if api.has_permission(space, *right)] == []
        assert api.has_permission(space, "", "pods/exec", "create") == exec_mode
        assert not api.has_permission("default", "batch", "jobs", "get")
        api.close()
