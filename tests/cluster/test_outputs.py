"""The way back on a real cluster: outputs and metrics of a pod, in the receiver's store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.runs.run import RunRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.cluster import access
from tests.cluster.conftest import RELAY_HOST, somebody
from tests.support.person import Person

pytestmark = pytest.mark.cluster


@pytest.fixture
def person(start_up: Callable[..., FyreUp], repo: Path) -> Person:
    return somebody(start_up(f"{RELAY_HOST}:0", upload_image=access.IMAGE), repo)


def record_of(person: Person, sha: str) -> RunRecord:
    return next(one for one in person.up.engine.query_runs(ALL_RUNS) if one.run.sha == sha)


def kept(person: Person, status: dict[str, str]) -> dict[str, bytes]:
    """Return the content of each output of a run, as its page serves it."""
    listing = requests.get(f"{status['target_url']}/outputs.json").json()
    return {
        one["path"]: requests.get(f"{status['target_url']}/blobs/{one['sha256']}").content
        for one in listing["artifacts"]
    }


def test_10_outputs_and_metrics_come_back(person: Person) -> None:
    command = (
        "echo model > model.pt; mkdir -p plots; echo png > plots/a.png; chmod 750 model.pt; "
        'echo x > "$FYRE_OUTPUTS/x"; head -c 20000000 /dev/zero > "$FYRE_OUTPUTS/large"; '
        """for value in 0.5 0.25; do echo '{"val_acc": '$value'}' >> "$FYRE_METRICS"; done"""
    )
    sha = person.run(command, "Fyre-Output: model.pt", "Fyre-Output: plots/")
    status = person.final(sha)
    assert status["state"] == "success", status
    contents = kept(person, status)
    assert contents == {
        "model.pt": b"model\n",
        "plots/a.png": b"png\n",
        "x": b"x\n",
        "large": bytes(20_000_000),
    }
    results = record_of(person, sha).results
    assert results is not None
    assert results.last_values() == {"val_acc": 0.25}
    assert results.best_values({}) == {"val_acc": 0.5}


def test_10_a_run_that_leaves_nothing_ends_as_before(person: Person) -> None:
    sha = person.run("echo done")
    status = person.final(sha)
    assert status["state"] == "success"
    assert record_of(person, sha).results is None


def test_10_what_failed_keeps_what_it_wrote(person: Person) -> None:
    sha = person.run('echo half > "$FYRE_OUTPUTS/half"; exit 3', "Fyre-Output: never.pt")
    status = person.final(sha)
    assert status["description"].startswith("exit 3")
    assert kept(person, status) == {"half": b"half\n"}
    record = record_of(person, sha)
    assert record.results is not None
    assert record.results.is_partial


def test_10_a_declared_output_that_is_not_there_is_a_failure(person: Person) -> None:
    sha = person.run("true", "Fyre-Output: never.pt")
    status = person.final(sha)
    assert (status["state"], record_of(person, sha).state) == ("failure", RunState.FAILED)
    assert "wrote no never.pt" in status["description"]
