"""The status reporter against a real forge: each status is derived, and posted once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from fyre.apps import up
from fyre.backoff import Backoff
from fyre.errors import TransientError, UserError
from fyre.github import rate_limit
from fyre.github.errors import DeniedError
from fyre.github.rate_limit import RateLimitHeaders, RateLimits, WriteBudget
from fyre.local_forge.api import status_api
from fyre.local_forge.rate_limits import RateLimitMiddleware
from fyre.reporter import unposted_statuses, write_failures
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.commit_status import CommitStatus
from fyre.runs.policy import Policy
from fyre.runs.posted_states import posted_states
from fyre.runs.run import Repository, RunRecord
from fyre.runs.run_query import ALL_RUNS
from tests.support.ci_marks import easier_cases, long_case
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["person"]

SMALL = RateLimits(0.02, ((6, 0.3), (16, 1.5)))
"""GitHub's ceilings for the impatient."""


def confirmed(person: Person, sha: str) -> RunRecord:
    """The record of the only run, once its final status is noted as posted."""
    deadline = time.monotonic() + 30
    while True:
        for record in person.up.engine.query_runs(ALL_RUNS):
            if posted_states(record.reported).get(sha) == "succeeded":
                return record
        assert time.monotonic() < deadline, person.up.engine.query_runs(ALL_RUNS)
        time.sleep(0.01)


def test_nothing_is_owed_once_the_end_is_posted(person: Person) -> None:
    sha = person.run("true")
    assert unposted_statuses.unposted_statuses(confirmed(person, sha), "http://page") == []


@contextmanager
def crashed_before_the_note(person: Person, sha: str) -> Iterator[None]:
    """Stop the reporter, and leave a record its final status to post; then a new one posts it."""
    done, book = confirmed(person, sha), person.up.controller.executor.reporter
    book.stop()
    person.up.engine.annotate(done.run.key, reported=json.dumps({sha: "pending"}))
    yield
    again = StatusReporter(book.forge, book.engine, book.index, book.page_url)
    again.start()
    try:
        confirmed(person, sha)
    finally:
        again.stop()


def test_what_a_crash_left_in_doubt_is_looked_up_and_not_posted_again(person: Person) -> None:
    sha = person.run("true")
    with crashed_before_the_note(person, sha):
        before = person.statuses(sha)
    assert person.statuses(sha) == before


def test_what_never_got_there_is_posted(person: Person) -> None:
    sha = person.run("true")
    with crashed_before_the_note(person, sha):
        person.api(f"/statuses/{sha}", state="pending", context="fyre/run", description="running",
                   token=person.up.local_forge.service_token)  # fmt: skip
    assert person.final(sha)["state"] == "success"


def test_a_post_without_an_answer_is_not_made_twice(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = person.up.controller.executor.forge
    post = forge.create_status

    def unanswered(repository: Repository, sha: str, status: CommitStatus) -> None:
        post(repository, sha, status)
        raise TransientError("the connection broke off")

    monkeypatch.setattr(forge, "create_status", unanswered)
    monkeypatch.setattr(write_failures, "BACKOFF", Backoff(0.01, 0.02))
    sha = person.run("sleep 0.3")
    confirmed(person, sha)
    assert [one["state"] for one in person.statuses(sha)] == ["pending", "success"]


@pytest.mark.parametrize(
    "failure",
    [TransientError("HTTP 502"), *easier_cases(DeniedError("HTTP 401"), RuntimeError("a bug"))],
)
def test_a_forge_that_fails_for_a_while_gets_the_status_in_the_end(
    person: Person, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    forge, failures = person.up.controller.executor.forge, []
    post = forge.create_status

    def sometimes(*words: object) -> RateLimitHeaders:
        if len(failures) < 3:
            failures.append(words)
            raise failure
        return post(*words)  # type: ignore[arg-type] # whatever the ledger gave

    monkeypatch.setattr(forge, "create_status", sometimes)
    monkeypatch.setattr(write_failures, "BACKOFF", Backoff(0.01, 0.02))
    monkeypatch.setattr(write_failures, "OPERATOR_BACKOFF", Backoff(0.01, 0.02))
    sha = person.run("true")
    assert person.final(sha)["state"] == "success"
    assert len(failures) == 3


def test_a_status_that_is_never_taken_does_not_keep_the_others_waiting(person: Person) -> None:
    record_of_nothing(person.up.controller.executor.reporter)
    sha = person.run("true")
    assert person.final(sha)["state"] == "success"
    assert person.up.controller.executor.reporter.is_idle()


def record_of_nothing(book: StatusReporter) -> None:
    """Want a status on a commit that does not exist."""
    (repository,) = book.forge.list_repositories()
    book.queue_status(repository, "f" * 40, CommitStatus("fyre/run", "error", "gone"))


@pytest.fixture
def ceiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[RateLimits], list[RateLimitMiddleware]]:
    """Have the next ``fyre up`` served below ceilings; what counts is in the list once it is up."""

    def below(ceilings: RateLimits, **more: object) -> list[RateLimitMiddleware]:
        made: list[RateLimitMiddleware] = []
        whole = up.Starlette

        def starlette(**parts: object) -> RateLimitMiddleware:
            made.append(RateLimitMiddleware(whole(**parts), write_limits=ceilings, **more))
            return made[0]

        monkeypatch.setattr(up, "Starlette", starlette)
        return made

    return below


@pytest.fixture
def low_person(
    request: pytest.FixtureRequest, ceiled: Callable[..., list[RateLimitMiddleware]]
) -> tuple[Person, RateLimitMiddleware]:
    """A person on a forge with small ceilings, or with what the test asks for."""
    made = ceiled(**getattr(request, "param", {"ceilings": SMALL}))
    return request.getfixturevalue("person"), made[0]


def ends(person: Person, count: int) -> None:
    """A push of so many runs, each of which ends as it should."""
    shas = [person.commit(f"Fyre-Run: exit {number % 2}") for number in range(count)]
    person.push()
    assert [person.final(sha)["state"] for sha in shas] == [
        "failure" if n % 2 else "success" for n in range(count)
    ]


@long_case
def test_below_ceilings_every_end_is_told_and_nothing_refused(
    low_person: tuple[Person, RateLimitMiddleware],
) -> None:
    person, ceiled = low_person
    person.up.controller.executor.reporter.write_queue.budget = WriteBudget(SMALL)
    ends(person, 18)
    assert ceiled.refusals_by_path.total() == 0
    assert ceiled.accepted_writes < 2 * 18


@pytest.mark.parametrize(
    "low_person", [{"ceilings": SMALL, "send_retry_after": False}], indirect=True
)
def test_what_a_ceiling_refused_is_told_later(
    low_person: tuple[Person, RateLimitMiddleware],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    person, ceiled = low_person
    monkeypatch.setattr(rate_limit, "DEFAULT_WAIT", 0.2)
    person.up.controller.executor.reporter.write_queue.budget = WriteBudget(SMALL)
    ceiled.recent_writes.append(
        time.time() + 3600
    )  # somebody else's, for which there is no room for long
    sha = person.run("true")
    until(lambda: ceiled.refusals_by_path)
    ceiled.recent_writes.clear()
    assert person.final(sha)["state"] == "success"
    assert "status writes wait" in caplog.text


@long_case
def test_reads_do_not_wait_for_a_writer_that_does(person: Person) -> None:
    book = person.up.controller.executor.reporter
    sha = person.run("true")
    confirmed(person, sha)
    book.write_queue.budget = WriteBudget(
        is_limited=True, closed_until=book.write_queue.clock() + 3600
    )
    other = person.run("true")
    (repository,) = book.forge.list_repositories()
    assert book.read_statuses(repository, sha)["fyre/run"].state == "success"
    assert book.read_statuses(repository, other) == {}


def test_a_full_context_is_given_up_with_a_line(
    person: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_api, "STATUSES_PER_CONTEXT_MAX", 1)
    sha = person.run("sleep 0.2")
    record = confirmed(person, sha)
    assert [one["state"] for one in person.statuses(sha)] == ["pending"]
    assert unposted_statuses.unposted_statuses(record, "") == []
    assert (
        f"given up: posting fyre/run on {sha[:7]} of ada/lab: the forge takes no more than 1,000"
        in caplog.text
    )


def test_it_is_said_before_a_context_is_full(person: Person, monkeypatch: pytest.MonkeyPatch,
                                             caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    monkeypatch.setattr(unposted_statuses, "CONTEXT_NEARLY_FULL", 2)
    sha = person.run("sleep 0.2")
    confirmed(person, sha)
    assert [one["state"] for one in person.statuses(sha)] == ["success"], (
        "what is not final is left out"
    )
    assert f"fyre/run on {sha} may soon be full" in caplog.text


@pytest.mark.parametrize(
    "low_person", [{"ceilings": RateLimits(0.0), "primary_limit": 10}], indirect=True
)
def test_it_is_said_before_the_requests_of_the_hour_are_used_up(
    low_person: tuple[Person, RateLimitMiddleware], caplog: pytest.LogCaptureFixture
) -> None:
    person, ceiled = low_person
    book = person.up.controller.executor.reporter
    (repository,) = book.forge.list_repositories()
    with suppress(UserError, TransientError):
        while ceiled._used_requests < 9:
            book.forge.get_repository(repository.name)
    book.queue_status(
        repository, person.git("rev-parse", "HEAD"), CommitStatus("fyre/x", "error", "refused")
    )
    until(book.is_idle)
    assert "0 of 10 requests are left" in caplog.text


def test_no_refusal_is_written_over_the_end_of_what_ran_after_it(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy, book = Policy(refs=("main",)), executor.reporter
    book.write_queue.budget = WriteBudget(
        is_limited=True, closed_until=book.write_queue.clock() + 3600
    )
    sha = person.commit("Fyre-Run: true")
    person.push("main:dev")
    until(lambda: not book.is_idle())
    person.push()
    until(
        lambda: [
            record for record in person.up.engine.query_runs(ALL_RUNS) if record.state.is_final
        ]
    )
    with book.write_queue.changed:
        book.write_queue.budget = WriteBudget()
        book.write_queue.changed.notify_all()
    confirmed(person, sha)
    until(book.is_idle)
    assert [one["state"] for one in person.statuses(sha)] == ["success"]
