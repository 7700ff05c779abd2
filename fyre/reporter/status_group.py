"""Groups of runs that share one status on one commit, and the status that follows. Pure.

GitHub shows one status for each commit and context, so all runs that could post it form a group:
the attempts at one run on a SHA and, on a SHA that shares an outcome, the runs that it is shared
from. A kind of group is a function from the members to a status, as ``newest_attempt_status``: the
reporter posts what it returns and asks nothing else.

What was posted is noted in the record that ``StatusPost.run_key`` names, the owner's: for
attempts it is the attempt that is shown. A group whose status sums up many runs has a record of
its own among its members; the group's own note lives on its own record, in the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fyre.reporter.unposted_statuses import StatusPost, status_post_of
from fyre.runs.run import Repository, RunRecord


@dataclass(frozen=True, slots=True)
class StatusGroup:
    """All runs that share one status: that of a context on a SHA of a repository.

    ``records`` are the members, at least one.
    """

    repository: Repository
    sha: str
    context: str
    records: tuple[RunRecord, ...]

    def is_owned_by(self, run_key: str) -> bool:
        """Return True if the group's status is noted in this run's record, which posts it."""
        return self.derive_status(lambda _: "").run_key == run_key

    def derive_status(self, page_url: Callable[[str], str]) -> StatusPost:
        """Return the group's status, posted or not; ``page_url`` gives the page of a run's key."""
        return newest_attempt_status(self, page_url)


def group_of(record: RunRecord, sha: str, others: Iterable[RunRecord]) -> StatusGroup:
    """Return the group of a run on its SHA, or on one that shares its outcome.

    Of the other runs on that SHA those with the same context are its members. Names that differ
    only by case are one context to GitHub.
    """
    run = record.run
    members = {
        other.run.key: other for other in others if other.run.context.lower() == run.context.lower()
    }
    members[run.key] = record
    return StatusGroup(run.repository, sha, run.context, tuple(members.values()))


def newest_attempt_status(group: StatusGroup, page_url: Callable[[str], str]) -> StatusPost:
    """Return the status of the newest attempt; a SHA's own runs go before those it shares."""

    def by_age(record: RunRecord) -> tuple[bool, int, float, str]:
        run = record.run
        return run.sha == group.sha, run.attempt, run.created_at, run.key

    shown = max(group.records, key=by_age)
    return status_post_of(shown, group.sha, page_url(shown.run.key))
