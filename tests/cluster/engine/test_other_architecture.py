"""An image, or a program in it, that is for another architecture, on a real cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fyre.runs.state import RunState
from tests.cluster import access, build, images
from tests.cluster.installation import load_image
from tests.support.cluster_profiles import cluster_profile
from tests.support.foreign_program import FOREIGN_ELF
from tests.support.run_endings import end, launched, pods_of

if TYPE_CHECKING:
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

ESCAPED_ELF = "".join(f"\\{byte:03o}" for byte in FOREIGN_ELF)


@pytest.fixture(scope="module")
def foreign(admin: access.Admin) -> str:
    """The name of an image whose shell is for another architecture."""
    return load_image(lambda: images.foreign(build.cache()))


@pytest.mark.parametrize("part", ["the checkout", "the command"])
def test_9_29_an_image_of_another_architecture_is_named(
    on_cluster: MakeOnCluster, foreign: str, sha: str, part: str
) -> None:
    engine = on_cluster(
        profile=cluster_profile(image=foreign),
        checkout_image=foreign if part == "the checkout" else access.IMAGE,
    )
    record, log = end(engine, launched(engine, sha, "true"))
    assert record.state is RunState.ERROR
    assert record.reason.startswith("the image is for another architecture: ")
    assert record.reason.endswith("exec format error")
    assert "exec format error" in log


def test_9_29_a_program_of_another_architecture_is_named_and_no_log_is_in_the_pods_status(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine = on_cluster()
    command = f"echo not for all; printf '{ESCAPED_ELF}' >foreign; chmod +x foreign; ./foreign"
    run = launched(engine, sha, command)
    record, log = end(engine, run)
    assert record.state is RunState.FAILED
    assert record.reason == "exit 126: not executable, or for another architecture"
    assert log.startswith("not for all\n")
    (pod,) = pods_of(admin, namespace, run)
    status = json.dumps(admin.api.sanitize_for_serialization(pod.status))
    assert '"exitCode": 126' in status
    assert "not for all" not in status
