"""A Job that somebody else creates turns no commit's status green, and blocks no later attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from tests.cluster import access
from tests.cluster.conftest import somebody
from tests.support.forged_jobs import annotations_of, copy_job
from tests.support.waiting import until

pytestmark = pytest.mark.cluster


def test_9_30a_forged_jobs_turn_no_status_green_and_block_no_rerun(
    start_up: Callable[..., FyreUp],
    relay: str,
    repo: Path,
    admin: access.Admin,
    namespace: str,
) -> None:
    person = somebody(start_up(relay), repo)
    sha = person.run("exit 3")
    assert person.final(sha)["state"] == "failure"
    selector = f"fyre.dev/sha={sha}"
    (job,) = admin.batch.list_namespaced_job(namespace, label_selector=selector).items
    copies = [
        copy_job(admin, namespace, job.metadata.name, key="a" * 26, attempt=2),
        copy_job(admin, namespace, job.metadata.name, key="b" * 26, attempt=2**53 - 1),
        copy_job(admin, namespace, job.metadata.name, key="c" * 26, name="required", signed=False),
    ]
    for name in copies:
        until(lambda name=name: admin.batch.read_namespaced_job(name, namespace).status.succeeded)
    person.up = start_up(relay)  # it lists them all
    person.comment(sha, "/fyre rerun")
    assert person.final(sha, attempt="attempt 2")["description"].startswith("exit 3")
    assert {status["context"] for status in person.statuses(sha)} == {"fyre/run"}
    assert "success" not in {status["state"] for status in person.statuses(sha)}
    assert all(len(annotations_of(admin, namespace, name)) <= 2 for name in copies)
