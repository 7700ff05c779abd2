"""A run that the cluster does not take for now says so on its commit, and holds up no other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from kubernetes.client import ApiException

from fyre.backoff import Backoff
from fyre.client.events import LogChunk
from fyre.client.follow import follow_run
from fyre.client.run_client import RunClient
from fyre.engines.kubernetes.api_errors import translate_api_error
from fyre.engines.wrappers import EngineWrapper
from fyre.errors import RefusedForNowError
from fyre.runs.run import Run
from fyre.workspace import remote
from tests.support.person import Person
from tests.support.waiting import until

QUOTA = (
    'jobs.batch "fyre-0" is forbidden: exceeded quota: few, requested: count/jobs.batch=1, '
    "used: count/jobs.batch={}, limited: count/jobs.batch=1"
)
WAITS = (
    "waiting · exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=1, lim… "
    "· if this lasts, ask an admin of the repository"
)


def refusal(message: str) -> Exception:
    """Return what an API server's 403 of that text means for us."""
    error = ApiException(403, "Forbidden")
    error.body = json.dumps({"kind": "Status", "message": message, "reason": "Forbidden"})
    return translate_api_error(error)


class FullEngine(EngineWrapper):
    """An engine that refuses the runs of one name while their quota is used up."""

    refused = "first"
    tries = 0

    def launch(self, run: Run) -> bool:
        if run.name == self.refused:
            self.tries += 1
            raise refusal(QUOTA.format(self.tries))
        return super().launch(run)


@pytest.fixture
def full(person: Person, monkeypatch: pytest.MonkeyPatch) -> FullEngine:
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_BACKOFF", Backoff(0.1, 0.1))
    engine = FullEngine(person.up.engine)
    person.up.controller.executor.engine = engine
    return engine


def described(person: Person, sha: str, name: str) -> list[str]:
    return [one["description"] for one in person.statuses(sha) if one["context"] == f"fyre/{name}"]


def push_two(person: Person) -> str:
    return person.run("true", "Fyre-Name: first", "Fyre-Run: true", "Fyre-Name: second")


def tried_again(engine: FullEngine) -> Callable[[], bool]:
    enough = engine.tries + 3
    return lambda: engine.tries >= enough


def test_9_26_a_refused_run_says_what_it_waits_for_once_and_the_other_runs_of_its_commit_launch(
    person: Person, full: FullEngine
) -> None:
    sha = push_two(person)
    assert person.final(sha, "fyre/second")["state"] == "success"
    until(lambda: described(person, sha, "first"))
    until(tried_again(full))
    assert set(described(person, sha, "first")) == {WAITS}
    assert len(described(person, sha, "first")) < full.tries - 1
    full.refused = ""
    assert person.final(sha, "fyre/first")["state"] == "success"
    person.settled()
    assert sorted(command for at, command in person.ran() if at == sha) == ["true", "true"]


def test_9_26_a_run_that_was_refused_for_a_day_is_not_pending_for_ever(
    person: Person, full: FullEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_PERIOD", 0.0)
    sha = push_two(person)
    final = person.final(sha, "fyre/first")
    assert final["state"] == "error"
    assert final["description"].startswith("not launched: ")
    assert final["description"].endswith(" · push it again, or ask an admin of the repository")
    full.refused = ""
    person.git("push", "-q", "origin", "HEAD:again")
    until(lambda: described(person, sha, "first")[-1].startswith("exit 0"))


def test_9_26_whoever_follows_a_refused_run_reads_its_log_once_it_is_launched(
    person: Person, full: FullEngine
) -> None:
    sha = person.run("echo on", "Fyre-Name: first")
    until(lambda: described(person, sha, "first"))
    log = b""
    for event in follow_run(
        RunClient.from_remote(remote.resolve_remote(person.repo)), sha, "first"
    ):
        full.refused = ""
        log += event.data if isinstance(event, LogChunk) else b""
    assert log == b"on\n"


def test_9_26_a_quota_is_a_refusal_for_now() -> None:
    assert isinstance(refusal(QUOTA), RefusedForNowError)
