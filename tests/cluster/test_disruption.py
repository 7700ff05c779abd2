"""The API server goes away and comes back.

Nobody else can use the cluster meanwhile, so these run by themselves.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.runs.run_query import ALL_RUNS, RunQuery
from fyre.runs.state import RunState
from tests.cluster import access
from tests.cluster.conftest import somebody

pytestmark = pytest.mark.disruptive


@pytest.fixture
def kill_api_server(admin: access.Admin) -> Callable[[], None]:
    """Kills it; it is back some seconds later."""
    file = Path(access.KUBECONFIG + ".pid")
    if not file.exists():
        pytest.skip("this cluster is not ours to break")

    def kill() -> None:
        os.kill(int(file.read_text()), signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while answers(admin.settings.host):
            assert time.monotonic() < deadline, "the API server is still there"
            time.sleep(0.02)

    return kill


def answers(host: str) -> bool:
    try:
        requests.get(host, verify=False, timeout=1)
    except requests.RequestException:
        return False
    return True


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_an_api_server_that_was_away_costs_nothing(
    start_up: Callable[..., FyreUp],
    repo: Path,
    kill_api_server: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    person = somebody(start_up(), repo)
    over = person.run("true")
    person.final(over)
    ends_meanwhile = person.run("echo begun; sleep 6; echo ended")
    goes_on = person.run("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 1; done")
    running = RunQuery(states=frozenset({RunState.RUNNING}))
    while len(person.up.engine.query_runs(running)) < 2:
        time.sleep(0.1)
    kill_api_server()
    pushed_meanwhile = person.run("echo late")
    shas = (over, ends_meanwhile, goes_on, pushed_meanwhile)
    assert [person.final(sha)["state"] for sha in shas] == ["success"] * 4
    assert person.log(person.final(ends_meanwhile)) == "begun\nended\n"
    assert person.log(person.final(goes_on)).split() == [str(n) for n in range(1, 11)]
    for sha in shas:
        assert [one["state"] for one in person.statuses(sha)].count("success") == 1
    assert len(person.up.engine.query_runs(ALL_RUNS)) == 4
    assert caplog.text.count("the watch failed") <= 4, caplog.text
