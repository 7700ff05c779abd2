"""A person who pushes to a whole ``fyre up`` that runs its commands on the cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from fyre.engines.factory import EngineOptions
from tests.cluster import access
from tests.cluster.fixtures import admin, helm, namespace, program
from tests.conftest import git, one_at_a_time
from tests.support.cluster_profiles import cluster_profile
from tests.support.person import NAME, Person

__all__ = ["admin", "helm", "namespace", "program"]  # fixtures

RELAY_HOST = "10.99.0.1"
"""Where pods of our own cluster reach this machine."""


@pytest.fixture(params=["exec", "relay"])
def relay(request: pytest.FixtureRequest) -> str:
    """How the code comes into the pods: the option's value."""
    if request.param == "exec":
        return ""
    try:
        socket.create_server((RELAY_HOST, 0)).close()
    except OSError:
        pytest.skip("pods of this cluster have no known way to this machine")
    return f"{RELAY_HOST}:0"


@pytest.fixture
def start_up(
    admin: access.Admin, namespace: str, tmp_path: Path
) -> Iterator[Callable[..., FyreUp]]:
    """Return a function that starts ``fyre up`` on the cluster, and stops the one before.

    It has exactly the rights of the Role that Fyre asks for.
    """
    from fyre.engines.kubernetes import rbac
    from fyre.runs.policy import Policy

    def make(relay: str, **given: str) -> FyreUp:
        policy = Policy(
            namespace=namespace,
            profiles={"default": cluster_profile(image=access.IMAGE, termination_grace_seconds=2)},
        )
        role = rbac.build_role(namespace, secret_names=(), exec_mode=not relay)
        config = admin.kubeconfig(namespace, tmp_path, role["rules"])
        options = EngineOptions(
            kubeconfig=str(config), checkout_image=access.IMAGE, relay=relay, **given
        )
        return FyreUp(
            tmp_path / "state", "127.0.0.1", 0, engine="kubernetes", policy=policy, options=options
        )

    with one_at_a_time(60) as start:
        yield lambda relay="", **given: start(lambda: make(relay, **given))


@pytest.fixture
def person(start_up: Callable[..., FyreUp], relay: str, repo: Path) -> Person:
    """Somebody with a clone; the first push is done."""
    return somebody(start_up(relay), repo)


def somebody(up: FyreUp, repo: Path) -> Person:
    """Somebody with a clone of a repository on that forge."""
    git("remote", "add", "origin", f"{up.url}/{NAME}.git", cwd=repo)
    who = Person(up, repo)
    who.push()
    return who
