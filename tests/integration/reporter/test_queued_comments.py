"""Replies to comments wait in one queue with the statuses, and keep the rate limits as well."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from fyre.errors import TransientError
from fyre.github.errors import DeniedError
from fyre.github.rate_limit import WriteBudget
from fyre.reporter.unposted_statuses import UnpostedComment
from tests.integration.reporter.test_status_reporter import (
    SMALL,
    RateLimitMiddleware,
    ceiled,
    ends,
    low_person,
)
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["ceiled", "low_person", "person"]


@pytest.mark.parametrize("low_person", [{"ceilings": SMALL}], indirect=True)
def test_answers_and_ends_keep_the_ceilings_together(
    low_person: tuple[Person, RateLimitMiddleware],
) -> None:
    person, ceiled = low_person
    book = person.up.controller.executor.reporter
    book.write_queue.budget = WriteBudget(SMALL, is_limited=True)
    (repository,) = book.forge.list_repositories()
    sha = person.git("rev-parse", "main")
    for number in range(6):
        write = partial(book.forge.create_commit_comment, repository, sha, f"answer {number}")
        book.queue_comment(
            UnpostedComment(repository, f"comment {number}", f"answer {number}", write)
        )
    ends(person, 6)
    until(book.is_idle)
    assert sorted(person.comments(sha)) == [f"answer {number}" for number in range(6)]
    assert not ceiled.refusals_by_path


def test_what_may_pass_is_said_later_and_what_may_not_never(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    book, tries = person.up.controller.executor.reporter, []

    def fails(error: Exception, times: int) -> Callable[[], None]:
        def write() -> None:
            tries.append(str(error))
            if tries.count(str(error)) <= times:
                raise error

        return write

    (repository,) = book.forge.list_repositories()
    book.queue_comment(
        UnpostedComment(repository, "a", "one", fails(DeniedError("you may not"), 9))
    )
    book.queue_comment(UnpostedComment(repository, "b", "two", fails(TransientError("not now"), 1)))
    assert set(book.queued_comment_bodies(repository)) <= {"one", "two"}
    until(book.is_idle)
    assert sorted(tries) == ["not now", "not now", "you may not"]
    assert "comment not posted: you may not" in caplog.text
    assert book.queued_comment_bodies(repository) == []
