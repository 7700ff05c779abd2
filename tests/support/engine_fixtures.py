"""Fixtures of the engines' tests: a commit to run, and an engine on the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster import access
from tests.cluster.fixtures import admin, namespace
from tests.contract.engine import make_commit
from tests.support.cluster_profiles import cluster_profile

__all__ = ["admin", "namespace"]  # fixtures

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine

MakeOnCluster = Callable[..., "KubernetesEngine"]


@pytest.fixture
def sha(repo: Path) -> str:
    return make_commit(repo)


@pytest.fixture
def on_cluster(
    admin: access.Admin, namespace: str, repo: Path, tmp_path: Path
) -> Iterator[MakeOnCluster]:
    """Create engines that stream the code in, as ``fyre up`` on a laptop does.

    They have exactly the rights of the Role that Fyre asks for.
    """
    from dataclasses import replace

    from fyre.engines.kubernetes import KubernetesEngine, rbac
    from fyre.engines.kubernetes.api_client import KubernetesClient
    from fyre.engines.kubernetes.code_delivery import ExecDelivery
    from fyre.engines.kubernetes.job_signature import JobSigner
    from fyre.engines.kubernetes.logs.created_jobs import CreatedJobs
    from fyre.engines.log_store import LogStore
    from fyre.runs.policy import Policy
    from fyre.runs.profiles import Profile

    made: list[KubernetesEngine] = []
    default = cluster_profile(image=access.IMAGE, termination_grace_seconds=2)

    def new(
        policy: Policy | None = None, profile: Profile | None = None, **settings: object
    ) -> KubernetesEngine:
        for engine in made:
            engine.close()
        policy = policy or Policy(namespace=namespace, image_grace=3.0)
        if policy.profiles is None:
            policy = replace(policy, profiles={"default": profile or default})
        role = rbac.build_role(
            policy.namespace, secret_names=rbac.named_secrets(policy), exec_mode=True
        )
        config = admin.kubeconfig(policy.namespace, tmp_path, role["rules"])
        api, logs = KubernetesClient(str(config)), LogStore(str(tmp_path / "state/logs"))
        given = {
            "delivery": ExecDelivery(api, lambda _: repo / ".git"),
            "instance": "fyre",
            "signer": JobSigner(b"of these tests", created_jobs=CreatedJobs(logs)),
            "checkout_image": access.IMAGE,
        }
        engine = KubernetesEngine(api, tmp_path / "state", policy=policy, **{**given, **settings})
        made.append(engine)
        return engine

    yield new
    for engine in made:
        engine.close()
