"""Keep GitHub's commit statuses in step with the runs of an engine.

There is one writer, because GitHub's write limits hold for all of an account;
``fyre.reporter.write_queue`` says which write is next. What is to be posted is derived from the
engine's records and never stored: the note ``reported`` of a record says for each SHA which state
was posted last. A status is in doubt if it was unposted when this process started, or if a POST
got no answer: it is looked up on GitHub before it is posted (again). So a note may be saved late,
and that of a pending state is: most runs need none, and launches go first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fyre.backoff import Backoff
from fyre.engines.protocol import Engine
from fyre.engines.run_index import RunIndex
from fyre.errors import TransientError, UserError
from fyre.github.client import GitHubClient
from fyre.github.errors import (
    NEEDS_OPERATOR,
    NotFoundError,
    NotVisibleError,
    RateLimitError,
    StatusLimitError,
)
from fyre.github.rate_limit import RateLimitHeaders
from fyre.reporter.check_runs import CheckRunReporter
from fyre.reporter.own_statuses import is_of_same_run, read_own_statuses
from fyre.reporter.posted_notes import PostedNotes, is_final_word, warn_if_unreadable
from fyre.reporter.unposted_statuses import (
    CHECK_RUN,
    COMMENT,
    UnpostedComment,
    UnpostedStatus,
    should_skip_pending,
    state_word_of,
    unposted_statuses,
)
from fyre.reporter.unrecorded_writes import UnrecordedId, UnrecordedWrites
from fyre.reporter.write_queue import Priority, WriteId, WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.posted_states import posted_states, with_posted_state
from fyre.runs.run import Repository, RunRecord
from fyre.runs.run_query import ALL_RUNS

log = logging.getLogger(__name__)

BACKOFF = Backoff(1.0, 60.0)
"""The pauses for which a repository is left alone after a failure that may pass."""

OPERATOR_BACKOFF = Backoff(1.0, 600.0)
"""The same where somebody has to fix something first: a repository that stays broken should cost
next to nothing."""


@dataclass
class StatusReporter:
    """The reader and the one writer of the commit statuses of one GitHub.

    ``write_queue`` paces the writes; no read waits for them.
    """

    forge: GitHubClient
    engine: Engine
    index: RunIndex
    page_url: Callable[[str], str]  # a run's key → its page
    check_runs: CheckRunReporter | None = None  # for an App, beside the statuses
    write_queue: WriteQueue = field(default_factory=WriteQueue)
    _unrecorded: UnrecordedWrites = field(default_factory=UnrecordedWrites)
    _notes: PostedNotes = field(init=False)
    _maybe_posted: set[tuple[str, str]] = field(default_factory=set)
    """Run keys and SHAs (or ``CHECK_RUN``) in doubt: the POST may have been made already."""

    _last_errors: dict[int, str] = field(default_factory=dict)  # what was logged, by repository id
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        """Note what is posted, by the clock of the writes."""
        self._notes = PostedNotes(self.engine, self.write_queue.clock)

    def start(self) -> None:
        """Start the writing thread, with whatever the engine's records leave to post."""
        self.engine.subscribe(self.on_record_change)
        for record in reversed(self.engine.query_runs(ALL_RUNS)):  # the oldest first
            warn_if_unreadable(record)
            unposted = unposted_statuses(record, "")
            self._maybe_posted.update((status.run_key, status.sha) for status in unposted)
            if unposted or not record.state.is_final:
                self.on_record_change(record.run.key)
            elif self.check_runs:
                self._maybe_posted.add((record.run.key, CHECK_RUN))
                self._queue_check_run(record)
        self._thread = threading.Thread(target=self._write_loop, name="reporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; what is unposted will be derived again from the records."""
        self.write_queue.stop()
        if self._thread is not None:
            self._thread.join()

    def on_record_change(self, run_key: str) -> None:
        """Queue what a record leaves to post, as it may have changed."""
        record = self.engine.get_record(run_key)
        if record is None:
            self.write_queue.discard_run(run_key)
            return
        priority = Priority.FINAL if record.state.is_final else Priority.OPTIONAL
        self._enqueue_write(priority, run_key, record.run.repository)

    def queue_status(self, repository: Repository, sha: str, status: CommitStatus) -> None:
        """Queue a status that has no run record; a later one of the same context replaces it."""
        write_id = self._unrecorded.add_status(repository, sha, status)
        self._enqueue_write(Priority.UNRECORDED, write_id, repository)

    def drop_status(self, repository: Repository, sha: str, context: str) -> None:
        """Drop a queued status, as a run owns this context now.

        The result of the run might be posted first, and the stale status after it.
        """
        self._unrecorded.drop_status(repository, sha, context)

    def queue_comment(self, comment: UnpostedComment) -> None:
        """Queue a comment.

        It is forgotten when this process stops; whoever wants it can tell from GitHub that it is
        missing.
        """
        write_id = self._unrecorded.add_comment(comment)
        self._enqueue_write(Priority.UNRECORDED, write_id, comment.repository)

    def queued_comment_bodies(self, repository: Repository) -> list[str]:
        """Return the texts of the comments that are still to be posted in a repository."""
        return self._unrecorded.comment_bodies(repository)

    def is_idle(self) -> bool:
        """Return True if nothing is queued that no record brings back.

        For what records leave to post there is ``has_unposted``.
        """
        return self._unrecorded.is_empty()

    def has_unposted(self, record: RunRecord) -> bool:
        """Return True if a status of this run is still to be posted, in a context that it owns.

        A final status must be noted as well.
        """
        unposted = unposted_statuses(record, "")
        unposted = unposted if record.state.is_final else self._without_posted(unposted)
        return any(self._owns_context(record, status.sha) for status in unposted)

    def read_statuses(self, repository: Repository, sha: str) -> Mapping[str, CommitStatus]:
        """Return our newest status of each context (in lower case) on a SHA.

        Anyone can post a status: only ours count. One that is queued counts as posted.
        """
        posted = read_own_statuses(self.forge, repository, sha)
        return posted | self._unrecorded.statuses_on(repository, sha)

    def _enqueue_write(self, priority: Priority, write_id: WriteId, repository: Repository) -> None:
        account = self.forge.rate_limit_account(repository)
        self.write_queue.push(priority, write_id, repository.id, account)

    def _write_loop(self) -> None:
        while not self.write_queue.stopped:
            turn = self.write_queue.pop(self._notes.next_due())
            if turn is not None:
                self._process_write(*turn)
            elif not self.write_queue.stopped:
                self._save_overdue_note()

    def _process_write(self, write_id: WriteId, repository_id: int) -> None:
        """Make one write; one that fails waits, and is still to be made."""
        try:
            if isinstance(write_id, str):
                self._write_record_status(write_id)
            elif write_id[2] == CHECK_RUN:
                self._write_check_run(write_id)
            elif write_id[2] == COMMENT:
                self._write_comment(write_id)
            else:
                self._write_queued_status(write_id)
        except Exception as error:
            # It is still to be posted; and a bug met by one status must not keep the others from
            # being posted.
            self._requeue_failed(write_id, repository_id, error)

    def _requeue_failed(self, write_id: WriteId, repository_id: int, error: Exception) -> None:
        """Queue a failed write again.

        After a rate limit it waits with all others of the account, else with those of its
        repository alone.
        """
        if isinstance(write_id, str):
            self.on_record_change(write_id)
        else:
            priority = Priority.OPTIONAL if write_id[2] == CHECK_RUN else Priority.UNRECORDED
            self.write_queue.push(priority, write_id, repository_id)
        if isinstance(error, RateLimitError):
            self._update_budget(error.headers)
            seconds = self.write_queue.budget.next_write_at() - self.write_queue.clock()
            log.warning("status writes wait %.0f s: %s", seconds, error)
            return
        backoff = OPERATOR_BACKOFF if isinstance(error, NEEDS_OPERATOR) else BACKOFF
        self.write_queue.back_off(repository_id, backoff)
        if not isinstance(error, TransientError | UserError):
            log.error("unexpected error in the status reporter", exc_info=error)
            return
        reason = str(error).partition(": ")[2]  # what comes before is about this status alone
        if self._last_errors.get(repository_id) != reason:  # logged once, however long it lasts
            log.warning("statuses wait, and are tried again: %s", error)
        self._last_errors[repository_id] = reason

    def _write_queued_status(self, write_id: UnrecordedId) -> None:
        with self._unrecorded.take_status(write_id) as status:
            if status is not None:
                self._post_status(status)

    def _write_comment(self, write_id: UnrecordedId) -> None:
        """Post a comment once; drop it where GitHub does not allow it."""
        with self._unrecorded.take_comment(write_id) as comment:
            if comment is None:
                return
            try:
                comment.send()
            except UserError as error:
                log.warning("comment not posted: %s", error)
            finally:
                self._count_write()

    def _queue_check_run(self, record: RunRecord) -> None:
        """Queue the check run of a run whose final status is posted.

        It is made when there is room, like everything that can be missed.
        """
        if (
            self.check_runs
            and self.check_runs.applies_to(record)
            and not _has_noted_check_run(record)
        ):
            write_id = (record.run.repository.id, record.run.key, CHECK_RUN)
            self._enqueue_write(Priority.OPTIONAL, write_id, record.run.repository)

    def _write_check_run(self, write_id: UnrecordedId) -> None:
        """Make a check run, unless there is one, and note that."""
        self.write_queue.discard_run(write_id)  # nothing comes after it
        run_key = write_id[1]
        record, doubt = self.engine.get_record(run_key), (run_key, CHECK_RUN)
        if self.check_runs is None or record is None or _has_noted_check_run(record):
            return
        if doubt not in self._maybe_posted or not self.check_runs.already_exists(record):
            self._maybe_posted.add(doubt)
            try:
                headers = self.check_runs.publish_check_run(record, self.page_url(run_key))
            finally:
                self._count_write()
            if headers is not None:
                self._update_budget(headers)
        reported = with_posted_state(record.reported, CHECK_RUN, state_word_of(record))
        self.engine.annotate(run_key, reported=reported)
        self._maybe_posted.discard(doubt)

    def _write_record_status(self, run_key: str) -> None:
        """Post one status of a run, if there is one to post."""
        record = self.engine.get_record(run_key)
        if record is None:
            return
        unposted = self._without_posted(unposted_statuses(record, self.page_url(record.run.key)))
        owned = [status for status in unposted if self._owns_context(record, status.sha)]
        to_post = [status for status in owned if not should_skip_pending(status, record)]
        if record.state.is_final and len(owned) < len(unposted) and not to_post:
            # Another run owns the other contexts: this one has nothing left to post.
            self.engine.annotate(record.run.key, end_posted=True)
        if len(to_post) > 1:
            self.on_record_change(run_key)
        if to_post:
            self._post_once(to_post[0])

    def _owns_context(self, record: RunRecord, sha: str) -> bool:
        """Return True if this run's status is the one to show on a SHA.

        It is not where a later attempt ran, nor, on a SHA that only shares its outcome, where a run
        of that SHA's own did.
        """
        other_attempts = [
            other.run.attempt
            for other in self.index.find_by_sha(record.run.repository.id, sha)
            if other.run.context == record.run.context and other.run.key != record.run.key
        ]
        if sha != record.run.sha:
            return not other_attempts
        return all(record.run.attempt >= attempt for attempt in other_attempts)

    def _post_once(self, unposted: UnpostedStatus) -> None:
        """Post a status and note that; look it up first where it is in doubt."""
        doubt = (unposted.run_key, unposted.sha)
        try:
            if doubt not in self._maybe_posted or not self._is_already_posted(unposted):
                self._maybe_posted.add(doubt)
                self._post_status(unposted)
            self._notes.add(unposted)
            if is_final_word(unposted):
                self._save_note(unposted)
            self._maybe_posted.discard(doubt)
        except RateLimitError:
            self._maybe_posted.discard(doubt)  # GitHub has not accepted it
            raise

    def _without_posted(self, statuses: list[UnpostedStatus]) -> list[UnpostedStatus]:
        return [status for status in statuses if not self._notes.is_posted(status)]

    def _save_overdue_note(self) -> None:
        """Save the oldest note that waits, if the run is still in the state that was posted."""
        posted = self._notes.pop_oldest()
        try:
            if self._notes.is_current(posted):
                self._save_note(posted)
        except Exception:
            # The status is posted all the same; it is noted after the others.
            log.exception("a note could not be saved, and is tried again")
            self._notes.add(posted)

    def _is_already_posted(self, unposted: UnpostedStatus) -> bool:
        """Return True if GitHub has this status from this very run."""
        try:
            statuses = self.read_statuses(unposted.repository, unposted.sha)
        except NotVisibleError:
            raise
        except NotFoundError:  # the commit is gone, which the POST will be told as well
            return False
        posted = statuses.get(unposted.status.context.lower())
        return posted is not None and is_of_same_run(posted, unposted.status)

    def _save_note(self, posted: UnpostedStatus) -> None:
        completed = self._notes.save(posted)
        if completed is not None:
            self._queue_check_run(completed)

    def _post_status(self, unposted: UnpostedStatus) -> None:
        repository = unposted.repository
        try:
            headers = self.forge.create_status(repository, unposted.sha, unposted.status)
        except NEEDS_OPERATOR:
            # Somebody will fix the token or show the repository, and then it is still to be posted.
            raise
        except StatusLimitError as error:
            # A pending status may stand there for ever: somebody should know.
            log.error("given up: %s; push a new commit instead", error)  # noqa: TRY400 - a line says it
        except UserError as error:  # it will never be accepted: the commit is gone
            log.warning("status not posted: %s", error)
        else:
            self._update_budget(headers)
        finally:
            self._count_write()
        self.write_queue.reset_backoff(repository.id)
        if error_before := self._last_errors.pop(repository.id, ""):
            log.info("statuses of %s are accepted again, after: %s", repository.name, error_before)

    def _count_write(self) -> None:
        self.write_queue.budget = self.write_queue.budget.after_write(self.write_queue.clock())

    def _update_budget(self, headers: RateLimitHeaders) -> None:
        """Tell the write budget about a response; log a warning before no request is left."""
        now, budget = self.write_queue.clock(), self.write_queue.budget
        if headers.is_low and budget.low_until <= now:
            log.warning(
                "%s of %s requests are left for %.0f s: only final statuses are posted",
                headers.remaining,
                headers.limit,
                headers.reset_after or 0,
            )
        self.write_queue.budget = budget.after_response(now, headers)


def _has_noted_check_run(record: RunRecord) -> bool:
    return posted_states(record.reported).get(CHECK_RUN) == state_word_of(record)
