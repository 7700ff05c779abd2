"""What is no status has its turn with the statuses: answers to comments keep a forge's ceilings as well."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from fyre.errors import TryAgainError
from fyre.github.errors import DeniedError
from fyre.github.rate_limit import Pace
from fyre.reporter.pending_writes import Saying
from tests.receiver.conftest import Person, person
from tests.test_ledger import SMALL, Ceiled, ceiled, ends, low_person
from tests.waiting import until

__all__ = ["ceiled", "low_person", "person"]


@pytest.mark.parametrize("low_person", [{"ceilings": SMALL}], indirect=True)
def test_answers_and_ends_keep_the_ceilings_together(low_person: tuple[Person, Ceiled]) -> None:
    person, ceiled = low_person
    book = person.up.receiver.executor.ledger
    book.turns.pace = Pace(SMALL, counted=True)
    (repository,) = book.forge.repositories()
    sha = person.git("rev-parse", "main")
    for number in range(6):
        write = partial(book.forge.comment, repository, sha, f"answer {number}")
        book.say(Saying(repository, f"comment {number}", f"answer {number}", write))
    ends(person, 6)
    until(book.idle)
    assert sorted(person.comments(sha)) == [f"answer {number}" for number in range(6)]
    assert not ceiled.refused


def test_what_may_pass_is_said_later_and_what_may_not_never(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    book, tries = person.up.receiver.executor.ledger, []

    def fails(error: Exception, times: int) -> Callable[[], None]:
        def write() -> None:
            tries.append(str(error))
            if tries.count(str(error)) <= times:
                raise error

        return write

    (repository,) = book.forge.repositories()
    book.say(Saying(repository, "a", "one", fails(DeniedError("you may not"), 9)))
    book.say(Saying(repository, "b", "two", fails(TryAgainError("not now"), 1)))
    assert set(book.unsaid(repository)) <= {"one", "two"}
    until(book.idle)
    assert sorted(tries) == ["not now", "not now", "you may not"]
    assert "not said: you may not" in caplog.text
    assert book.unsaid(repository) == []
