"""What waits in memory is forgotten once it is written, and only then."""

from __future__ import annotations

from contextlib import suppress

from fyre.reporter.unposted_statuses import UnpostedComment
from fyre.reporter.unrecorded_writes import UnrecordedWrites
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository

REPOSITORY = Repository("https://api.github.com", 1, "ada/lab")


def a_comment(body: str) -> UnpostedComment:
    return UnpostedComment(REPOSITORY, "comment 1", body, lambda: None)


def test_a_reply_that_replaces_the_one_being_sent_is_kept() -> None:
    writes = UnrecordedWrites()
    write_id = writes.add_comment(a_comment("first"))
    with writes.take_comment(write_id):
        writes.add_comment(a_comment("second"))
    assert writes.comment_bodies(REPOSITORY) == ["second"]
    with writes.take_comment(write_id) as comment:
        assert comment is not None
        assert comment.body == "second"
    assert writes.is_empty()


def test_a_status_that_replaces_the_one_being_posted_is_kept() -> None:
    writes = UnrecordedWrites()
    first, second = (CommitStatus("fyre/run", "error", text) for text in ("first", "second"))
    write_id = writes.add_status(REPOSITORY, "sha", first)
    with writes.take_status(write_id):
        writes.add_status(REPOSITORY, "sha", second)
    assert writes.statuses_on(REPOSITORY, "sha") == {"fyre/run": second}


def test_what_could_not_be_written_still_waits() -> None:
    writes = UnrecordedWrites()
    write_id = writes.add_comment(a_comment("first"))
    with suppress(OSError), writes.take_comment(write_id):
        raise OSError
    assert writes.comment_bodies(REPOSITORY) == ["first"]
