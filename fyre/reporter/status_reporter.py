"""The ledger: what the forge says of a SHA, kept in step with what the engine knows of its runs.

One writer, because a forge's write limits hold for all of an account; ``fyre.reporter.write_queue`` says whose turn it is. What is
owed is derived from the engine's records and never stored: a record's ``reported`` note says for each SHA what was
posted last. What is owed when we start, and what a POST without an answer may have said, is in doubt: it is looked up
in the ledger before it is posted (once more). So a note may come late, and that of a pending state does: most runs need
none of it, and launches go first.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

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
from fyre.reporter.pending_writes import (
    CHECK_RUN,
    COMMENT,
    CONTEXT_NEARLY_FULL,
    PENDING_WORD,
    UnpostedComment,
    UnpostedStatus,
    should_skip_pending,
    state_word_of,
    unposted_statuses,
)
from fyre.reporter.write_queue import Priority, WriteId, WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.posted_states import check_posted_states, posted_states, with_posted_state
from fyre.runs.run import Repository, RunRecord
from fyre.stored_form import UnreadableError, warn_once

log = logging.getLogger(__name__)

BACKOFF = Backoff(1.0, 60.0)
"""How long a repository is left alone after a failure that may pass."""

MENDED = Backoff(1.0, 600.0)
"""The same where somebody has to mend something first: repositories that stay so are to cost next to nothing."""

NOTE_DELAY = 60.0
"""Seconds that a run must be pending for its note to say so; more, while there are statuses to write. Most have ended
by then and need none, which is a request each; what is not noted when we start is looked up once.
"""


@dataclass
class StatusReporter:
    """Reads and writes the statuses of one forge; ``turns`` paces the writes, and no read waits for them."""

    forge: GitHubClient
    engine: Engine
    index: RunIndex
    page_url: Callable[[str], str]  # a run's key → its page
    check_runs: CheckRunReporter | None = None  # for an App, beside the statuses
    write_queue: WriteQueue = field(default_factory=WriteQueue)
    _queued_statuses: dict[tuple[int, str, str], UnpostedStatus] = field(default_factory=dict)
    _queued_comments: dict[tuple[int, str, str], UnpostedComment] = field(default_factory=dict)
    _maybe_posted: set[tuple[str, str]] = field(
        default_factory=set
    )  # keys and SHAs: the POST may have been made already
    _unsaved_notes: dict[tuple[str, str], tuple[UnpostedStatus, float]] = field(
        default_factory=dict
    )  # posted, and when to note that
    _last_errors: dict[int, str] = field(
        default_factory=dict
    )  # by the repository's id: what was said of it
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with whatever the engine's records still owe."""
        self.engine.subscribe(self.on_record_change)
        for record in self.engine.list_records():
            _warn_of_unreadable(record)
            debts = unposted_statuses(record, "")
            self._maybe_posted.update((debt.run_key, debt.sha) for debt in debts)
            if debts or not record.state.is_final:
                self.on_record_change(record.run.key)
            elif self.check_runs:
                self._maybe_posted.add((record.run.key, CHECK_RUN))
                self._queue_check_run(record)
        self._thread = threading.Thread(target=self._write_loop, name="ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; what is owed will be derived again."""
        self.write_queue.stop()
        if self._thread is not None:
            self._thread.join()

    def on_record_change(self, run_key: str) -> None:
        """A record may have changed."""
        record = self.engine.get_record(run_key)
        if record is None:
            self.write_queue.discard_run(run_key)
        else:
            self._enqueue_write(
                Priority.FINAL if record.state.is_final else Priority.OPTIONAL,
                run_key,
                record.run.repository,
            )

    def queue_status(self, repository: Repository, sha: str, status: CommitStatus) -> None:
        """Owe a status for which no engine keeps a record; a later one of the same context replaces it."""
        ident = repository.id, sha, status.context.lower()
        with self._lock:
            self._queued_statuses[ident] = UnpostedStatus(repository, sha, status)
        self._enqueue_write(Priority.UNRECORDED, ident, repository)

    def drop_status(self, repository: Repository, sha: str, context: str) -> None:
        """Owe no such status any more: a run has the say there now, whose end might be written before it."""
        with self._lock:
            self._queued_statuses.pop((repository.id, sha, context.lower()), None)

    def queue_comment(self, comment: UnpostedComment) -> None:
        """Owe what is no status; it is forgotten when we stop, and whoever owes it can tell from the forge."""
        ident = comment.repository.id, comment.in_reply_to, COMMENT
        with self._lock:
            self._queued_comments[ident] = comment
        self._enqueue_write(Priority.UNRECORDED, ident, comment.repository)

    def queued_comment_bodies(self, repository: Repository) -> list[str]:
        """The texts that are still to be said in a repository."""
        with self._lock:
            return [
                one.body
                for one in self._queued_comments.values()
                if one.repository.id == repository.id
            ]

    def is_idle(self) -> bool:
        """Whether nothing is wanted that no record remembers; what records owe is ``owed``."""
        with self._lock:
            return not self._queued_statuses and not self._queued_comments

    def has_unposted(self, record: RunRecord) -> bool:
        """Whether a status of this run is still to be written, where it has the say; of an end, to be noted as well."""
        debts = unposted_statuses(record, "")
        debts = debts if record.state.is_final else self._without_posted(debts)
        return any(self._owns_context(record, debt.sha) for debt in debts)

    def read_statuses(self, repository: Repository, sha: str) -> Mapping[str, CommitStatus]:
        """Our newest status of each context (in lower case) on a SHA. Anyone can post one: only ours count."""
        found: dict[str, CommitStatus] = {}
        everything = self.forge.list_statuses(repository, sha)
        for context, count in Counter(
            posted.status.context.lower() for posted in everything
        ).items():
            if count >= CONTEXT_NEARLY_FULL:
                log.warning(
                    "%s on %s of %s has %d statuses; 1,000 are taken",
                    context,
                    sha,
                    repository.name,
                    count,
                )
        for posted in everything:
            if self.forge.is_own_login(posted.creator):
                found.setdefault(posted.status.context.lower(), posted.status)
        with self._lock:  # what is owed but not written yet counts as said
            waiting = [
                o
                for (at, of, _), o in self._queued_statuses.items()
                if (at, of) == (repository.id, sha)
            ]
        return found | {one.status.context.lower(): one.status for one in waiting}

    def _enqueue_write(self, priority: Priority, write_id: WriteId, repository: Repository) -> None:
        self.write_queue.push(
            priority, write_id, repository.id, self.forge.rate_limit_account(repository)
        )

    def _write_loop(self) -> None:
        while not self.write_queue.stopped:
            due = min((due for _, due in self._unsaved_notes.values()), default=math.inf)
            turn = self.write_queue.pop(due)
            if turn is not None:
                self._process_write(*turn)
            elif not self.write_queue.stopped:
                self._save_overdue_note()

    def _process_write(self, write_id: WriteId, repository_id: int) -> None:
        """Write one status; what fails waits, and is still owed."""
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
            # Whatever it was, it is still owed; a bug met by one status must not keep the others from being written.
            self._requeue_failed(write_id, repository_id, error)

    def _requeue_failed(self, write_id: WriteId, repository_id: int, error: Exception) -> None:
        """Have what failed wait: for a limit with all others, else with those of its repository alone."""
        if isinstance(write_id, str):
            self.on_record_change(write_id)
        else:
            self.write_queue.push(
                Priority.OPTIONAL if write_id[2] == CHECK_RUN else Priority.UNRECORDED,
                write_id,
                repository_id,
            )
        if isinstance(error, RateLimitError):
            self._update_budget(error.headers)
            log.warning(
                "the ledger waits %.0f s: %s",
                self.write_queue.budget.next_write_at() - self.write_queue.clock(),
                error,
            )
            return
        self.write_queue.back_off(
            repository_id, MENDED if isinstance(error, NEEDS_OPERATOR) else BACKOFF
        )
        if not isinstance(error, TransientError | UserError):
            log.error("the ledger met a bug", exc_info=error)
            return
        why = str(error).partition(": ")[2]  # what comes before is about this status alone
        if self._last_errors.get(repository_id) != why:  # said once, however long it lasts
            log.warning("statuses wait, and are tried again: %s", error)
        self._last_errors[repository_id] = why

    def _write_queued_status(self, write_id: tuple[int, str, str]) -> None:
        with self._lock:
            wanted = self._queued_statuses.get(write_id)
        if (
            wanted is None
        ):  # replaced while it was posted, and that was posted too; or a run has the say by now
            return
        self._post_status(wanted)
        with self._lock:
            if self._queued_statuses.get(write_id) is wanted:
                del self._queued_statuses[write_id]

    def _write_comment(self, write_id: tuple[int, str, str]) -> None:
        """Say it once; where we may not, it stays unsaid."""
        with self._lock:
            saying = self._queued_comments.get(write_id)
        if saying is None:
            return
        try:
            saying.send()
        except UserError as error:
            log.warning("not said: %s", error)
        finally:
            self.write_queue.budget = self.write_queue.budget.after_write(self.write_queue.clock())
        with self._lock:
            del self._queued_comments[write_id]

    def _queue_check_run(self, record: RunRecord) -> None:
        """Have a check run made of a run whose end is posted: when there is room, as with all that can be missed."""
        if (
            self.check_runs
            and self.check_runs.applies_to(record)
            and posted_states(record.reported).get(CHECK_RUN) != state_word_of(record)
        ):
            self._enqueue_write(
                Priority.OPTIONAL,
                (record.run.repository.id, record.run.key, CHECK_RUN),
                record.run.repository,
            )

    def _write_check_run(self, write_id: tuple[int, str, str]) -> None:
        """Make a check run, unless there is one, and note that."""
        self.write_queue.discard_run(write_id)  # nothing comes after it
        key, about, record = write_id[1], write_id[1:], self.engine.get_record(write_id[1])
        if (
            self.check_runs is None
            or record is None
            or posted_states(record.reported).get(CHECK_RUN) == state_word_of(record)
        ):
            return
        if about not in self._maybe_posted or not self.check_runs.already_exists(record):
            self._maybe_posted.add((key, CHECK_RUN))
            try:
                told = self.check_runs.publish_check_run(record, self.page_url(key))
            finally:
                self.write_queue.budget = self.write_queue.budget.after_write(
                    self.write_queue.clock()
                )
            if told is not None:
                self._update_budget(told)
        self.engine.annotate(
            key, reported=with_posted_state(record.reported, CHECK_RUN, state_word_of(record))
        )
        self._maybe_posted.discard((key, CHECK_RUN))

    def _write_record_status(self, run_key: str) -> None:
        """Write one status that a record owes, if it does."""
        record = self.engine.get_record(run_key)
        debts = self._list_unposted(record) if record is not None else []
        silent = [
            debt
            for debt in debts
            if record is not None and not self._owns_context(record, debt.sha)
        ]
        debts = [
            debt for debt in debts if debt not in silent and not should_skip_pending(debt, record)
        ]
        if record is not None and record.state.is_final and silent and not debts:
            self.engine.annotate(
                record.run.key, end_posted=True
            )  # another has the say: this one owes nothing more
        for debt in debts[:1]:
            if len(debts) > 1:
                self.on_record_change(debt.run_key)
            self._post_once(debt)

    def _owns_context(self, record: RunRecord, sha: str) -> bool:
        """Whether this record has the say on a SHA: no rerun has it, nor, where it was carried to, a run of its own."""
        here = self.index.find_by_sha(record.run.repository.id, sha)
        others = [
            r.run.attempt
            for r in here
            if r.run.context == record.run.context and r.run.key != record.run.key
        ]
        return (
            not others
            if sha != record.run.sha
            else all(record.run.attempt >= attempt for attempt in others)
        )

    def _post_once(self, unposted: UnpostedStatus) -> None:
        """Post, note that it is done; what is in doubt is looked up first."""
        about = (unposted.run_key, unposted.sha)
        try:
            if about not in self._maybe_posted or not self._is_already_posted(unposted):
                self._maybe_posted.add(about)
                self._post_status(unposted)
            self._unsaved_notes[about] = unposted, self.write_queue.clock() + NOTE_DELAY
            if unposted.state_word != PENDING_WORD:
                self._save_note(unposted)
            self._maybe_posted.discard(about)
        except RateLimitError:
            self._maybe_posted.discard(about)  # nobody took it
            raise

    def _list_unposted(self, record: RunRecord) -> list[UnpostedStatus]:
        """What a record owes beyond what was posted and is not noted yet."""
        return self._without_posted(unposted_statuses(record, self.page_url(record.run.key)))

    def _without_posted(self, statuses: list[UnpostedStatus]) -> list[UnpostedStatus]:
        posted = [self._unsaved_notes.get((debt.run_key, debt.sha)) for debt in statuses]
        return [
            debt
            for debt, said in zip(statuses, posted, strict=True)
            if said is None or said[0].state_word != debt.state_word
        ]

    def _save_overdue_note(self) -> None:
        """Note the oldest of what was posted and is not noted yet, if that is still how things stand."""
        about, (debt, _) = next(iter(self._unsaved_notes.items()))
        record = self.engine.get_record(debt.run_key)
        del self._unsaved_notes[about]
        try:
            if record is not None and state_word_of(record) == debt.state_word:
                self._save_note(debt)
        except (
            Exception
        ):  # whatever it was: what was posted was posted, and is noted after the others
            log.exception("noted later")
            self._unsaved_notes[about] = debt, self.write_queue.clock() + NOTE_DELAY

    def _is_already_posted(self, unposted: UnpostedStatus) -> bool:
        """Whether the ledger has it from this very run, known by its page's path: words and our address may differ."""
        try:
            said, now = (
                self.read_statuses(unposted.repository, unposted.sha).get(
                    unposted.status.context.lower()
                ),
                unposted.status,
            )
        except NotVisibleError:
            raise
        except NotFoundError:  # the commit is gone, which the POST will hear as well
            return False
        return (
            said is not None
            and said.state == now.state
            and _url_path(said.target_url) == _url_path(now.target_url)
        )

    def _save_note(self, unposted: UnpostedStatus) -> None:
        """Write the record's note."""
        record = self.engine.get_record(unposted.run_key)
        reported = with_posted_state(
            record.reported if record is not None else "", unposted.sha, unposted.state_word
        )
        settled = (
            record is not None
            and record.state.is_final
            and not unposted_statuses(replace(record, reported=reported), "")
        )
        self.engine.annotate(unposted.run_key, reported=reported, end_posted=settled)
        self._unsaved_notes.pop((unposted.run_key, unposted.sha), None)
        if settled and record is not None:
            self._queue_check_run(replace(record, reported=reported))

    def _post_status(self, unposted: UnpostedStatus) -> None:
        try:
            told = self.forge.create_status(unposted.repository, unposted.sha, unposted.status)
        except (
            NEEDS_OPERATOR
        ):  # somebody will mend the token or show the repository, and then it is still owed
            raise
        except (
            StatusLimitError
        ) as error:  # a pending status may stand there for ever: somebody should know
            log.error("given up: %s; push a new commit instead", error)  # noqa: TRY400 - a line says it
        except UserError as error:  # it will never be taken: the commit is gone
            log.warning("not posted: %s", error)
        else:
            self._update_budget(told)
        finally:
            self.write_queue.budget = self.write_queue.budget.after_write(self.write_queue.clock())
        self.write_queue.reset_backoff(unposted.repository.id)
        if before := self._last_errors.pop(unposted.repository.id, ""):
            log.info("statuses of %s are taken again, after: %s", unposted.repository.name, before)

    def _update_budget(self, headers: RateLimitHeaders) -> None:
        """Have the pace know what an answer said; somebody is told before nothing is left."""
        now, pace = self.write_queue.clock(), self.write_queue.budget
        if headers.is_low and pace.low_until <= now:
            left = headers.remaining, headers.limit, headers.reset_after or 0
            log.warning("%s of %s requests are left for %.0f s: only ends are posted", *left)
        self.write_queue.budget = pace.after_response(now, headers)


def _warn_of_unreadable(record: RunRecord) -> None:
    """Log that what was posted of a run can't be read: it counts as nothing, and is looked up on the forge."""
    try:
        check_posted_states(record.reported)
    except UnreadableError as error:
        warn_once(f"what was posted of run {record.run.key}", str(error))


def _url_path(url: str) -> str:
    return urlsplit(url).path
