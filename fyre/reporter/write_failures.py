"""Say when a repository whose write failed is tried again, and log each reason once."""

from __future__ import annotations

import logging

from fyre.backoff import Backoff
from fyre.errors import TransientError, UserError
from fyre.github.errors import NEEDS_OPERATOR, RateLimitError
from fyre.reporter.write_queue import WriteQueue
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

BACKOFF = Backoff(1.0, 60.0)
"""The pauses for which a repository is left alone after a failure that may pass."""

OPERATOR_BACKOFF = Backoff(1.0, 600.0)
"""The same where somebody has to fix something first: a repository that stays broken should cost
next to nothing."""


class WriteFailures:
    """The failures of each repository, until a write succeeds. For the writing thread alone."""

    def __init__(self, write_queue: WriteQueue) -> None:
        self._write_queue = write_queue
        self._logged_reasons: dict[int, str] = {}  # by the repository's id
        self._logged_drops: set[tuple[int, str]] = set()  # repositories' ids and reasons

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
        reason = _reason_of(error)
        if self._logged_reasons.get(repository_id) != reason:  # once, however long it lasts
            log.warning("statuses wait, and are tried again: %s", error)
        self._logged_reasons[repository_id] = reason

    def log_dropped_comment(self, repository: Repository, error: Exception) -> None:
        """Log that a comment was dropped, once for each reason in a repository."""
        drop = repository.id, _reason_of(error)
        level = logging.DEBUG if drop in self._logged_drops else logging.WARNING
        self._logged_drops.add(drop)
        log.log(level, "comment not posted: %s", error)

    def forget_failures(self, repository: Repository) -> None:
        """Write to a repository without pauses from now on, as it answers again."""
        self._write_queue.reset_backoff(repository.id)
        if reason := self._logged_reasons.pop(repository.id, ""):
            log.info("writes to %s are accepted again, after: %s", repository.name, reason)


def _reason_of(error: Exception) -> str:
    """Return what is said of an error; what comes before is about one write alone."""
    return str(error).partition(": ")[2]
