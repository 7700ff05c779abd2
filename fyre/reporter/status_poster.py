"""Post statuses, each once, and note which were posted.

A status is in doubt if it was unposted when this process started, or if a POST got no answer: it is
looked up on GitHub before it is posted (again). So a note may be saved late, and that of a pending
state is: most runs need none, and launches go first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from fyre.errors import TransientError, UserError
from fyre.github.client import GitHubClient
from fyre.github.errors import (
    NEEDS_OPERATOR,
    NotFoundError,
    NotVisibleError,
    RateLimitError,
    StatusLimitError,
)
from fyre.reporter.own_statuses import is_of_same_run
from fyre.reporter.posted_notes import PostedNotes, is_final_word
from fyre.reporter.unposted_statuses import StatusPost
from fyre.reporter.write_failures import UnknownCommitError, WriteFailures
from fyre.reporter.write_queue import WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository, RunRecord

log = logging.getLogger(__name__)

StatusReader = Callable[[Repository, str], Mapping[str, CommitStatus]]
"""Gives our newest status of each context, in lower case, on a SHA."""


class StatusPoster:
    """The poster of statuses, which also notes them. For the writing thread alone."""

    def __init__(
        self,
        forge: GitHubClient,
        write_queue: WriteQueue,
        notes: PostedNotes,
        failures: WriteFailures,
        read_statuses: StatusReader,
    ) -> None:
        """Create a poster; ``notes`` may be shared with threads that only read them."""
        self._forge, self._write_queue = forge, write_queue
        self._notes, self._failures = notes, failures
        self._read_statuses = read_statuses
        self._maybe_posted: set[tuple[str, str]] = set()
        """Run keys and SHAs in doubt: the POST may have been made already."""

    def add_doubts(self, statuses: Iterable[StatusPost]) -> None:
        """Look these statuses up before they are posted: an earlier process may have done it."""
        self._maybe_posted.update((status.run_key, status.sha) for status in statuses)

    def post_once(self, unposted: StatusPost) -> RunRecord | None:
        """Post a status and note that; look it up first where it is in doubt.

        Return the record where nothing of a run that ended is left to post.
        """
        doubt = unposted.run_key, unposted.sha
        if doubt not in self._maybe_posted or not self._is_already_posted(unposted):
            self._maybe_posted.add(doubt)
            try:
                self.post_status(unposted)
            except (RateLimitError, UnknownCommitError):
                self._maybe_posted.discard(doubt)  # GitHub has not accepted it
                raise
        self._notes.add(unposted)
        completed = self._notes.save(unposted) if is_final_word(unposted) else None
        self._maybe_posted.discard(doubt)
        return completed

    def post_status(self, unposted: StatusPost) -> None:
        """Post a status, without a note; give up one that will never be accepted.

        Raises ``UnknownCommitError`` where the forge may only not know the commit yet.
        """
        repository = unposted.repository
        try:
            headers = self._forge.create_status(repository, unposted.sha, unposted.status)
        except NEEDS_OPERATOR:
            # Somebody will fix the token or show the repository, and then it is still to be posted.
            raise
        except StatusLimitError as error:
            # A pending status may stand there for ever: somebody should know.
            log.error("given up: %s; push a new commit instead", error)  # noqa: TRY400 - a line says it
        except UserError as error:
            self._failures.raise_if_unknown(error, repository, unposted.sha)
            log.warning("status not posted: %s", error)  # it will never be accepted
        else:
            self._failures.forget_unknown(repository, unposted.sha)
            self._write_queue.count_response(headers)
        finally:
            self._write_queue.count_write()
        self._failures.forget_failures(repository)

    def save_overdue_note(self) -> RunRecord | None:
        """Save the oldest note that waits, if the run is still in the state that was posted.

        Return the record where nothing of a run that ended is left to post.
        """
        posted = self._notes.pop_oldest()
        try:
            if self._notes.is_current(posted):
                return self._notes.save(posted)
        except Exception as error:
            # The status is posted all the same; it is noted after the others.
            is_known = isinstance(error, TransientError)
            log.warning(
                "a note could not be saved, and is tried again: %s", error, exc_info=not is_known
            )
            self._notes.add(posted)
        return None

    def _is_already_posted(self, unposted: StatusPost) -> bool:
        """Return True if GitHub has this status from this very run."""
        try:
            statuses = self._read_statuses(unposted.repository, unposted.sha)
        except NotVisibleError:
            raise
        except NotFoundError:  # the commit is gone, which the POST will be told as well
            return False
        posted = statuses.get(unposted.status.context.lower())
        return posted is not None and is_of_same_run(posted, unposted.status)
