"""The whole way on a real cluster: push, webhook, Job, status, log; code by exec and by relay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from fyre.runs.run_query import ALL_RUNS
from tests.cluster import access
from tests.cluster.conftest import somebody
from tests.support.person import Person
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

LOOK_EVERYWHERE = """
cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'
find /fyre /tmp /run /var/run /etc -xdev -type f -readable -exec cat {} + 2>/dev/null
git config --list --show-origin
env
"""


def test_a_push_becomes_a_job_and_a_status(person: Person) -> None:
    sha = person.commit(
        "Fyre-Run: cat data; git rev-parse HEAD",
        "Fyre-Run: exit 3",
        files={"data": "of this commit\n"},
    )
    person.push()
    good, bad = person.final(sha), person.final(sha, "fyre/run-2")
    assert (good["state"], bad["state"]) == ("success", "failure")
    assert bad["description"].startswith("exit 3")
    assert person.log(good) == f"of this commit\n{sha}\n"


def test_no_pod_sees_a_credential_of_the_forge(
    person: Person, relay: str, admin: access.Admin, namespace: str
) -> None:
    sha = person.run(LOOK_EVERYWHERE.strip().replace("\n", "; ") + "; echo looked")
    seen = person.log(person.final(sha))
    jobs = admin.batch.list_namespaced_job(namespace, label_selector=f"fyre.dev/sha={sha}")
    pods = admin.core.list_namespaced_pod(namespace, label_selector=f"fyre.dev/sha={sha}")
    events = admin.core.list_namespaced_event(namespace)
    told = json.dumps([admin.api.sanitize_for_serialization(part) for part in (jobs, pods, events)])
    assert "looked\n" in seen
    assert len(jobs.items) == len(pods.items) == 1
    for secret in (person.up.local_forge.service_token, person.up.local_forge.webhook_secret):
        assert secret not in seen
        assert secret not in told
    checkout = pods.items[0].spec.init_containers[0]
    key = next((one.value for one in checkout.env if one.name == "FYRE_KEY"), None)
    assert bool(key) == bool(relay)
    assert not key or key not in seen


def test_a_restarted_server_finds_its_runs(start_up: Callable[..., FyreUp], repo: Path) -> None:
    person = somebody(start_up(), repo)
    running = person.run("echo one; sleep 5; echo two")
    ended = person.run("true")
    person.final(ended)
    person.up = start_up()
    assert person.log(person.final(running)) == "one\ntwo\n"
    for sha in (running, ended):
        assert [one["state"] for one in person.statuses(sha)] == ["pending", "success"]
    person.up = start_up()
    assert [one["state"] for one in person.statuses(running)] == ["pending", "success"]


def test_rerun_and_cancel_by_comment(start_up: Callable[..., FyreUp], repo: Path) -> None:
    person = somebody(start_up(), repo)
    sha = person.run("sleep 60")
    # A comment that overtakes the push finds nothing to cancel.
    until(lambda: person.up.engine.query_runs(ALL_RUNS))
    person.comment(sha, "/fyre cancel")
    assert person.final(sha)["description"].startswith("cancelled by ada")
    person.comment(sha, "/fyre rerun")
    person.comment(sha, "/fyre cancel")
    assert person.final(sha, attempt="attempt 2")["state"] == "error"


def test_what_is_settled_may_be_collected(
    start_up: Callable[..., FyreUp], repo: Path, admin: access.Admin, namespace: str
) -> None:
    person = somebody(start_up(), repo)
    sha = person.run("true")
    person.final(sha)
    person.up = (
        start_up()
    )  # stops the first, perhaps between the POST and its note: then this one looks it up

    def settled() -> object:
        (found,) = admin.batch.list_namespaced_job(
            namespace, label_selector=f"fyre.dev/sha={sha}"
        ).items
        return found if found.spec.ttl_seconds_after_finished is not None else None

    job = until(settled)
    assert job.spec.ttl_seconds_after_finished == 7 * 86400
    assert json.loads(job.metadata.annotations["fyre.dev/outcome"])["state"] == "succeeded"
