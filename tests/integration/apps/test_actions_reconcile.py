"""A job that does not wait, and the scheduled one that reports, with runs that outlive both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from fyre.apps import actions_job, actions_reconcile, actions_summary
from fyre.apps.actions_job import ActionsJob, ReportTimeout, WorkflowContext
from fyre.apps.actions_reconcile import ReconcileJob
from fyre.engines.factory import EngineRuntime
from fyre.engines.local import LocalEngine
from fyre.errors import TransientError
from fyre.github.errors import DeniedError
from fyre.reporter.status_poster import StatusPoster
from fyre.reporter.unposted_statuses import StatusPost
from fyre.runs.policy import Policy
from fyre.runs.posted_states import posted_states
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import ALL_RUNS
from tests.integration.apps.test_actions_job import Runner, pushed, runner
from tests.support.ci_marks import LONG_CASE
from tests.support.person import NAME
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

__all__ = ["runner"]  # a fixture


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_reconcile, "SETTLE_SECONDS", 0.0)


class UntilPosted(EngineRuntime):
    """An engine whose runs are done with once their end is posted, as those of a cluster."""

    def is_archived(self, key: str) -> bool:
        record = self.engine.get_record(key)
        return (
            record is not None
            and posted_states(record.reported).get(record.run.sha) == record.state
        )


@contextmanager
def job(
    runner: Runner, number: int, make: Callable[..., ActionsJob], event: Path
) -> Iterator[ActionsJob]:
    """One job's work, with mirrors of its own; the engine is the one that was there before."""
    flow = WorkflowContext.from_environment(runner.env(event, GITHUB_RUN_ID=str(number)))
    clones = actions_job.create_mirror_store(flow, runner.folder / f"job-{number}")
    engine = LocalEngine(runner.folder / "engine", find_git_dir=clones.mirror_dir, jobs=2)

    work = make(flow, clones, UntilPosted(engine), Policy())
    try:
        yield work
    finally:
        work.close()


def launched(runner: Runner, *trailers: str) -> tuple[str, list[RunRecord]]:
    """A push that a job with `wait: false` dealt with."""
    sha, before = pushed(runner, *trailers)
    with job(
        runner, 1, lambda *parts: ActionsJob(*parts, wait=False), runner.event(sha, before)
    ) as work:
        return sha, work.run(lambda _: None)


def reconciled(runner: Runner, number: int = 2) -> list[RunRecord]:
    """What a scheduled job reports; its event names no commit."""
    event = runner.folder / "event.json"
    event.write_text(json.dumps({"schedule": "*/5 * * * *"}))
    with job(runner, number, ReconcileJob, event) as work:
        return work.run(lambda _: None)


def said(runner: Runner, sha: str) -> list[tuple[str, str]]:
    """State and job of each status, oldest first."""
    return [
        (one["state"], one["target_url"].rpartition("/")[2]) for one in runner.person.statuses(sha)
    ]


def ended(runner: Runner) -> None:
    """End the command that waits for a file, and wait until its supervisor has recorded that."""
    (runner.folder / "go").touch()
    told = [one / "outcome.json" for one in (runner.folder / "engine" / "runs").iterdir()]
    until(lambda: all(one.exists() and one.read_text() for one in told))


@pytest.fixture
def waits(runner: Runner) -> str:
    return f"Fyre-Run: until [ -e {runner.folder}/go ]; do sleep 0.05; done"


def test_the_end_is_reported_by_the_scheduled_job_and_once(runner: Runner, waits: str) -> None:
    sha, records = launched(runner, waits)
    assert [record.state for record in records] == ["running"]
    assert actions_summary.overall_outcome(records) == "pending"
    assert "--reconcile" in actions_summary.render_summary(records, lambda _: "", "nothing")
    assert said(runner, sha) == [("pending", "1")]
    assert reconciled(runner) == []
    ended(runner)
    (record,) = reconciled(runner, 3)
    assert (record.run.sha, record.state) == (sha, "succeeded")
    assert said(runner, sha) == [("pending", "1"), ("success", "3")]
    assert reconciled(runner, 4) == []
    assert said(runner, sha) == [("pending", "1"), ("success", "3")]


class Releasing(ReconcileJob):
    """A scheduled job that releases all that is held."""

    def process_events(self) -> None:
        super().process_events()
        for record in self.engine.query_runs(ALL_RUNS):
            self._launch_tracker.release(record.run.key)


def test_a_held_run_is_waited_for_by_the_job_that_releases_it(
    runner: Runner, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = LocalEngine.launch

    def hold(engine: LocalEngine, run: Run, **_: object) -> bool:
        return launch(engine, run, hold=True, reason="needs prep")

    monkeypatch.setattr(LocalEngine, "launch", hold)
    sha, records = launched(runner, waits)
    assert [record.state for record in records] == ["waiting"]
    assert actions_summary.overall_outcome(records) == "pending"
    assert [one["description"] for one in runner.person.statuses(sha)] == ["waiting · needs prep"]
    assert reconciled(runner) == []
    with job(runner, 3, Releasing, runner.folder / "event.json") as work:
        assert [record.state for record in work.run(lambda _: None)] == ["running"]
    ended(runner)
    (record,) = reconciled(runner, 4)
    assert (record.run.sha, record.state) == (sha, "succeeded")


def test_what_another_job_that_waits_runs_on_a_cluster_is_not_said_to_be_lost(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        LocalEngine, "name", "kubernetes"
    )  # where such a job's instance is its own as well
    sha, before = pushed(runner, "Fyre-Run: true")
    url = runner.person.up.url
    goes_on = {
        "context": "fyre/run",
        "state": "pending",
        "description": "running",
        "target_url": f"{url}/runs/76",
    }
    headers = {"Authorization": "token user:runner"}
    requests.post(
        f"{url}/api/repos/{NAME}/statuses/{sha}", json=goes_on, headers=headers
    ).raise_for_status()
    with job(runner, 77, ActionsJob, runner.event(sha, before)) as work:
        assert (work.run(lambda _: None), work.find_not_run()) == ([], [])
    assert said(runner, sha) == [("pending", "76")]
    with job(
        runner, 78, lambda *parts: ActionsJob(*parts, wait=False), runner.event(sha, before)
    ) as work:
        assert work.run(lambda _: None) == []
    assert said(runner, sha) == [
        ("pending", "76"),
        ("error", "78"),
    ]  # those know each other's: nothing goes on there


def test_what_ends_at_once_is_reported_by_its_own_job(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_by_then = staticmethod(
        lambda records: not all(record.state.is_final for record in records)
    )
    monkeypatch.setattr(ActionsJob, "has_runs_to_await", ended_by_then)
    sha, (record,) = launched(runner, "Fyre-Run: exit 3")
    assert record.state == "failed"
    assert said(runner, sha)[-1] == ("failure", "1")
    assert reconciled(runner) == []


def killed(poster: StatusPoster, _: StatusPost) -> None:
    poster._write_queue.stop()
    raise TransientError("killed")


def killed_after_the_post(poster: StatusPoster, unposted: StatusPost) -> None:
    poster.post_status(unposted)
    killed(poster, unposted)


def test_killed_after_the_post_nothing_is_posted_twice(
    runner: Runner, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, _ = launched(runner, waits)
    ended(runner)

    with monkeypatch.context() as patched:
        patched.setattr(StatusPoster, "post_once", killed_after_the_post)
        patched.setattr(ActionsJob, "_is_finished", lambda job, _: job.reporter.write_queue.stopped)
        reconciled(runner, 2)
    assert said(runner, sha) == [("pending", "1"), ("success", "2")]
    assert len(reconciled(runner, 3)) == 1
    assert said(runner, sha) == [("pending", "1"), ("success", "2")]
    assert reconciled(runner, 4) == []


def test_killed_before_the_post_nothing_is_lost(
    runner: Runner, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, _ = launched(runner, waits)
    ended(runner)

    with monkeypatch.context() as patched:
        patched.setattr(StatusPoster, "post_status", killed)
        patched.setattr(ActionsJob, "_is_finished", lambda job, _: job.reporter.write_queue.stopped)
        reconciled(runner, 2)
    assert said(runner, sha) == [("pending", "1")]
    reconciled(runner, 3)
    assert said(runner, sha) == [("pending", "1"), ("success", "3")]


def test_a_push_that_no_job_heard_of_is_launched(runner: Runner, waits: str) -> None:
    heard, _ = launched(runner, waits)
    runner.person.git("checkout", "-q", "-b", "other")
    lost = [runner.person.commit("Fyre-Run: true"), runner.person.commit("Fyre-Run: true")]
    runner.person.push("other")
    records = reconciled(runner)
    assert [record.run.sha for record in records] == lost
    assert said(runner, heard) == [("pending", "1")]
    ended(runner)
    reconciled(runner, 3)
    words = [[word for word, _ in said(runner, sha) if word != "pending"] for sha in (heard, *lost)]
    assert words == [["success"]] * 3


def test_a_comment_is_obeyed_and_its_run_reported_once(
    runner: Runner, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, _ = launched(runner, waits)
    ended(runner)
    reconciled(runner, 2)
    runner.person.comment(sha, "/fyre rerun")
    (again,) = reconciled(runner, 3)
    assert again.run.attempt == 2
    ended(runner)
    reconciled(runner, 4)
    ends = [(word, number) for word, number in said(runner, sha) if word == "success"]
    assert len(ends) == 2
    reconciled(runner, 5)
    assert [one for one in said(runner, sha) if one[0] == "success"] == ends
    assert len(runner.person.comments(sha)) == 2  # what was asked, and its answer


def test_a_commit_that_shares_an_outcome_is_told_it_by_the_job_of_its_own_push(
    runner: Runner,
) -> None:
    person = runner.person
    before, shas = person.git("rev-parse", "HEAD"), [person.commit("Fyre-Run: exit 3", mint=True)]
    person.git(
        "commit",
        "-q",
        "--amend",
        "--allow-empty",
        "--no-edit",
        "--author",
        "Grace <grace@example.org>",
    )
    shas.append(person.git("rev-parse", "HEAD"))
    person.push(f"{shas[0]}:refs/heads/first", f"{shas[1]}:refs/heads/second")
    for number, sha in enumerate(shas, 1):
        with job(runner, number, ActionsJob, runner.event(sha, before)) as work:
            assert [record.state for record in work.run(lambda _: None)] == ["failed"]
    assert said(runner, shas[0])[-1] == ("failure", "1")
    assert said(runner, shas[1]) == [("failure", "2")]


def test_what_cannot_be_looked_at_keeps_no_end_from_being_reported(
    runner: Runner, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, _ = launched(runner, waits)
    ended(runner)

    def denied(*_: object) -> None:
        raise DeniedError("the list of repositories: HTTP 403")

    monkeypatch.setattr(actions_reconcile.SingleRepositoryClient, "list_repositories", denied)
    event = runner.folder / "event.json"
    with job(runner, 2, ReconcileJob, event) as work:
        assert len(work.run(lambda _: None)) == 1
        assert isinstance(work.error, DeniedError)
    assert said(runner, sha)[-1] == ("success", "2")


def test_statuses_are_waited_for_as_long_as_some_are_written() -> None:
    now = [0.0]
    patience = ReportTimeout(lambda: now[0])
    for left in range(300, 0, -1):  # GitHub's pace: one a second, 80 a minute
        now[0] += 1.0
        assert not patience.is_expired(left, now[0] + 1.0)
    now[0] += actions_job.REPORT_TIMEOUT + 2
    assert patience.is_expired(1, now[0] - actions_job.REPORT_TIMEOUT - 1)


def test_time_in_which_a_limit_allows_none_does_not_count() -> None:
    now = [0.0]
    patience = ReportTimeout(lambda: now[0])
    assert not patience.is_expired(7, 3600.0)
    now[0] = 3000.0
    assert not patience.is_expired(7, 3600.0)
    now[0] = 3600.0 + actions_job.REPORT_TIMEOUT - 1
    assert not patience.is_expired(7, 3600.0)
    now[0] += 2
    assert patience.is_expired(7, 3600.0)
