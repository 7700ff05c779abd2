"""Run the controller's loop: take an event, ask the plan, execute its actions.

There is one thread, and it processes one commit at a time. A commit that can't be processed is
quarantined: it gets an ``error`` status or is tried again later, and never stops the commits after
it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import assert_never

from fyre.controller.comment_poller import CommentPoller
from fyre.controller.comments.handler import CommentCommands
from fyre.controller.comments.rerequest import RerunButton
from fyre.controller.event_queue import EventQueue
from fyre.controller.events import ControllerEvent, ForgeEvent, RunEndEvent, SweepEvent
from fyre.controller.executor import Executor
from fyre.controller.push_processor import PushProcessor
from fyre.controller.retry_queue import FAILURES, RetryItem, RetryQueue
from fyre.controller.run_ends import RunEndProcessor, RunEndWatcher
from fyre.controller.sweep_state import ProcessedPushes, SweepCursor
from fyre.errors import TransientError, UserError
from fyre.github.client import RefUpdate
from fyre.github.errors import NotFoundError, RateLimitError
from fyre.github.webhook import BRANCH_PREFIX, CommentEvent, IgnoredEvent, PushEvent, RerequestEvent
from fyre.runs import policy as policies
from fyre.runs.run import ZERO_SHA, Repository

log = logging.getLogger(__name__)

BACKFILL = 24 * 3600.0
"""Seconds that the sweep at the start looks back."""

REPLICATION_DELAY = 15.0
"""Seconds after a push for which a commit that GitHub does not have is looked for again: GitHub may
report a push before all of its own servers know of it."""

MERGE_QUEUE_PREFIX = f"{BRANCH_PREFIX}gh-readonly-queue/"
"""The branches of GitHub's merge queue, which launch nothing."""


@dataclass
class Controller:
    """The loop, and the events that wait for it."""

    executor: Executor
    sweep_every: float = 300.0  # seconds
    backfill: float = BACKFILL  # seconds
    replication_delay: float = REPLICATION_DELAY
    """Seconds; 0 where every commit that an event names can be read at once."""

    last_sweep_at: float = 0.0
    """The end of the last sweep, in seconds since the epoch; 0 before the first."""

    _events: EventQueue[ControllerEvent | None] = field(default_factory=EventQueue)
    _retries: RetryQueue = field(default_factory=RetryQueue)
    _first_sweep_from: float = 0.0
    """The earliest push that the first sweep looked at, in seconds since the epoch; 0 before it."""

    _cursors: dict[int, SweepCursor] = field(default_factory=dict)  # by the repository's id
    _processed: ProcessedPushes = field(default_factory=ProcessedPushes)
    _comment_poller: CommentPoller = field(init=False)
    _comments: CommentCommands = field(init=False)
    _rerun_button: RerunButton = field(init=False)
    _pushes: PushProcessor = field(init=False)
    _run_ends: RunEndProcessor = field(init=False)
    _thread: threading.Thread | None = None
    _stopping: bool = False

    def __post_init__(self) -> None:
        """Build the parts that process each kind of event."""
        self._comment_poller = CommentPoller(self.executor.forge)
        self._comments = CommentCommands(self.executor)
        self._rerun_button = RerunButton(self.executor)
        self._pushes = PushProcessor(self.executor, lambda: self._stopping, self._may_still_appear)
        self._run_ends = RunEndProcessor(self.executor)

    def start(self) -> None:
        """Start the loop with a sweep, which finds whatever was lost while nobody listened.

        After it come the ends of runs that nobody saw, however long ago their commit was pushed.
        """
        self.enqueue_event(SweepEvent())
        RunEndWatcher(self.executor.engine, self.enqueue_event).start(self._sweep_start())
        self.executor.reporter.start()  # after it: an end that is posted counts as seen
        self._thread = threading.Thread(target=self._run_loop, name="controller", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the commit that is being processed, and stop; the next sweep finds the rest."""
        self._stopping = True
        self._events.put(None)
        if self._thread is not None:
            self._thread.join()
        self.executor.reporter.stop()

    def is_alive(self) -> bool:
        """Return True if the loop runs."""
        return self._thread is not None and self._thread.is_alive()

    def queue_length(self) -> int:
        """Return the number of events that wait, those that are tried again included."""
        return len(self._events) + len(self._retries)

    def process_until_done(self, event: ControllerEvent | IgnoredEvent) -> None:
        """Process one event, and what has to be tried again of it, to the end: without the loop.

        The ends of runs are no events then: nobody waits for them.

        Raises the last error of what was given up, since nobody has time to fix anything.
        """
        self._retries.max_age_operator = 0.0
        if not isinstance(event, IgnoredEvent):
            self._process_event(event)
        while self._retries:
            time.sleep(max(0.0, self._retries.next_due - time.monotonic()))
            self._process_item(self._retries.pop())
        if self._retries.last_dropped is not None:
            raise self._retries.last_dropped

    def enqueue_event(self, event: ControllerEvent | IgnoredEvent) -> None:
        """Take an event, and return at once."""
        if not isinstance(event, IgnoredEvent):
            self._events.put(event)

    def _run_loop(self) -> None:
        """Process retries that are due, then sweeps, then events, until ``stop``.

        Retries and sweeps go first, or a busy day would put sweeps off for ever. After a sweep the
        events have at least half of the time between two sweeps.
        """
        sweep_at = time.monotonic() + self.sweep_every
        while True:
            while self._retries.next_due <= time.monotonic() and not self._stopping:
                self._process_item(self._retries.pop())
            if (started := time.monotonic()) >= sweep_at:
                self._process_event(SweepEvent())
                sweep_at = max(started + self.sweep_every, time.monotonic() + self.sweep_every / 2)
            due = min(sweep_at, self._retries.next_due)
            with suppress(queue.Empty):
                event = self._events.get(timeout=max(0.0, due - time.monotonic()))
                if event is None:
                    return
                self._process_event(event)

    def _process_event(self, event: ControllerEvent, received_at: float | None = None) -> bool:
        """Process one event, of ``received_at`` (seconds since the epoch) or of just now.

        Return False if a part of it is still to be done.
        """
        if isinstance(event, ForgeEvent):
            if not policies.serves_repository(self.executor.policy, event.repository.name):
                # Nothing is posted there: nobody asked for Fyre in that repository.
                log.info("%s is not served", event.repository.name)
                return True
            self.executor.forge.update_repository_name(event.repository)
        if isinstance(event, CommentEvent):
            # It is done, or tried again from the queue: the sweep need not find it as well.
            self._comment_poller.mark_handled(event)
        at = self.executor.clock() if received_at is None else received_at
        return self._process_item(RetryItem(event, at))

    def _process_item(self, item: RetryItem) -> bool:
        """Process one event, or what is left of it; no error in it may end the loop.

        Return False if a part of it is still to be done.
        """
        try:
            match item.event:
                case PushEvent() as push:
                    return self._process_push(item, push)
                case CommentEvent() as comment:
                    self._comments.handle(comment)
                case RerequestEvent() as click:
                    self._rerun_button.handle(click)
                case RunEndEvent() as ended:
                    self._run_ends.process(ended)
                case SweepEvent():
                    self._sweep_repositories()
                case unknown:
                    assert_never(unknown)
        except FAILURES as error:
            self._retries.push(item, error)
            return False
        except UserError as error:
            if self._may_still_appear(error, item.at):
                self._retries.push(item, TransientError(str(error)))
                return False
            log.warning("given up: %s", error)
        except Exception:
            # Quarantine: the next event is processed all the same.
            log.exception("unexpected error in the controller")
            return False
        return True

    def _process_push(self, item: RetryItem, push: PushEvent) -> bool:
        """Process the commits of a push that are left; return False if some are put off."""
        shas = item.shas if item.shas is not None else self._pushes.list_shas(push)
        failed = self._pushes.process(push, shas, item.at)
        if failed:
            self._retries.push(replace(item, shas=tuple(failed)), next(iter(failed.values())))
        if failed or self._stopping:
            return False
        self._processed.mark(item.ident)
        return True

    def _may_still_appear(self, error: Exception, pushed_at: float) -> bool:
        """Return True if what GitHub lacks may only be on its way to all of its servers.

        Our clock may be behind GitHub's, so the time since the push may be negative.
        """
        age = abs(self.executor.clock() - pushed_at)
        return isinstance(error, NotFoundError) and age < self.replication_delay

    def _sweep_repositories(self) -> None:
        """Plan again what was pushed and written since the last sweep.

        The sweep at the start looks ``backfill`` seconds back.
        """
        rate_limited_owners = set[str]()
        for repository in self.executor.forge.list_repositories():
            if not policies.serves_repository(self.executor.policy, repository.name):
                continue
            owner = repository.name.partition("/")[0]
            if self._stopping:
                return
            self.executor.forge.update_repository_name(repository)
            try:
                if owner not in rate_limited_owners:
                    self._sweep_pushes(repository)
                    self._sweep_comments(repository)
            except (UserError, TransientError) as error:  # the others are swept all the same
                log.warning("%s is swept later: %s", repository.name, error)
                if isinstance(error, RateLimitError):
                    # It holds for the installation: more requests would make it last longer.
                    rate_limited_owners.add(owner)
        self.last_sweep_at = self.executor.clock()

    def _sweep_pushes(self, repository: Repository) -> None:
        """Plan the pushes to a repository that are not processed; a failed one is swept again."""
        cursor = self._cursors.get(repository.id, SweepCursor())
        since = max(cursor.since, self._sweep_start())
        listed = self.executor.forge.list_ref_updates(repository, since, cursor.etag)
        new = [update for update in listed.updates if update not in cursor.done]
        failed = [update for update in new if not self._process_ref_update(repository, update)]
        self._cursors[repository.id] = cursor.advance(listed, failed)

    def _sweep_start(self) -> float:
        """Return the time from which sweeps look, in seconds since the epoch.

        That is as far back as the first one did, which may be less than lies between two sweeps.
        """
        now = self.executor.clock()
        self._first_sweep_from = self._first_sweep_from or now - self.backfill
        return max(self._first_sweep_from, now - max(self.backfill, BACKFILL))

    def _sweep_comments(self, repository: Repository) -> None:
        """Obey the comments of a repository that nobody has answered, the oldest first."""
        for comment in self._comment_poller.poll_commands(repository, self._sweep_start()):
            if not self._stopping:
                self._process_event(comment)

    def _process_ref_update(self, repository: Repository, update: RefUpdate) -> bool:
        """Plan one entry of the activity API; return False if a part of it is still to be done."""
        if not _can_launch(update):
            return True
        push = PushEvent(repository, update.ref, update.before, update.after, update.actor, ())
        is_known = RetryItem(push).ident in self._processed
        if repository.id in self._cursors and is_known:  # a webhook reported it
            return True
        return not self._stopping and self._process_event(push, update.timestamp)


def _can_launch(update: RefUpdate) -> bool:
    """Return True if a ref update is a push that can launch anything."""
    is_branch = update.ref.startswith(BRANCH_PREFIX)
    return is_branch and not update.ref.startswith(MERGE_QUEUE_PREFIX) and update.after != ZERO_SHA
