"""The cluster that the tests run on: their own, or any other that ``FYRE_TEST_KUBECONFIG`` names.

FYRE_TEST_KUBECONFIG   a kubeconfig of somebody who may create namespaces
FYRE_TEST_IMAGE        an image with sh, git and Python
FYRE_TEST_SMALL_IMAGE  an image with hardly more than sh
"""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from kubernetes import client, config
from kubernetes.client import ApiException

from fyre.engines.kubernetes import rbac
from fyre.engines.kubernetes.api_client import KubernetesClient
from tests.cluster import images
from tests.support.waiting import until

KUBECONFIG = os.environ.get("FYRE_TEST_KUBECONFIG", "")
IMAGE = os.environ.get("FYRE_TEST_IMAGE", images.GIT)
SMALL = os.environ.get("FYRE_TEST_SMALL_IMAGE", images.SMALL)
WHY_NOT = (
    "needs a cluster: FYRE_TEST_KUBECONFIG, "
    "or `python -m tests.cluster KUBECONFIG` as root on Debian"
)

_numbers = itertools.count()


class Admin:
    """Everything a test does to the cluster itself, as its admin."""

    def __init__(self) -> None:
        settings = client.Configuration()
        config.load_kube_config(KUBECONFIG, client_configuration=settings)
        self.settings = settings
        self.api = client.ApiClient(settings)
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)
        self.rbac = client.RbacAuthorizationV1Api(self.api)
        self.leases = client.CoordinationV1Api(self.api)

    @contextmanager
    def namespace(self, *, enforce: str = "restricted") -> Iterator[str]:
        """Create a namespace with Pod Security enforced; delete it at the end, without a wait."""
        name = f"fyre-test-{os.getpid()}-{next(_numbers)}"
        labels = {"pod-security.kubernetes.io/enforce": enforce}
        self.core.create_namespace({"metadata": {"name": name, "labels": labels}})
        try:
            self._await_account(name)
            yield name
        finally:
            self.core.delete_namespace(name)

    def kubeconfig(self, namespace: str, folder: Path, rules: list[dict[str, object]]) -> Path:
        """Write a kubeconfig of a new service account with exactly these rules in a namespace."""
        account = f"user-{next(_numbers)}"
        self.core.create_namespaced_service_account(namespace, {"metadata": {"name": account}})
        self.rbac.create_namespaced_role(namespace, {"metadata": {"name": account}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
        binding = {"metadata": {"name": account}, "roleRef": ref, "subjects": [subject]}
        self.rbac.create_namespaced_role_binding(namespace, binding)
        asked = {"spec": {"expirationSeconds": 7200}}
        token = self.core.create_namespaced_service_account_token(
            account, namespace, asked
        ).status.token
        written = self.write_kubeconfig(folder / f"{account}.kubeconfig", {"token": token})
        api = KubernetesClient(str(written))
        # The API server's authorizer learns of a Role, and of a binding, later: by a watch.
        until(
            lambda: all(
                api.has_permission(namespace, *right)
                for right in rbac.required_permissions({"rules": rules})
            )
        )
        api.close()
        return written

    def write_kubeconfig(self, path: Path, user: dict[str, str], server: str = "") -> Path:
        """A kubeconfig of the same cluster for somebody else."""
        ca = base64.b64encode(Path(self.settings.ssl_ca_cert).read_bytes()).decode()
        cluster = {"server": server or self.settings.host, "certificate-authority-data": ca}
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(yaml.safe_dump(told))
        return path

    def _await_account(self, namespace: str) -> None:
        """A pod can't be made before its namespace has its default service account."""

        def there() -> bool:
            with suppress(ApiException):
                return bool(self.core.read_namespaced_service_account("default", namespace))
            return False

        until(there)
