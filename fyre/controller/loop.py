"""Run the controller: take an event, ask the plan, execute its actions.

Workers process events, each in the turn of its repository (``fyre.controller.repository_turns``):
one at a time, in the order in which they came. All that a plan asks is about one repository, so
that turn is all that it takes; a repository that is slow holds up no other. A commit that can't be
processed is quarantined: it gets an ``error`` status or is tried again later, and never stops the
commits after it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from fyre.controller.comment_poller import CommentPoller
from fyre.controller.comments.handler import CommentCommands
from fyre.controller.comments.rerequest import RerunButton
from fyre.controller.events import (
    ControllerEvent,
    ForgeEvent,
    RunEndEvent,
    SweepEvent,
    SweptPushesEvent,
)
from fyre.controller.executor import Executor
from fyre.controller.pull_checks import PullChecks
from fyre.controller.push_processor import REPLICATION_DELAY, Patience, PushProcessor
from fyre.controller.repository_turns import Urgency
from fyre.controller.retry_queue import FAILURES, RETRY_PERIOD, RetryItem, RetryQueue
from fyre.controller.run_ends import RunEndProcessor, RunEndWatcher
from fyre.controller.sweep_state import ProcessedPushes, SweepCursor, can_launch
from fyre.controller.worker_pool import WorkerPool
from fyre.errors import LOCAL_TROUBLE, TransientError, UserError, local_trouble_as_transient
from fyre.github.client import RefUpdate
from fyre.github.errors import NotFoundError, RateLimitError
from fyre.github.webhook import (
    CommentEvent,
    IgnoredEvent,
    PullRequestEvent,
    PushEvent,
    RerequestEvent,
)
from fyre.runs import policy as policies
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

BACKFILL = 24 * 3600.0
"""Seconds that the sweep at the start looks back."""

LAG_MAX_WITHOUT_LOOP = 300.0
"""Seconds after a push for which a process that does nothing else waits for its commits."""

SWEEP_KEY = "sweep"
"""The key of the turn in which sweeps ask about all repositories."""

LOOK_INTERVAL = 60.0
"""Seconds at most until the loop looks at what is due, whatever it was told."""

Work = ControllerEvent | RetryItem
"""An event, or what is left of one that failed before."""


@dataclass
class Controller:
    """The workers, the events that wait for them, and the loop that keeps the time."""

    executor: Executor
    sweep_every: float = 300.0  # seconds
    backfill: float = BACKFILL  # seconds
    replication_delay: float = REPLICATION_DELAY
    """Seconds; 0 where every commit that an event names can be read at once."""

    lag_max: float = RETRY_PERIOD
    """Seconds for which git may lag behind what the forge reports."""

    last_sweep_at: float = 0.0
    """The end of the last sweep, in seconds since the epoch; 0 before the first."""

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
    _pull_checks: PullChecks = field(init=False)
    _workers: WorkerPool[Work] = field(init=False)
    _thread: threading.Thread | None = None
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False

    def __post_init__(self) -> None:
        """Build the parts that process each kind of event."""
        self._comment_poller = CommentPoller(self.executor.forge)
        self._comments = CommentCommands(self.executor)
        self._rerun_button = RerunButton(self.executor)
        self._pushes = PushProcessor(self.executor, lambda: self._stopping, self._patience)
        self._run_ends = RunEndProcessor(self.executor)
        self._pull_checks = PullChecks(self.executor)
        self._workers = WorkerPool(self._do_work, self._overtake)

    def start(self) -> None:
        """Start the threads with a sweep, which finds whatever was lost while nobody listened.

        After it come the ends of runs that nobody saw, however long ago their commit was pushed.
        """
        self.enqueue_event(SweepEvent())
        RunEndWatcher(self.executor.engine, self.enqueue_event).start(self._sweep_start())
        self.executor.reporter.start()  # after it: an end that is posted counts as seen
        self._thread = threading.Thread(target=self._run_loop, name="controller", daemon=True)
        self._thread.start()
        self._workers.start()

    def stop(self) -> None:
        """Finish the commits that are being processed, and stop; the next sweep finds the rest.

        What waits for an answer is waited for shortly.
        """
        self._stopping = True
        self._wake.set()
        self._workers.stop()
        if self._thread is not None:
            self._thread.join()
        self.executor.reporter.stop()

    def is_alive(self) -> bool:
        """Return True if the loop runs."""
        return self._thread is not None and self._thread.is_alive()

    def queue_length(self) -> int:
        """Return the number of events that are not done, those that are tried again included."""
        return len(self._workers) + len(self._retries)

    def process_until_done(self, event: ControllerEvent | IgnoredEvent) -> None:
        """Process one event, and what has to be tried again of it, to the end: without the loop.

        The ends of runs are no events then: nobody waits for them.

        Raises the last error of what was given up, since nobody has time to fix anything.
        """
        self._retries.max_age_operator = 0.0
        self.lag_max = LAG_MAX_WITHOUT_LOOP
        if not isinstance(event, IgnoredEvent):
            self._process_event(event)
        while self._retries:
            time.sleep(max(0.0, self._retries.next_due - time.monotonic()))
            self._process_item(self._retries.pop())
        if self._retries.last_dropped is not None:
            raise self._retries.last_dropped

    def enqueue_event(self, event: ControllerEvent | IgnoredEvent) -> None:
        """Take an event, and return at once. Of a commit's run ends one is enough."""
        if isinstance(event, RunEndEvent) and not self._run_ends.expect(event):
            return
        if not isinstance(event, IgnoredEvent):
            self._hand_out(event)

    def _run_loop(self) -> None:
        """Hand out the retries that are due, and sweeps, until ``stop``.

        After a sweep nothing is asked for half of the time between two sweeps at least.
        """
        swept, sweep_at = self.last_sweep_at, time.monotonic() + self.sweep_every
        while not self._stopping:
            while self._retries.next_due <= time.monotonic():
                self._hand_out(self._retries.pop())
            if self.last_sweep_at != swept:
                swept = self.last_sweep_at
                sweep_at = max(sweep_at, time.monotonic() + self.sweep_every / 2)
            if time.monotonic() >= sweep_at and SWEEP_KEY not in self._workers:
                self.enqueue_event(SweepEvent())
                sweep_at = time.monotonic() + self.sweep_every
            due = math.inf if SWEEP_KEY in self._workers else sweep_at
            seconds = min(due, self._retries.next_due) - time.monotonic()
            self._wake.wait(min(max(0.0, seconds), LOOK_INTERVAL))
            self._wake.clear()

    def _hand_out(self, work: Work, urgency: Urgency = Urgency.SOON) -> None:
        """Have a worker process an event in the turn of its repository.

        A cancel that has to wait for that acts on what runs at once, and once more in its turn.
        """
        key: Hashable
        match _event_of(work):
            case SweepEvent():
                key, urgency = SWEEP_KEY, Urgency.BACKGROUND
            case SweptPushesEvent(repository=repository):
                key, urgency = repository.id, Urgency.BACKGROUND
            case RunEndEvent(repository=repository) | PullRequestEvent(repository=repository):
                key, urgency = repository.id, Urgency.LAST
            case event:
                key = event.repository.id
        comes_at_once = self._workers.put(key, work, urgency)
        if isinstance(_event_of(work), CommentEvent) and not comes_at_once:
            self._workers.put_overtaking(work)

    def _do_work(self, work: Work) -> None:
        if isinstance(work, RetryItem):
            self._process_item(work)
        else:
            self._process_event(work)

    def _overtake(self, work: Work) -> None:
        """Do of an event what need not wait for its repository's turn."""
        event = _event_of(work)
        if not isinstance(event, CommentEvent) or self._stopping or not self._is_served(event):
            return
        try:
            self._comments.overtake(event)
        except (UserError, TransientError) as error:
            log.debug("a command waits for its turn: %s", error)

    def _process_event(self, event: ControllerEvent, received_at: float | None = None) -> bool:
        """Process one event now, of ``received_at`` (seconds since the epoch) or of just now.

        Return False if a part of it is still to be done.
        """
        if isinstance(event, ForgeEvent):
            if not self._is_served(event):  # nothing is posted there: nobody asked for Fyre
                log.info("%s is not served", event.repository.name)
                return True
            self.executor.forge.update_repository_name(event.repository)
        if isinstance(event, CommentEvent):
            # It is done, or tried again from the queue: the sweep need not find it as well.
            self._comment_poller.mark_handled(event)
        at = self.executor.clock() if received_at is None else received_at
        return self._process_item(RetryItem(event, at))

    def _is_served(self, event: ForgeEvent) -> bool:
        return policies.serves_repository(self.executor.policy, event.repository.name)

    def _hand_over(self, event: ControllerEvent) -> None:
        """Have an event that a sweep found processed: now, where there are no workers."""
        if self._thread is None:
            self._process_event(event)
        else:
            self._hand_out(event, Urgency.BACKGROUND)

    def _process_item(self, item: RetryItem) -> bool:
        """Process one event, or what is left of it; no error in it may end a worker.

        Return False if a part of it is still to be done.
        """
        try:
            return self._process_by_kind(item)
        except FAILURES as error:
            self._retry_later(item, error)
            return False
        except LOCAL_TROUBLE as error:
            self._retry_later(item, local_trouble_as_transient(error))
            return False
        except UserError as error:
            if self._may_pass(error, item):
                self._retry_later(item, TransientError(str(error)))
                return False
            log.warning("given up: %s", error)
        except Exception:
            # Quarantine: the next event is processed all the same.
            log.exception("unexpected error in the controller")
            return False
        return True

    def _process_by_kind(self, item: RetryItem) -> bool:
        """Process one event; return False if a part of it is still to be done. Raises any error."""
        match item.event:
            case PushEvent() as push:
                return self._process_push(item, push)
            case CommentEvent() as comment:
                self._comments.handle(comment)
            case RerequestEvent() as click:
                self._rerun_button.handle(click)
            case RunEndEvent() as ended:
                self._run_ends.process(ended)
            case PullRequestEvent() as pull:
                self._pull_checks.handle(pull)
            case SweepEvent():
                self._sweep_repositories()
            case SweptPushesEvent() as swept:
                self._process_swept_pushes(swept)
            case unknown:
                assert_never(unknown)
        return True

    def _process_push(self, item: RetryItem, push: PushEvent) -> bool:
        """Process the commits of a push that are left; return False if some are put off."""
        shas = item.shas if item.shas is not None else self._pushes.list_shas(push)
        outcome = self._pushes.process(push, shas, item.at)
        if outcome.failed:
            error = next(iter(outcome.failed.values()))
            self._retry_later(replace(item, shas=tuple(outcome.failed)), error)
        if outcome.is_complete:
            self._processed.mark(item.ident)
        return not (outcome.failed or self._stopping)

    def _retry_later(self, item: RetryItem, error: Exception) -> None:
        if not self._retries.push(item, error):
            self.executor.launch_delays.give_up(item.commits_left)
            if isinstance(item.event, CommentEvent):
                self._comments.give_up(item.event, error)
            elif isinstance(item.event, RerequestEvent):
                self._rerun_button.give_up(item.event)
        self._wake.set()

    def _patience(self) -> Patience:
        return Patience(self.replication_delay, self.lag_max)

    def _may_pass(self, error: UserError, item: RetryItem) -> bool:
        """Return True if an event is to be tried again though it asks for what is not there.

        A push is, until its commits are there or its branch has moved on, whatever else the forge
        says of them meanwhile.
        """
        if not isinstance(item.event, PushEvent):
            return self._pushes.may_still_appear(error, item.at)
        is_missing = isinstance(error, NotFoundError)
        return not is_missing or self._pushes.is_awaited(error, item.event, item.at)

    def _sweep_repositories(self) -> None:
        """Ask what was pushed and written since the last sweep, and have that planned again.

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
                    self._sweep_threads(repository)
            except (UserError, TransientError) as error:  # the others are swept all the same
                log.warning("%s is swept later: %s", repository.name, error)
                if isinstance(error, RateLimitError):
                    # It holds for the installation: more requests would make it last longer.
                    rate_limited_owners.add(owner)
        self.last_sweep_at = self.executor.clock()
        self._wake.set()

    def _sweep_pushes(self, repository: Repository) -> None:
        """Ask for the pushes to a repository, and have those planned that are not processed."""
        cursor = self._cursors.get(repository.id, SweepCursor())
        since = max(cursor.since, self._sweep_start())
        listed = self.executor.forge.list_ref_updates(repository, since, cursor.etag)
        is_first = repository.id not in self._cursors
        if listed.updates or listed.etag != cursor.etag or is_first:
            self._hand_over(SweptPushesEvent(repository, listed))

    def _process_swept_pushes(self, swept: SweptPushesEvent) -> None:
        """Plan the pushes of a sweep that are not processed; a failed one is swept again."""
        repository, listed = swept.repository, swept.listed
        cursor = self._cursors.get(repository.id, SweepCursor())
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

    def _sweep_threads(self, repository: Repository) -> None:
        """Have comments obeyed that nobody has answered, and changed pull requests looked at."""
        polls: tuple[Callable[[Repository, float], Sequence[ForgeEvent]], ...]
        polls = (self._comment_poller.poll_commands, self._pull_checks.poll_pulls)
        for poll in polls:
            for event in poll(repository, self._sweep_start()):
                if not self._stopping:
                    self._hand_over(event)

    def _process_ref_update(self, repository: Repository, update: RefUpdate) -> bool:
        """Plan one entry of the activity API; return False if a part of it is still to be done."""
        if not can_launch(update):
            return True
        push = PushEvent(repository, update.ref, update.before, update.after, update.actor, ())
        is_known = RetryItem(push).ident in self._processed
        if repository.id in self._cursors and is_known:  # a webhook reported it
            return True
        return not self._stopping and self._process_event(push, update.timestamp)


def _event_of(work: Work) -> ControllerEvent:
    return work.event if isinstance(work, RetryItem) else work
