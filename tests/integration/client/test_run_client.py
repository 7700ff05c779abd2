from __future__ import annotations

import pytest

from fyre.client.run_client import RunClient, RunSummary
from fyre.github.errors import NotFoundError
from fyre.runs.state import RunState
from fyre.workspace import remote
from tests.support.person import Person, person

__all__ = ["person"]


@pytest.fixture
def client(person: Person) -> RunClient:
    return RunClient.from_remote(remote.resolve_remote(person.repo))


def test_runs_are_listed_with_what_the_page_says(person: Person, client: RunClient) -> None:
    sha = person.run("exit 3", "Fyre-Name: bad")
    status = person.final(sha, "fyre/bad")
    (run,) = client.list_runs([(sha, "Work\n\nFyre-Run: exit 3\nFyre-Name: bad\n")])
    assert (run.sha, run.name, run.command, run.state) == (sha, "bad", "exit 3", RunState.FAILED)
    assert (run.exit_code, run.attempt, run.log_url) == (3, 1, status["target_url"])
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.started_at <= run.ended_at


def test_without_its_page_a_run_is_what_its_status_says(person: Person, client: RunClient) -> None:
    sha = person.commit()
    person.push()
    text = {"context": "fyre/run", "state": "failure", "description": "exit 3 · 1s · attempt 2"}
    person.api(f"/statuses/{sha}", **text)
    (run,) = client.list_runs([(sha, "")])
    assert run == RunSummary(
        sha, "run", "", RunState.FAILED, text["description"], 2, None, None, None, ""
    )
    assert list(run.to_json().items()) == [
        ("sha", sha),
        ("name", "run"),
        ("command", ""),
        ("state", "failed"),
        ("description", text["description"]),
        ("attempt", 2),
        ("started_at", None),
        ("ended_at", None),
        ("exit_code", None),
        ("log_url", ""),
        ("metrics", {}),
        ("best", {}),
        ("outputs", {"count": 0, "bytes": 0}),
        ("note", ""),
        ("env", {}),
    ]
    assert type(run.to_json()["state"]) is str


def test_commits_that_the_forge_does_not_have_are_collected(
    person: Person, client: RunClient
) -> None:
    pushed = person.run("true")
    person.final(pushed)
    unpushed = person.commit("Fyre-Run: true")
    missing: set[str] = set()
    commits = [(unpushed, ""), (pushed, "")]
    assert [run.sha for run in client.list_runs(commits, missing)] == [pushed]
    assert missing == {unpushed}
    with pytest.raises(NotFoundError):
        client.list_runs(commits)


def test_what_moved_is_no_run_any_more_once_it_is_cleared(
    person: Person, client: RunClient
) -> None:
    sha = person.commit()
    person.push()
    for context, state, description in (
        ("fyre/moved", "error", "ran at abc1234 · /fyre rerun"),
        ("fyre/run", "pending", "queued · attempt 2"),
    ):
        status = {"context": context, "state": state, "description": description}
        person.api(f"/statuses/{sha}", **status)
    assert {run.name for run in client.list_runs([(sha, "")])} == {"moved", "run"}
    cleared = {"context": "fyre/moved", "state": "success", "description": "run here by ada"}
    person.api(f"/statuses/{sha}", **cleared)
    assert [run.name for run in client.list_runs([(sha, "")])] == ["run"]
    assert client.latest_statuses(sha, attempt=1) == []
