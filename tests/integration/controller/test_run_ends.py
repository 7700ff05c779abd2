"""When a run ends, its commit is planned again: what is left to do for it is done then."""

from __future__ import annotations

import errno
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from fyre.controller.events import RunEndEvent
from fyre.controller.loop import Controller
from fyre.controller.run_ends import RunEndProcessor, RunEndWatcher
from fyre.engines.factory import EngineOptions
from fyre.engines.wrappers import EngineWrapper
from fyre.errors import TransientError
from fyre.reporter.unposted_statuses import unposted_statuses
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import ALL_RUNS
from tests.conftest import git, one_at_a_time
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person
from tests.support.waiting import until


class AwayEngine(EngineWrapper):
    """An engine that takes no run of some names for a while."""

    away: tuple[str, ...] = ()

    def launch(self, run: Run) -> bool:
        if run.name in self.away:
            raise TransientError("the engine is away")
        return super().launch(run)


def wait_for(path: Path) -> str:
    """Return a command that ends once there is a file."""
    return f"while ! test -e {path}; do sleep 0.02; done"


def push_two(person: Person, first: str, second: str) -> str:
    """Push one commit with two runs; return its SHA."""
    trailers = ("Fyre-Name: first", f"Fyre-Run: {second}", "Fyre-Name: second")
    return person.run(first, *trailers)


def record_of(up: FyreUp, name: str) -> RunRecord:
    """Return the record of the run of that name, once there is one."""
    found = until(lambda: [one for one in up.engine.query_runs(ALL_RUNS) if one.run.name == name])
    return found[0]


def test_the_end_of_a_run_launches_what_was_given_up_while_the_engine_was_away(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, go = person.up.controller, tmp_path / "go"
    person.settled()  # the sweep at the start is over: it would find the push a second time
    # Seconds, in place of a day.
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_PERIOD", 0.0)
    engine = controller.executor.engine = AwayEngine(person.up.engine)
    engine.away = ("second",)
    sha = push_two(person, wait_for(go), "echo late")
    assert record_of(person.up, "first")
    until(lambda: controller._retries.last_dropped)
    engine.away = ()
    person.settled()  # the engine is there again, and nothing looks at that commit
    assert {name for at, name in names(person) if at == sha} == {"first"}
    go.touch()
    assert person.log(person.final(sha, "fyre/second")) == "late\n"
    second = record_of(person.up, "second").run
    assert (second.ref, second.actor) == (
        "refs/heads/main",
        record_of(person.up, "first").run.actor,
    )
    person.settled()
    assert sorted(name for at, name in names(person) if at == sha) == ["first", "second"]


def names(person: Person) -> list[tuple[str, str]]:
    """Return the SHA and name of every run that the engine knows."""
    return [(record.run.sha, record.run.name) for record in person.up.engine.query_runs(ALL_RUNS)]


def test_an_end_that_came_while_no_controller_ran_is_found_by_the_next_start(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine loses the other run of that commit meanwhile: its status may not stay pending."""
    go, four = tmp_path / "go", EngineOptions(jobs=4)

    def make() -> FyreUp:
        return FyreUp(tmp_path / "state", "127.0.0.1", 0, options=four)

    def make_after_loss() -> FyreUp:
        runs = tmp_path / "state/engine/runs"
        shutil.rmtree(runs / second.run.key)
        go.touch()
        until((runs / first.run.key / "outcome.json").exists)
        # The push is older than what the sweep asks for.
        monkeypatch.setattr(Controller, "_sweep_pushes", lambda *_: None)
        return make()

    with one_at_a_time() as start:
        person = Person(start(make), repo)
        git("remote", "add", "origin", f"{person.up.url}/{NAME}.git", cwd=repo)
        sha = push_two(person, wait_for(go), wait_for(go))
        until(lambda: len(person.statuses(sha)) == 2)
        first, second = record_of(person.up, "first"), record_of(person.up, "second")
        person.up = start(make_after_loss)
        assert person.final(sha, "fyre/first")["state"] == "success"
        status = person.final(sha, "fyre/second")
    assert status["state"] == "error"
    assert status["description"].startswith("lost: no engine knows it any more")


@long_case
def test_what_a_comment_has_launched_launches_nothing_else_when_it_ends(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy = replace(executor.policy, runs_per_push=1)
    sha = push_two(person, "true", "true")
    refused = person.final(sha, "fyre/second")
    assert refused["description"].startswith("refused: this push asks for 2 runs")
    person.comment(sha, "/fyre rerun first")
    assert person.final(sha, "fyre/first", "attempt 2")["state"] == "success"
    person.settled()
    assert person.final(sha, "fyre/second") == refused
    assert [name for at, name in names(person) if at == sha] == ["first"]


def test_a_run_that_was_cancelled_or_ended_is_never_launched_by_the_end_of_another(
    person: Person, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    sha = push_two(person, wait_for(go), "exit 3")
    assert person.final(sha, "fyre/second")["description"].startswith("exit 3")
    person.comment(sha, "/fyre cancel first")
    assert person.final(sha, "fyre/first")["description"].startswith("cancelled by ada")
    ended = [one.run for one in person.up.engine.query_runs(ALL_RUNS) if one.run.sha == sha]
    for run in ended * 3:  # as an engine may report it
        person.up.controller.enqueue_event(RunEndEvent(run.repository, sha, run.key))
    person.settled()
    assert sorted(name for at, name in names(person) if at == sha) == ["first", "second"]
    assert len(person.statuses(sha)) <= 4


def test_a_commit_that_is_gone_when_its_run_ends_is_no_error(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    person.final(person.run("true"))
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    person.up.controller.enqueue_event(RunEndEvent(record.run.repository, "1" * 40, "0" * 26))
    person.settled()
    until(lambda: not person.up.controller.queue_length())
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_start_looks_at_the_ends_that_nobody_saw_and_at_each_commit_once(person: Person) -> None:
    engine = person.up.engine
    sha = push_two(person, "true", "exit 3")
    assert [person.final(sha, f"fyre/{name}")["state"] for name in ("first", "second")] == [
        "success",
        "failure",
    ]
    seen = person.run("true", "Fyre-Name: seen")
    records = [record_of(person.up, name) for name in ("first", "second", "seen")]
    ended = [until(lambda key=one.run.key: ended_record(person.up, key)) for one in records]
    for record in ended:
        until(lambda key=record.run.key: not unposted_statuses(engine.get_record(key), ""))
    oldest = min(record.run.created_at for record in ended)
    latest_end = max(record.ended_at or 0 for record in ended)

    def reported(since: float) -> list[str]:
        events: list[RunEndEvent] = []
        watcher = RunEndWatcher(engine, events.append)
        watcher.start(since)
        for record in ended:
            watcher._on_change(record.run.key)  # as of a record that has ended long ago
        return sorted(event.sha for event in events)

    assert reported(oldest) == []  # the sweep plans them, and their ends are posted
    assert reported(latest_end + 1) == []
    # A sweep from here on misses the push of the last one, which has ended later.
    assert reported(ended[2].run.created_at + 1e-6) == [seen]
    engine.annotate(ended[0].run.key, reported="")
    engine.annotate(ended[1].run.key, reported="")
    assert reported(oldest) == [sha]


def ended_record(up: FyreUp, key: str) -> RunRecord | None:
    """Return the record of a run that has ended, None before."""
    record = up.engine.get_record(key)
    return record if record is not None and record.state.is_final else None


@long_case
def test_the_end_of_a_run_keeps_to_the_caps_of_its_repository(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, go = person.up.controller, tmp_path / "go"
    person.settled()
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_PERIOD", 0.0)
    engine = controller.executor.engine = AwayEngine(person.up.engine)
    engine.away = ("second",)
    sha = push_two(person, wait_for(go), "echo late")
    until(lambda: controller._retries.last_dropped)
    engine.away = ()
    controller.executor.policy = replace(controller.executor.policy, runs_per_day=2)
    go.touch()
    refused = person.final(sha, "fyre/second")["description"]
    assert refused.startswith("refused: 2 runs of this repository in 24 h and 1 more asked for")
    assert {name for at, name in names(person) if at == sha} == {"first"}


def test_an_end_that_meets_trouble_of_the_machine_is_tried_again(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.run("true")
    person.final(sha)
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    person.settled()
    executor, asked = person.up.controller.executor, list[str]()
    read_request = executor.read_request

    def read_and_fail_once(*args: object) -> object:
        asked.append("")
        if len(asked) == 1:
            raise OSError(errno.ENOMEM, "no memory")
        return read_request(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(executor, "read_request", read_and_fail_once)
    person.up.controller.enqueue_event(RunEndEvent(record.run.repository, sha, record.run.key))
    until(lambda: len(asked) == 2)


def test_of_a_commits_many_ends_those_that_wait_are_one(person: Person) -> None:
    person.final(person.run("true"))
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    ends = RunEndProcessor(person.up.controller.executor)
    end = RunEndEvent(record.run.repository, record.run.sha, record.run.key)
    other = replace(end, sha="1" * 40)
    assert [ends.expect(one) for one in (end, end, other, end)] == [True, False, True, False]
    ends.process(end)
    assert ends.expect(end)  # it may have come too late to be seen


def test_a_rerun_is_of_the_branch_of_the_run(person: Person) -> None:
    sha = person.run("echo $FYRE_REF")
    person.final(sha)
    person.comment(sha, "/fyre rerun")
    again = person.final(sha, attempt="attempt 2")
    assert person.log(again) == "refs/heads/main\n"
