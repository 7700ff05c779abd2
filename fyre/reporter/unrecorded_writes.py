"""Keep the statuses and comments that wait to be written and that no run record can bring back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from fyre.reporter.unposted_statuses import StatusPost, UnpostedComment
from fyre.reporter.write_identity import CommentWrite, UnrecordedStatusWrite
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository

K = TypeVar("K")
W = TypeVar("W")


class UnrecordedWrites:
    """Statuses without a run and replies to comments; forgotten when the process stops.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._statuses: dict[UnrecordedStatusWrite, StatusPost] = {}
        self._comments: dict[CommentWrite, UnpostedComment] = {}
        self._lock = threading.Lock()

    def add_status(
        self, repository: Repository, sha: str, status: CommitStatus
    ) -> UnrecordedStatusWrite:
        """Keep a status in place of the one that waits for the same context."""
        write_id = _status_id(repository, sha, status.context)
        with self._lock:
            self._statuses[write_id] = StatusPost(repository, sha, status)
        return write_id

    def drop_status(self, repository: Repository, sha: str, context: str) -> bool:
        """Forget the status of a context; return False if none waits."""
        with self._lock:
            return self._statuses.pop(_status_id(repository, sha, context), None) is not None

    def add_comment(self, comment: UnpostedComment) -> CommentWrite:
        """Keep a comment in place of the one that waits for the same purpose."""
        write_id = CommentWrite(comment.repository.id, comment.in_reply_to, comment.is_optional)
        with self._lock:
            self._comments[write_id] = comment
        return write_id

    def is_empty(self) -> bool:
        """Return True if nothing waits."""
        with self._lock:
            return not self._statuses and not self._comments

    def statuses_on(self, repository: Repository, sha: str) -> dict[str, CommitStatus]:
        """Return the statuses that wait for a SHA, by context in lower case."""
        with self._lock:
            return {
                write_id.context: unposted.status
                for write_id, unposted in self._statuses.items()
                if (write_id.repository_id, write_id.sha) == (repository.id, sha)
            }

    def comment_bodies(self, repository: Repository) -> list[str]:
        """Return the texts of the comments that wait in a repository."""
        with self._lock:
            comments = list(self._comments.values())
        return [comment.body for comment in comments if comment.repository.id == repository.id]

    def take_status(
        self, write_id: UnrecordedStatusWrite
    ) -> AbstractContextManager[StatusPost | None]:
        """Lend the status to be posted, and forget it unless posting it raises.

        None where none waits: it was replaced while it was posted, and the later one was posted
        too; or a run owns its context by now. One that replaces it meanwhile is kept.
        """
        return self._lend(self._statuses, write_id)

    def take_comment(
        self, write_id: CommentWrite
    ) -> AbstractContextManager[UnpostedComment | None]:
        """Lend the comment to be sent, and forget it unless sending it raises.

        None where none waits. One that replaces it meanwhile is kept.
        """
        return self._lend(self._comments, write_id)

    @contextmanager
    def _lend(self, waiting: dict[K, W], write_id: K) -> Iterator[W | None]:
        with self._lock:
            lent = waiting.get(write_id)
        yield lent
        with self._lock:
            if lent is not None and waiting.get(write_id) is lent:
                del waiting[write_id]


def _status_id(repository: Repository, sha: str, context: str) -> UnrecordedStatusWrite:
    return UnrecordedStatusWrite(repository.id, sha, context.lower())
