"""The ledger against a real forge: what is owed is derived, said once, and said again only where it is in doubt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fyre import ledger
from fyre.errors import TryAgainError
from fyre.forge import DeniedError
from fyre.ledger import Ledger
from fyre.pacing import Told
from fyre.run import Record, Repository
from fyre.status import Status
from tests.receiver.conftest import Person, person

__all__ = ["person"]


def confirmed(person: Person, sha: str) -> Record:
    """The record of the only run, once its final status is noted as posted."""
    deadline = time.monotonic() + 30
    while True:
        for record in person.up.engine.records():
            if ledger.read_note(record.reported).get(sha) == "succeeded":
                return record
        assert time.monotonic() < deadline, person.up.engine.records()
        time.sleep(0.01)


def test_nothing_is_owed_once_the_end_is_posted(person: Person) -> None:
    sha = person.run("true")
    assert ledger.owed(confirmed(person, sha), "http://page") == []


@contextmanager
def crashed_before_the_note(person: Person, sha: str) -> Iterator[None]:
    """No ledger, and a record that owes its end; afterwards a new ledger, until that is confirmed."""
    done, book = confirmed(person, sha), person.up.receiver.hands.ledger
    book.stop()
    person.up.engine.annotate(done.run.key, reported=json.dumps({sha: "pending"}))
    yield
    again = Ledger(book.forge, book.engine, book.index, book.url)
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
                   token=person.up.embedded.service_token)  # fmt: skip
    assert person.final(sha)["state"] == "success"


def test_a_post_without_an_answer_is_not_made_twice(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    forge = person.up.receiver.hands.forge
    post = forge.post

    def unanswered(repository: Repository, sha: str, status: Status) -> None:
        post(repository, sha, status)
        raise TryAgainError("the connection broke off")

    monkeypatch.setattr(forge, "post", unanswered)
    monkeypatch.setattr(ledger, "BACKOFF", (0.01, 0.02))
    sha = person.run("sleep 0.3")
    confirmed(person, sha)
    assert [one["state"] for one in person.statuses(sha)] == ["pending", "success"]


@pytest.mark.parametrize("failure", [TryAgainError("HTTP 502"), DeniedError("HTTP 401"), RuntimeError("a bug")])
def test_a_forge_that_fails_for_a_while_gets_the_status_in_the_end(
    person: Person, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    forge, failures = person.up.receiver.hands.forge, []
    post = forge.post

    def sometimes(*words: object) -> Told:
        if len(failures) < 3:
            failures.append(words)
            raise failure
        return post(*words)  # type: ignore[arg-type] # whatever the ledger gave

    monkeypatch.setattr(forge, "post", sometimes)
    monkeypatch.setattr(ledger, "BACKOFF", (0.01, 0.02))
    sha = person.run("true")
    assert person.final(sha)["state"] == "success"
    assert len(failures) == 3


def test_a_status_that_is_never_taken_does_not_keep_the_others_waiting(person: Person) -> None:
    gone = record_of_nothing(person.up.receiver.hands.ledger)
    sha = person.run("true")
    assert person.final(sha)["state"] == "success"
    assert gone not in person.up.receiver.hands.ledger._wanted


def record_of_nothing(book: Ledger) -> tuple[int, str, str]:
    """Want a status on a commit that does not exist."""
    (repository,) = book.forge.repositories()
    book.want(repository, "f" * 40, Status("fyre/run", "error", "gone"))
    return repository.id, "f" * 40, "fyre/run"
