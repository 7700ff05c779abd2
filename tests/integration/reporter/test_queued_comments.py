"""Replies to comments wait in one queue with the statuses, and keep the rate limits as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from fyre.backoff import Backoff
from fyre.errors import TransientError
from fyre.github.client import GitHubClient
from fyre.github.errors import DeniedError
from fyre.github.rate_limit import WriteBudget
from fyre.reporter import status_reporter, write_failures
from fyre.reporter.unposted_statuses import UnpostedComment
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository
from tests.integration.reporter.test_status_reporter import (
    SMALL,
    RateLimitMiddleware,
    ceiled,
    ends,
    low_person,
)
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person, person
from tests.support.waiting import until

__all__ = ["ceiled", "low_person", "person"]


@long_case
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
    assert sorted(tries) == ["not now", "not now", "you may not", "you may not"]
    assert "comment not posted: you may not" in caplog.text
    assert book.queued_comment_bodies(repository) == []


@contextmanager
def revoked_token(person: Person) -> Iterator[None]:
    """The forge answers 401 meanwhile."""
    tokens = ["user:fyre[bot]"]  # nobody may call himself that
    person.up.controller.executor.reporter.forge = GitHubClient(
        f"{person.up.url}/api", lambda: tokens[-1]
    )
    yield
    tokens.append(person.up.local_forge.service_token)


@contextmanager
def hidden_repository(person: Person) -> Iterator[None]:
    """The forge answers 404 meanwhile."""
    bare = person.up.local_forge.repositories.find_repo(NAME)
    assert bare is not None
    hidden = bare.git_dir.rename(bare.git_dir.with_name("hidden"))
    yield
    hidden.rename(bare.git_dir)


def queue_reply(person: Person, repository: Repository, text: str) -> None:
    book = person.up.controller.executor.reporter
    sha = person.git("rev-parse", "main")

    def send() -> None:
        book.forge.create_commit_comment(repository, sha, text)

    book.queue_comment(UnpostedComment(repository, f"comment {text}", text, send))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_failures, "OPERATOR_BACKOFF", Backoff(0.01, 0.02))


Trouble = Callable[[Person], AbstractContextManager[None]]


@pytest.mark.usefixtures("impatient")
def test_a_reply_waits_until_the_forge_knows_us_and_shows_the_repository(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    book = person.up.controller.executor.reporter
    (repository,) = book.forge.list_repositories()
    troubles: tuple[Trouble, ...] = (hidden_repository, revoked_token)
    for trouble in troubles:
        with trouble(person):
            caplog.clear()
            queue_reply(person, repository, trouble.__name__)
            until(lambda: "are tried again" in caplog.text)
            assert book.queued_comment_bodies(repository) == [trouble.__name__]
        until(book.is_idle)
    shown = person.comments(person.git("rev-parse", "main"))
    assert sorted(shown) == ["hidden_repository", "revoked_token"]
    assert "comment not posted" not in caplog.text


@pytest.mark.usefixtures("impatient")
def test_a_reply_that_can_not_be_posted_for_a_day_is_dropped(
    person: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    book = person.up.controller.executor.reporter
    (repository,) = book.forge.list_repositories()
    with revoked_token(person):
        queue_reply(person, repository, "late")
        until(lambda: "are tried again" in caplog.text)
        monkeypatch.setattr(status_reporter, "COMMENT_RETRY_PERIOD", 0.0)
        until(book.is_idle)
    assert "comment not posted: " in caplog.text


def test_without_the_right_to_reply_replies_are_dropped_and_statuses_posted(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    book, tries = person.up.controller.executor.reporter, list[str]()

    def refused(key: str) -> None:
        tries.append(key)
        raise DeniedError(f"commenting on {key}: HTTP 403 Resource not accessible by integration")

    (repository,) = book.forge.list_repositories()
    for key in "ab":
        book.queue_comment(UnpostedComment(repository, key, "a reply", partial(refused, key)))
    sha = person.git("rev-parse", "main")
    book.queue_status(repository, sha, CommitStatus("fyre/run", "error", "refused"))
    until(book.is_idle)
    assert tries == ["a", "a", "b", "b"]  # what was in the way may just have ended
    assert caplog.text.count("comment not posted") == 1
    assert "are tried again" not in caplog.text
    assert [one["description"] for one in person.statuses(sha)] == ["refused"]
