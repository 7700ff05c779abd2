"""Keep GitHub's commit statuses in step with the runs of an engine.

There is one writer, because GitHub's write limits hold for all of an account;
``fyre.reporter.write_queue`` says which write is next. What is to be posted is derived from the
engine's records and never stored: the note ``reported`` of a record says for each SHA which state
was posted last. ``fyre.reporter.status_group`` says which of the runs that share a status posts it,
and ``fyre.reporter.status_poster`` makes the POSTs.

What the reporter knows of statuses, and where:

- ``fyre.runs.posted_states``: the text of that note, which is stored with the run;
- ``fyre.reporter.posted_notes``: saves the notes, those of pending states late;
- ``fyre.reporter.unposted_statuses``: derives what record and note leave to post;
- ``fyre.reporter.unrecorded_writes``: what no record brings back, in memory;
- ``fyre.reporter.own_statuses``: reads from GitHub what is there of ours.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fyre.engines.protocol import Engine
from fyre.engines.run_index import RunIndex
from fyre.errors import TransientError, UserError
from fyre.github.client import GitHubClient
from fyre.github.errors import (
    NEEDS_OPERATOR,
    NotFoundError,
    NotVisibleError,
    UnauthenticatedError,
)
from fyre.reporter.check_runs import CheckRunReporter
from fyre.reporter.own_statuses import read_own_statuses
from fyre.reporter.posted_notes import PostedNotes, warn_if_unreadable
from fyre.reporter.status_group import StatusGroup, group_of
from fyre.reporter.status_poster import StatusPoster
from fyre.reporter.unposted_statuses import (
    CHECK_RUN,
    UnpostedComment,
    should_skip_pending,
    state_word_of,
    unposted_statuses,
)
from fyre.reporter.unrecorded_writes import UnrecordedWrites
from fyre.reporter.write_failures import UNKNOWN_COMMIT_PERIOD, UnknownCommitError, WriteFailures
from fyre.reporter.write_identity import (
    CheckRunWrite,
    CommentWrite,
    RecordStatusWrite,
    UnrecordedStatusWrite,
    WriteId,
)
from fyre.reporter.write_queue import Priority, WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.posted_states import posted_states, with_posted_state
from fyre.runs.run import Repository, RunRecord
from fyre.runs.run_query import ALL_RUNS

log = logging.getLogger(__name__)

COMMENT_RETRY_PERIOD = 24 * 3600.0
"""Seconds after which a comment that could not be posted is dropped: nobody waits for it then."""
STOP_TIMEOUT = 2.0
"""Seconds for which a stop waits for the answer to a write. What had none is looked up on the forge
by the next start."""


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
    unknown_commit_period: float = UNKNOWN_COMMIT_PERIOD
    """Seconds for which a commit that the forge does not know is written to again."""

    _unrecorded: UnrecordedWrites = field(default_factory=UnrecordedWrites)
    _notes: PostedNotes = field(init=False)
    _failures: WriteFailures = field(init=False)
    _poster: StatusPoster = field(init=False)
    _maybe_created_check_runs: set[str] = field(default_factory=set)
    """Keys of the runs whose check run may be there already."""

    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        """Note what is posted, by the clock of the writes."""
        self._notes = PostedNotes(self.engine, self.write_queue.clock)
        self._failures = WriteFailures(self.write_queue, lambda: self.unknown_commit_period)
        self._poster = StatusPoster(
            self.forge, self.write_queue, self._notes, self._failures, self.read_statuses
        )

    def start(self) -> None:
        """Start the writing thread, with whatever the engine's records leave to post."""
        self.engine.subscribe(self.on_record_change)
        for record in reversed(self.engine.query_runs(ALL_RUNS)):  # the oldest first
            warn_if_unreadable(record)
            unposted = unposted_statuses(record, "")
            self._poster.add_doubts(unposted)
            if unposted or not record.state.is_final:
                self.on_record_change(record.run.key)
            elif self.check_runs:
                self._maybe_created_check_runs.add(record.run.key)
                self._queue_check_run(record)
        self._thread = threading.Thread(target=self._write_loop, name="reporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; what is unposted will be derived again from the records."""
        self.write_queue.stop()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT)

    def on_record_change(self, run_key: str) -> None:
        """Queue what a record leaves to post, as it may have changed."""
        write_id, record = RecordStatusWrite(run_key), self.engine.get_record(run_key)
        if record is None:
            self.write_queue.discard_unfinished(write_id)
            return
        priority = Priority.FINAL if record.state.is_final else Priority.OPTIONAL
        self._enqueue_write(priority, write_id, record.run.repository)

    def queue_status(self, repository: Repository, sha: str, status: CommitStatus) -> None:
        """Queue a status that has no run record; a later one of the same context replaces it."""
        write_id = self._unrecorded.add_status(repository, sha, status)
        self._enqueue_write(Priority.UNRECORDED, write_id, repository)

    def drop_status(self, repository: Repository, sha: str, context: str) -> bool:
        """Drop a queued status, as a run owns this context now. Return False if there was none.

        The result of the run might be posted first, and the stale status after it.
        """
        return self._unrecorded.drop_status(repository, sha, context)

    def queue_comment(self, comment: UnpostedComment) -> None:
        """Queue a comment.

        It is forgotten when this process stops; whoever wants it can tell from GitHub that it is
        missing.
        """
        queued = replace(comment, queued_at=self.write_queue.clock())
        write_id = self._unrecorded.add_comment(queued)
        self._enqueue_write(_comment_priority(write_id), write_id, comment.repository)

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
        groups = self._unposted_groups(record, count_unsaved=not record.state.is_final)
        return any(group.is_owned_by(record.run.key) for group in groups)

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
            match write_id:
                case RecordStatusWrite(run_key):
                    self._write_record_status(run_key)
                case UnrecordedStatusWrite():
                    self._write_unrecorded_status(write_id)
                case CheckRunWrite():
                    self._write_check_run(write_id)
                case CommentWrite():
                    self._write_comment(write_id)
        except UnknownCommitError as error:
            self._requeue_write(write_id, repository_id)
            self._failures.delay_write(write_id, error)
        except Exception as error:
            # It is still to be posted; and a bug met by one status must not keep the others from
            # being posted.
            self._requeue_write(write_id, repository_id)
            self._failures.delay_writes(repository_id, error)
        else:
            self.write_queue.reset_backoff(write_id)

    def _requeue_write(self, write_id: WriteId, repository_id: int) -> None:
        match write_id:
            case RecordStatusWrite(run_key):
                self.on_record_change(run_key)
            case CheckRunWrite():
                self.write_queue.push(Priority.OPTIONAL, write_id, repository_id)
            case UnrecordedStatusWrite():
                self.write_queue.push(Priority.UNRECORDED, write_id, repository_id)
            case CommentWrite():
                self.write_queue.push(_comment_priority(write_id), write_id, repository_id)

    def _write_unrecorded_status(self, write_id: UnrecordedStatusWrite) -> None:
        with self._unrecorded.take_status(write_id) as status:
            if status is not None:
                self._poster.post_status(status)

    def _write_comment(self, write_id: CommentWrite) -> None:
        """Post a comment once; drop it where the comment itself is refused."""
        with self._unrecorded.take_comment(write_id) as comment:
            if comment is None:
                return
            try:
                self._send_comment(comment)
            except UserError as error:
                self._failures.raise_if_unknown(error, comment.repository, comment.in_reply_to)
                self._drop_or_raise(comment, error)
            except TransientError as error:
                self._drop_or_raise(comment, error)
            else:
                self._failures.forget_failures(comment.repository)
            finally:
                self.write_queue.count_write()

    def _send_comment(self, comment: UnpostedComment) -> None:
        """Send a comment; once more if the forge refuses it, and shows the repository by then.

        What was in the way may have ended in between, and a comment that is refused is dropped.
        """
        try:
            comment.send()
        except NEEDS_OPERATOR as error:
            if isinstance(error, UnauthenticatedError) or not self._is_visible(comment.repository):
                raise
            comment.send()

    def _drop_or_raise(self, comment: UnpostedComment, error: Exception) -> None:
        """Drop a refused comment, with a line in the log; raise the error if it is to wait."""
        if self._may_succeed_later(comment, error):
            raise error
        self._failures.log_dropped_comment(comment.repository, error)

    def _may_succeed_later(self, comment: UnpostedComment, error: Exception) -> bool:
        """Return True if a refused comment is to wait, as the statuses of its repository do.

        It waits where the forge does not know us, or does not show us the repository. Else only
        the comment is refused: that takes a right which no status needs, and which many never give.
        """
        if self.write_queue.clock() - comment.queued_at > COMMENT_RETRY_PERIOD:
            return False
        if isinstance(error, TransientError | UnauthenticatedError):
            return True
        return isinstance(error, NEEDS_OPERATOR) and not self._is_visible(comment.repository)

    def _is_visible(self, repository: Repository) -> bool:
        """Return True if the forge shows us a repository now."""
        try:
            self.forge.get_repository(self.forge.with_current_name(repository).name)
        except (UserError, TransientError):
            return False
        return True

    def _queue_check_run(self, record: RunRecord | None) -> None:
        """Queue the check run of a run whose final status is posted; None for no run.

        It is made when there is room, like everything that can be missed.
        """
        if (
            self.check_runs
            and record is not None
            and self.check_runs.applies_to(record)
            and not _has_noted_check_run(record)
        ):
            write_id = CheckRunWrite(record.run.repository.id, record.run.key)
            self._enqueue_write(Priority.OPTIONAL, write_id, record.run.repository)

    def _write_check_run(self, write_id: CheckRunWrite) -> None:
        """Make a check run, unless there is one, and note that."""
        run_key = write_id.run_key
        record = self.engine.get_record(run_key)
        if self.check_runs is None or record is None or _has_noted_check_run(record):
            return
        try:
            self._publish_check_run(self.check_runs, record)
        except NotVisibleError:
            raise
        except NotFoundError as error:
            self._failures.raise_if_unknown(error, record.run.repository, record.run.sha)
        reported = with_posted_state(record.reported, CHECK_RUN, state_word_of(record))
        self.engine.annotate(run_key, reported=reported)
        self._maybe_created_check_runs.discard(run_key)

    def _publish_check_run(self, check_runs: CheckRunReporter, record: RunRecord) -> None:
        run_key, in_doubt = record.run.key, self._maybe_created_check_runs
        if run_key in in_doubt and check_runs.already_exists(record):
            return
        in_doubt.add(run_key)
        try:
            headers = check_runs.publish_check_run(record, self.page_url(run_key))
        finally:
            self.write_queue.count_write()
        if headers is not None:
            self.write_queue.count_response(headers)

    def _write_record_status(self, run_key: str) -> None:
        """Post one status of a run, if there is one to post."""
        record = self.engine.get_record(run_key)
        if record is None:
            return
        groups = self._unposted_groups(record)
        owned = [group for group in groups if group.is_owned_by(run_key)]
        unposted = [group.derive_status(self.page_url) for group in owned]
        to_post = [status for status in unposted if not should_skip_pending(status, record)]
        if record.state.is_final and len(owned) < len(groups) and not to_post:
            # Another run owns the other contexts: this one has nothing left to post.
            self.engine.annotate(run_key, end_posted=True)
        if len(to_post) > 1:
            self.on_record_change(run_key)
            # A commit that the forge does not know yet keeps no other that shares the outcome.
            to_post.sort(
                key=lambda status: self._failures.is_unknown(status.repository, status.sha)
            )
        if to_post:
            self._queue_check_run(self._poster.post_once(to_post[0]))

    def _unposted_groups(
        self, record: RunRecord, *, count_unsaved: bool = True
    ) -> list[StatusGroup]:
        """Return the groups of a run in which its note leaves its status to be posted.

        ``count_unsaved`` is False where a status counts as posted only once its note is saved.
        """
        repository_id, fyre_id = record.run.repository.id, record.run.fyre_id
        return [
            group_of(
                record, status.sha, self.index.find_on_commit(repository_id, status.sha, fyre_id)
            )
            for status in unposted_statuses(record, "")
            if not (count_unsaved and self._notes.is_posted(status))
        ]

    def _save_overdue_note(self) -> None:
        self._queue_check_run(self._poster.save_overdue_note())


def _has_noted_check_run(record: RunRecord) -> bool:
    return posted_states(record.reported).get(CHECK_RUN) == state_word_of(record)


def _comment_priority(write_id: CommentWrite) -> Priority:
    return Priority.OPTIONAL if write_id.is_optional else Priority.UNRECORDED
