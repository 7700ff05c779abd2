"""The ledger against a real forge: what is owed is derived, said once, and said again only where it is in doubt."""

from __future__ import annotations

import json
import time

import pytest

from fyre import ledger
from fyre.errors import TryAgainError
from fyre.forge import DeniedError
from fyre.ledger import Ledger
from fyre.run import Record
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


def test_an_intent_that_a_crash_left_is_looked_up_and_not_posted_again(person: Person) -> None:
    sha = person.run("true")
    done = confirmed(person, sha)
    before = person.statuses(sha)
    person.up.engine.annotate(done.run.key, reported=json.dumps({sha: "succeeded?"}))
    person.up.receiver.hands.ledger.touch(done.run.key)
    confirmed(person, sha)
    assert person.statuses(sha) == before


def test_an_intent_that_never_got_there_is_posted(person: Person) -> None:
    sha = person.run("true")
    done = confirmed(person, sha)
    person.api(f"/statuses/{sha}", state="pending", context="fyre/run", description="running",
               token=person.up.embedded.service_token)  # fmt: skip
    person.up.engine.annotate(done.run.key, reported=json.dumps({sha: "succeeded?"}))
    person.up.receiver.hands.ledger.touch(done.run.key)
    assert person.final(sha)["state"] == "success"


@pytest.mark.parametrize("failure", [TryAgainError("HTTP 502"), DeniedError("HTTP 401"), RuntimeError("a bug")])
def test_a_forge_that_fails_for_a_while_gets_the_status_in_the_end(
    person: Person, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    forge, failures = person.up.receiver.hands.forge, []
    post = forge.post

    def sometimes(*words: object) -> None:
        if len(failures) < 3:
            failures.append(words)
            raise failure
        post(*words)  # type: ignore[arg-type] # whatever the ledger gave

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
