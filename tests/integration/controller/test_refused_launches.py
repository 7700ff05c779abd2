"""A run that the cluster does not take for now says so on its commit, and holds up no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from kubernetes.client import ApiException

from fyre.backoff import Backoff
from fyre.client.events import LogChunk
from fyre.client.follow import follow_run
from fyre.client.run_client import RunClient
from fyre.controller.delayed_launches import DelayedLaunches
from fyre.controller.launch_delays import EQUAL_REFUSALS_MAX, LaunchDelays, LaunchPass
from fyre.engines.kubernetes.api_errors import translate_api_error
from fyre.engines.wrappers import EngineWrapper
from fyre.errors import RefusedForNowError
from fyre.github.webhook import RerequestEvent
from fyre.runs.policy import Policy
from fyre.runs.run import Run
from fyre.runs.run_query import ALL_RUNS
from fyre.workspace import remote
from tests.contract.engine import make_run
from tests.support.ci_marks import EASIER_CASE, long_case
from tests.support.comment_helpers import answer, opened, say, talk
from tests.support.person import NAME, Person
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

    def launched(self, sha: str) -> list[str]:
        """The names of the runs of a commit that it has taken, sorted."""
        records = self.query_runs(ALL_RUNS)
        return sorted(record.run.name for record in records if record.run.sha == sha)


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
    assert full.launched(sha) == ["first", "second"]


def test_9_26_a_run_that_was_refused_for_a_day_is_not_pending_for_ever(
    person: Person, full: FullEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_PERIOD", 0.0)
    sha = push_two(person)
    final = person.final(sha, "fyre/first")
    assert final["state"] == "error"
    assert final["description"].startswith("not launched: ")
    assert final["description"].endswith(" · push it again, or ask an admin of the repository")
    person.final(sha, "fyre/second")
    person.settled()
    full.refused = ""
    person.git("push", "-q", "origin", f"{sha}:refs/heads/again")  # as the status says
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


def test_9_26_a_run_that_waits_for_the_engine_can_be_cancelled(
    person: Person, full: FullEngine
) -> None:
    sha = push_two(person)
    person.final(sha, "fyre/second")
    until(lambda: described(person, sha, "first"))
    person.comment(sha, "/fyre cancel")
    assert person.final(sha, "fyre/first")["description"] == "cancelled by ada"
    until(lambda: "cancelled: `first`." in person.comments(sha))
    full.refused = ""
    person.settled()
    assert full.launched(sha) == ["second"]


@long_case
def test_9_26_a_rerun_by_comment_says_why_it_waits_once_and_holds_up_no_other(
    person: Person, full: FullEngine
) -> None:
    full.refused = ""
    sha = push_two(person)
    person.final(sha, "fyre/first"), person.final(sha, "fyre/second")
    full.refused = "first"
    person.comment(sha, "/fyre rerun")
    person.final(sha, "fyre/second", "attempt 2")
    until(tried_again(full))
    until(lambda: len(person.comments(sha)) > 1)
    (_, note) = person.comments(sha)
    assert note.startswith("not launched yet: <code>exceeded quota: few, ")
    assert note.endswith("</code>. It is tried again for a day.")
    full.refused = ""
    person.final(sha, "fyre/first", "attempt 2")
    until(lambda: len(person.comments(sha)) == 3)
    assert person.comments(sha)[2].startswith("launched:\n\n- [`first`](")
    assert full.launched(sha) == ["first", "first", "second", "second"]


def test_9_26_a_launch_that_a_comment_waits_for_can_be_cancelled(
    person: Person, full: FullEngine
) -> None:
    sha = person.run("true")
    person.final(sha)
    person.comment(sha, "/fyre run --name first -- true")
    until(lambda: len(person.comments(sha)) == 2)
    person.comment(sha, "/fyre cancel")
    until(lambda: len(person.comments(sha)) == 5)
    told = {"cancelled by ada.", "What waited to be launched here is cancelled."}
    assert told == set(person.comments(sha)[3:])
    assert len(person.up.controller.executor.delayed_comments) == 0
    full.refused = ""
    person.settled()
    assert full.launched(sha) == ["run"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("run --name first -- true", "first"),
        pytest.param("run true", "run-2", marks=EASIER_CASE),
    ],
)
def test_9_26_a_launch_that_a_comment_waits_for_can_be_cancelled_by_its_name(
    person: Person, full: FullEngine, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    """Its thread says that it is cancelled, where a process that is new does not remember it."""
    if name == "run-2":
        monkeypatch.setattr(DelayedLaunches, "is_cancelled", lambda *_: False)
    full.refused = name
    sha = person.run("true")
    person.final(sha)
    person.comment(sha, f"/fyre {command}")
    until(lambda: len(person.comments(sha)) == 2)
    person.comment(sha, f"/fyre cancel {name.upper()}")
    until(lambda: person.comments(sha).count(f"cancelled: `{name}`.") == 2)
    full.refused = ""
    person.settled()
    assert full.launched(sha) == ["run"]


@long_case
def test_9_26_a_cancel_by_name_leaves_the_rest_of_a_rerun_that_waits(
    person: Person, full: FullEngine
) -> None:
    full.refused = ""
    sha = push_two(person)
    person.final(sha, "fyre/first"), person.final(sha, "fyre/second")
    full.refused = "first"
    person.comment(sha, "/fyre rerun")
    until(lambda: len(person.comments(sha)) == 2)
    person.comment(sha, "/fyre cancel first")
    until(lambda: len(person.comments(sha)) == 5)
    assert "cancelled: `first`." in person.comments(sha)
    (answer,) = (body for body in person.comments(sha) if body.startswith("launched:"))
    assert answer.endswith("\n\ncancelled: `first`.")
    assert full.launched(sha) == ["first", "second", "second"]


@long_case
def test_9_26_a_cancel_by_name_is_about_the_commit_that_its_comment_is_about(
    person: Person, full: FullEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a process that is new, and knows it from the thread alone."""
    monkeypatch.setattr(DelayedLaunches, "is_cancelled", lambda *_: False)
    person.git("checkout", "-q", "-b", "topic")
    sha = person.commit()
    person.push("topic")
    pull = opened(person, "topic")
    say(person, pull, f"/fyre run --name first --commit {sha} -- true")
    until(lambda: len(talk(person, pull)) == 2)
    person.commit()
    person.push("topic")
    assert answer(person, pull, "/fyre cancel first").endswith("here is named first.")
    until(tried_again(full))
    full.refused = ""
    until(lambda: len(talk(person, pull)) == 5)
    assert "launched:" in talk(person, pull)[4]
    assert full.launched(sha) == ["first"]


@long_case
def test_9_26_a_cancel_without_a_name_ends_the_waits_of_its_commit_alone(
    person: Person, full: FullEngine
) -> None:
    """The commit of ``--commit``, else the head; also where another thread asked for the run."""
    person.git("checkout", "-q", "-b", "topic")
    sha = person.commit()
    person.push("topic")
    pull = opened(person, "topic")
    say(person, pull, f"/fyre run --name first --commit {sha} -- true")
    until(lambda: len(talk(person, pull)) == 2)
    person.commit()
    person.push("topic")
    assert answer(person, pull, "/fyre cancel").endswith("nothing to cancel here.")
    waiting = person.up.controller.executor.delayed_comments
    assert len(waiting) == 1
    person.comment(sha, "/fyre run --name first -- exit 3")
    until(lambda: len(person.comments(sha)) == 2)
    say(person, pull, f"/fyre cancel --commit {sha}")
    told = "What waited to be launched here is cancelled. cancelled: `first`."
    until(lambda: any(body.endswith(told) for body in talk(person, pull)))
    assert any(body.endswith("cancelled by ada.") for body in talk(person, pull))
    until(lambda: person.comments(sha)[-1] == "cancelled: `first`.")
    full.refused = ""
    until(lambda: person.up.controller.queue_length() == 0)
    assert full.launched(sha) == []
    assert len(waiting) == 0


def test_9_26_a_comment_that_is_refused_for_good_waits_no_more(
    person: Person, full: FullEngine
) -> None:
    sha = person.commit()
    person.push()
    person.comment(sha, "/fyre run --name first -- true")
    until(lambda: len(person.comments(sha)) == 2)
    person.up.controller.executor.policy = Policy(overrides=((NAME, {"refs": ()}),))
    until(lambda: "`first` is refused: " in person.comments(sha)[-1])
    person.comment(sha, "/fyre cancel first")
    until(lambda: person.comments(sha)[-1] == "nothing to cancel here is named first.")


@long_case
def test_9_26_a_comment_whose_launch_is_refused_for_a_day_is_answered(
    person: Person, full: FullEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_PERIOD", 0.0)
    sha = person.run("true")
    person.final(sha)
    person.comment(sha, "/fyre run --name first -- true")
    until(lambda: any("given up after a day: <code>exc" in body for body in person.comments(sha)))
    assert full.tries == 1
    assert len(person.up.controller.executor.delayed_comments) == 0


def click_rerun(person: Person, sha: str) -> None:
    repository = person.up.controller.executor.forge.get_repository(NAME)
    person.up.controller.enqueue_event(RerequestEvent(repository, sha, "ada", "first", 1))


@long_case
def test_9_26_a_click_on_rerun_that_waits_leaves_the_status_as_it_is(
    person: Person, full: FullEngine
) -> None:
    full.refused = ""
    sha = person.run("true", "Fyre-Name: first")
    person.final(sha, "fyre/first")
    person.settled()
    before = described(person, sha, "first")
    full.refused = "first"
    click_rerun(person, sha)
    until(tried_again(full))
    assert described(person, sha, "first") == before
    full.refused = ""
    person.final(sha, "fyre/first", "attempt 2")
    assert full.launched(sha) == ["first", "first"]


@long_case
def test_9_26_a_cancel_ends_a_click_on_rerun_that_waits(person: Person, full: FullEngine) -> None:
    full.refused = ""
    sha = person.run("true", "Fyre-Name: first")
    person.final(sha, "fyre/first")
    full.refused = "first"
    click_rerun(person, sha)
    until(lambda: full.tries > 1)
    person.comment(sha, "/fyre cancel first")
    until(lambda: "cancelled: `first`." in person.comments(sha))
    full.refused = ""
    click_rerun(person, sha)  # the same click, delivered again
    until(lambda: person.up.controller.queue_length() == 0)
    assert full.launched(sha) == ["first"]
    assert person.final(sha, "fyre/first")["state"] == "success"


def test_9_26_after_ten_equal_refusals_runs_that_need_the_same_are_not_asked_for() -> None:
    asked = list[str]()

    def launch(run: Run) -> None:
        asked.append(run.name)
        raise refusal(QUOTA.format(len(asked)))

    launches = LaunchPass(launch)
    wanted = make_run("0" * 40, "true")
    runs = [replace(wanted, name=f"run-{number}") for number in range(100)]
    assert all(launches.launch(run) for run in runs)
    assert asked == [run.name for run in runs[:10]]
    assert launches.launch(make_run("0" * 40, "true", resources=(("nvidia.com/gpu", "1"),)))
    assert len(asked) == 11
    assert len(launches.refusals) == 101


def test_9_26_many_commits_of_a_push_count_as_one_pass(
    person: Person, full: FullEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fyre.controller.retry_queue.RETRY_BACKOFF", Backoff(600, 600))
    shas = [person.commit("Fyre-Run: true", "Fyre-Name: first") for _ in range(12)]
    person.push()
    until(lambda: all(described(person, sha, "first") for sha in shas))
    assert full.tries == EQUAL_REFUSALS_MAX


def test_9_26_a_commit_that_is_given_up_in_one_repository_still_waits_in_another(
    person: Person,
) -> None:
    reporter = person.up.controller.executor.reporter
    repository = person.up.controller.executor.forge.get_repository(NAME)
    other = replace(repository, id=repository.id + 1)
    sha = person.git("rev-parse", "HEAD").strip()
    delays = LaunchDelays(reporter)
    for name in ("fyre/first", "fyre/second"):
        delays.tell(repository, sha, name, "no room", "")
    delays.forget_others(repository, sha, ["fyre/second"])
    delays.give_up([(other.id, sha)])
    delays.give_up([(repository.id, sha)])
    assert person.final(sha, "fyre/second")["state"] == "error"
    person.settled()
    assert [text.split()[0] for text in described(person, sha, "first")] == ["waiting"]


def test_9_26_a_quota_is_a_refusal_for_now() -> None:
    assert isinstance(refusal(QUOTA), RefusedForNowError)
