"""Say when a repository whose write failed is tried again, and log each reason once."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fyre.backoff import Backoff
from fyre.errors import TransientError, UserError
from fyre.github.errors import (
    NEEDS_OPERATOR,
    NotFoundError,
    NotVisibleError,
    RateLimitError,
)
from fyre.reporter.write_identity import WriteId
from fyre.reporter.write_queue import WriteQueue
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

BACKOFF = Backoff(1.0, 60.0)
"""The pauses for which a repository is left alone after a failure that may pass."""

OPERATOR_BACKOFF = Backoff(1.0, 600.0)
"""The same where somebody has to fix something first: a repository that stays broken should cost
next to nothing."""


UNKNOWN_COMMIT_BACKOFF = Backoff(1.0, 300.0)
"""The same for one write on a commit that the forge does not know, or not yet; the others of its
repository are not kept."""

UNKNOWN_COMMIT_PERIOD = 24 * 3600.0
"""Seconds after which a write on such a commit is given up: the commit is gone."""


class UnknownCommitError(TransientError):
    """The forge knows the repository and no such commit: not yet, perhaps, shortly after a push."""


class WriteFailures:
    """The failures of each repository, until a write succeeds. For the writing thread alone."""

    def __init__(self, write_queue: WriteQueue, unknown_commit_period: Callable[[], float]) -> None:
        self._write_queue = write_queue
        self._unknown_commit_period = unknown_commit_period
        self._unknown_since: dict[
            tuple[int, str], float
        ] = {}  # by repository and SHA, on the clock
        self._logged_reasons: dict[int, str] = {}  # by the repository's id

    def delay_writes(self, repository_id: int, error: Exception) -> None:
        """Have the next write wait, as this one failed.

        After a rate limit all writes of the account wait, else those of the repository alone.
        """
        if isinstance(error, RateLimitError):
            self._write_queue.count_response(error.headers)
            seconds = self._write_queue.budget.next_write_at() - self._write_queue.clock()
            log.warning("status writes wait %.0f s: %s", seconds, error)
            return
        backoff = OPERATOR_BACKOFF if isinstance(error, NEEDS_OPERATOR) else BACKOFF
        self._write_queue.back_off(repository_id, backoff)
        if not isinstance(error, TransientError | UserError):
            log.error("unexpected error in the status reporter", exc_info=error)
            return
        reason = str(error).partition(": ")[2]  # what comes before is about this status alone
        if self._logged_reasons.get(repository_id) != reason:  # once, however long it lasts
            log.warning("statuses wait, and are tried again: %s", error)
        self._logged_reasons[repository_id] = reason

    def raise_if_unknown(self, error: UserError, repository: Repository, sha: str) -> None:
        """Raise ``UnknownCommitError`` if a write failed as the forge does not know its commit yet.

        It may report a push before all of its servers know of it.
        """
        if not isinstance(error, NotFoundError) or isinstance(error, NotVisibleError):
            return
        now = self._write_queue.clock()
        since = self._unknown_since.setdefault((repository.id, sha), now)
        if now - since < self._unknown_commit_period():
            raise UnknownCommitError(error.message) from error
        del self._unknown_since[repository.id, sha]

    def is_unknown(self, repository: Repository, sha: str) -> bool:
        """Return True if the forge did not know a commit when it was written to last."""
        return (repository.id, sha) in self._unknown_since

    def delay_write(self, write_id: WriteId, error: Exception) -> None:
        """Have one write wait, as the forge does not know its commit yet."""
        self._write_queue.back_off(write_id, UNKNOWN_COMMIT_BACKOFF)
        log.info("tried again, as the forge may not know it yet: %s", error)

    def forget_unknown(self, repository: Repository, sha: str) -> None:
        """Remember that the forge knows a commit."""
        self._unknown_since.pop((repository.id, sha), None)

    def forget_failures(self, repository: Repository) -> None:
        """Write to a repository without pauses from now on, as it answers again."""
        self._write_queue.reset_backoff(repository.id)
        if reason := self._logged_reasons.pop(repository.id, ""):
            log.info("statuses of %s are accepted again, after: %s", repository.name, reason)
