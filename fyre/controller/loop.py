"""The receiver's loop: take what was heard, ask the plan, do what it says. One thread, one commit at a time.

A commit that can't be dealt with is quarantined: it gets an ``error`` status or is tried again later, and never
stops the commits after it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from fyre.controller.comment_poller import CommentPoller
from fyre.controller.comments.handler import CommentCommands
from fyre.controller.comments.rerequest import RerunButton
from fyre.controller.executor import Executor
from fyre.controller.retry_queue import FAILURES, RetryItem, RetryQueue
from fyre.controller.sweep_state import ProcessedPushes, SweepCursor
from fyre.errors import TransientError, UserError
from fyre.github.client import RefUpdate
from fyre.github.errors import NotFoundError, RateLimitError
from fyre.github.webhook import CommentEvent, IgnoredEvent, PushEvent, RerequestEvent
from fyre.runs import commit_status, plan
from fyre.runs import policy as policies
from fyre.runs.access import Allowed, Denied
from fyre.runs.plan import CommitEvent
from fyre.runs.run import Repository
from fyre.runs.trigger import Trigger, TriggerKind

log = logging.getLogger(__name__)

BACKFILL = 24 * 3600.0
"""Seconds that the sweep at the start looks back."""

HISTORY_MAX = 10_000
"""Commits that are looked at where there is nothing to compare a push with; GitHub's compare API lists as many."""

UNREADABLE_MAX = 3
"""Commits of a push that could not be read: the others wait with them, and nobody else for all of them to fail; or that
are gone, and so is what stands on them: each would be looked for by a fetch of its own."""

REPLICATION_DELAY = 15.0
"""Seconds after a push for which a commit that the forge does not have is looked for again: GitHub may tell of a push
before all of its own servers know of it.
"""


@dataclass(frozen=True, slots=True)
class SweepEvent:
    """Ask the forge what was pushed and said lately, and plan it all again."""


ControllerEvent = PushEvent | CommentEvent | RerequestEvent | SweepEvent


@dataclass
class Controller:
    """The loop and what waits for it."""

    executor: Executor
    sweep_every: float = 300.0  # seconds
    backfill: float = BACKFILL
    replication_delay: float = REPLICATION_DELAY  # seconds; 0 where what is told of is there
    last_sweep_at: float = (
        0.0  # seconds since the epoch: the end of the last sweep; 0 before the first
    )
    _events: queue.Queue[ControllerEvent | None] = field(default_factory=queue.Queue)
    _retries: RetryQueue = field(default_factory=RetryQueue)
    _first_sweep_from: float = (
        0.0  # seconds since the epoch: how far back the first sweep looked; 0 before it
    )
    _cursors: dict[int, SweepCursor] = field(default_factory=dict)  # by the repository's id
    _processed: ProcessedPushes = field(default_factory=ProcessedPushes)
    _comment_poller: CommentPoller = field(init=False)
    _comments: CommentCommands = field(init=False)
    _rerun_button: RerunButton = field(init=False)
    _thread: threading.Thread | None = None
    _stopping: bool = False

    def __post_init__(self) -> None:
        """Put together what obeys comments, and what finds those that no delivery tells of."""
        self._comment_poller = CommentPoller(self.executor.forge)
        self._comments = CommentCommands(self.executor)
        self._rerun_button = RerunButton(self.executor)

    def start(self) -> None:
        """Sweep once, then listen; the sweep heals whatever was lost while nobody listened."""
        self.executor.reporter.start()
        self.enqueue_event(SweepEvent())
        self._thread = threading.Thread(target=self._run_loop, name="receiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the commit that is in hand, and stop; what waits is found again by the next sweep."""
        self._stopping = True
        self._events.put(None)
        if self._thread is not None:
            self._thread.join()
        self.executor.reporter.stop()

    def is_alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread is not None and self._thread.is_alive()

    def queue_length(self) -> int:
        """How many events wait for their turn, those that are tried again included."""
        return self._events.qsize() + len(self._retries)

    def process_until_done(self, event: ControllerEvent | IgnoredEvent) -> None:
        """Deal with one event, and with what has to be tried again, to the end: for who has no loop.

        Raises what was given up, since there is no time for somebody to mend something.
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
        """Take an event; returns at once."""
        if not isinstance(event, IgnoredEvent):
            self._events.put(event)

    def _run_loop(self) -> None:
        """What is due goes before what is heard, or a busy day would put off sweeps for ever; then it is the events'
        turn for half as long as lies between two sweeps, or longer.
        """
        sweep_at = time.monotonic() + self.sweep_every
        while True:
            while self._retries.next_due <= time.monotonic() and not self._stopping:
                self._process_item(self._retries.pop())
            if (began := time.monotonic()) >= sweep_at:
                self._process_event(SweepEvent())
                sweep_at = max(began + self.sweep_every, time.monotonic() + self.sweep_every / 2)
            due = min(sweep_at, self._retries.next_due)
            with suppress(queue.Empty):
                event = self._events.get(timeout=max(0.0, due - time.monotonic()))
                if event is None:
                    return
                self._process_event(event)

    def _process_event(self, event: ControllerEvent, received_at: float | None = None) -> bool:
        """One event, of ``at`` or of just now. False where a part of it is still to be done."""
        if isinstance(event, PushEvent | CommentEvent | RerequestEvent):
            if not policies.serves_repository(self.executor.policy, event.repository.name):
                log.info(
                    "%s is not served", event.repository.name
                )  # and is told nothing: nobody asked Fyre there
                return True
            self.executor.forge.update_repository_name(event.repository)
        if isinstance(
            event, CommentEvent
        ):  # done, or to be tried again from here: the sweep need not find it as well
            self._comment_poller.mark_handled(event)
        return self._process_item(
            RetryItem(event, self.executor.clock() if received_at is None else received_at)
        )

    def _process_item(self, item: RetryItem) -> bool:
        """One event, or what is left of it; whatever is wrong with it must not end the loop."""
        try:
            match item.event:
                case PushEvent() as push:
                    done = self._process_push(
                        item,
                        push,
                        item.shas if item.shas is not None else self._list_pushed_shas(push),
                    )
                    if done:
                        self._processed.mark(item.ident)
                    return done
                case CommentEvent() as said:
                    self._comments.handle(said)
                case RerequestEvent() as click:
                    self._rerun_button.handle(click)
                case SweepEvent():
                    self._sweep_repositories()
        except FAILURES as error:
            self._retries.push(item, error)
            return False
        except UserError as error:
            if self._may_still_appear(item, error):
                self._retries.push(item, TransientError(str(error)))
                return False
            log.warning("given up: %s", error)
        except Exception:
            # Quarantine: the next event is none the wiser.
            log.exception("the receiver met a bug")
            return False
        return True

    def _list_pushed_shas(self, push: PushEvent) -> tuple[str, ...]:
        """Every commit that a push brought to its branch, oldest first, whether or not another branch had it.

        A payload lists them all, unless it was cut; a new branch is compared with the default one. What that has is
        not asked for by who begins a branch at it: it may be what others pushed and may not launch.
        """
        if push.shas and not push.is_truncated and not push.is_new_branch:
            return push.shas
        base = push.repository.default_branch if push.is_new_branch else push.before
        try:
            if (
                push.ref == f"refs/heads/{base}"
            ):  # the first push of all: there is nothing to compare it with
                listed = self.executor.commit_reader.list_ancestors(
                    push.repository, push.after, HISTORY_MAX
                )
            else:
                listed = self.executor.forge.commits_between(push.repository, base, push.after)
        except NotFoundError:  # no default branch yet, or a base that is gone
            listed = self.executor.commit_reader.list_ancestors(
                push.repository, push.after, HISTORY_MAX
            )
        return tuple(dict.fromkeys((*push.shas, *listed)))

    def _process_push(self, item: RetryItem, push: PushEvent, shas: Sequence[str]) -> bool:
        """These commits of a push; False where some are put off."""
        heard, failed = self._read_pushed_commits(item, push, shas)
        if self._stopping:  # before anything is launched: half a push could slip under the cap
            return False
        for one in self._enforce_push_cap(heard):
            why = None if self._stopping else self._process_commit(one)
            failed |= {one.commit.sha: why} if why is not None else {}
        if failed:
            self._retries.push(replace(item, shas=tuple(failed)), next(iter(failed.values())))
        return not failed and not self._stopping

    def _read_pushed_commits(
        self, item: RetryItem, push: PushEvent, shas: Sequence[str]
    ) -> tuple[list[CommitEvent], dict[str, Exception]]:
        """What these commits ask for, and which of them could not be read but may be later, with why."""
        heard, failed, gone = list[CommitEvent](), dict[str, Exception](), 0
        for number, sha in enumerate(shas):
            if self._stopping or gone >= UNREADABLE_MAX:
                break
            if len(failed) >= UNREADABLE_MAX:
                return heard, failed | dict.fromkeys(shas[number:], next(iter(failed.values())))
            one = self._read_pushed_commit(push, sha, item.at)
            if isinstance(one, CommitEvent):
                heard.append(one)
            elif isinstance(one, FAILURES):
                failed[sha] = one
            elif one is not None and self._may_still_appear(
                item, one
            ):  # and with it the branch that the others stand on
                return [], dict.fromkeys(shas, TransientError(str(one)))
            elif one is not None:
                gone += 1
                self._report_unreadable(push, push.after if gone >= UNREADABLE_MAX else sha, one)
        return heard, failed

    def _read_pushed_commit(
        self, push: PushEvent, sha: str, at: float
    ) -> CommitEvent | Exception | None:
        """A commit of a push and what it asks for, None when that is nothing; or why it can't be had."""
        trigger = Trigger(TriggerKind.PUSH, push.actor, push.ref, push.after, at)
        try:
            return self.executor.read_request(push.repository, sha, trigger)
        except (*FAILURES, NotFoundError) as error:
            return error
        except Exception:
            # Quarantine: a commit that nobody can read must not take its push along.
            log.exception("commit %s met a bug", sha)
            poisoned = commit_status.malformed_status(
                "fyre/run", "it can't be read; the log of Fyre says more"
            )
            self.executor.reporter.queue_status(push.repository, sha, poisoned)
            return None

    def _may_still_appear(self, item: RetryItem, error: Exception) -> bool:
        """Whether what the forge lacks may only be on its way to all of its servers; our clock may be behind."""
        return (
            isinstance(error, NotFoundError)
            and abs(self.executor.clock() - item.at) < self.replication_delay
        )

    def _enforce_push_cap(self, commit_events: list[CommitEvent]) -> list[CommitEvent]:
        """A push over its cap is refused whole: nobody wants a random half of it."""
        now, executor = self.executor.clock(), self.executor
        young = [
            one for one in commit_events if now - one.commit.committed_at <= executor.policy.history
        ]
        new = [
            one
            for one in young
            if not executor.index.find_by_sha(one.repository.id, one.commit.sha)
        ]
        new = [one for one in new if not plan.is_lab_ancestor(one, executor.policy)]
        total = sum(len(one.request.runs) for one in new)
        quota = executor.check_quota(new[0].repository, total) if total else Allowed()
        return (
            [replace(one, quota=quota) for one in commit_events]
            if isinstance(quota, Denied)
            else commit_events
        )

    def _process_commit(self, commit_event: CommitEvent) -> Exception | None:
        """Plan one commit and do it; why, when it has to be tried again."""
        repository, sha = commit_event.repository, commit_event.commit.sha
        try:
            for action in self.executor.decide(commit_event):
                self.executor.execute(repository, action)
        except FAILURES as error:
            return error
        except Exception:
            # Quarantine per commit: say so on the SHA and go on with the others.
            log.exception("commit %s met a bug", sha)
            for name in commit_event.request.run_names:
                self.executor.reporter.queue_status(
                    repository,
                    sha,
                    commit_status.malformed_status(
                        f"fyre/{name}", "a bug in Fyre; its log says more"
                    ),
                )
        return None

    def _report_unreadable(self, push: PushEvent, sha: str, error: Exception) -> None:
        """A SHA that can't be had: say so where it was pushed, if that is still possible."""
        log.warning("%s", error)
        if sha == push.after:
            self.executor.reporter.queue_status(
                push.repository, sha, commit_status.malformed_status("fyre/run", str(error))
            )

    def _sweep_repositories(self) -> None:
        """Plan again what the forge says was pushed since the last sweep; at the start, ``BACKFILL`` back."""
        found, limited = self.executor.forge.list_repositories(), set[str]()
        for repository in (
            one for one in found if policies.serves_repository(self.executor.policy, one.name)
        ):
            owner = repository.name.partition("/")[0]
            if self._stopping:
                return
            self.executor.forge.update_repository_name(repository)
            try:
                if owner not in limited:
                    self._sweep_pushes(repository)
                    self._sweep_comments(repository)
            except (UserError, TransientError) as error:  # the others are swept all the same
                log.warning("%s is swept later: %s", repository.name, error)
                if isinstance(
                    error, RateLimitError
                ):  # it holds for the installation: asking on makes it last longer
                    limited.add(owner)
        self.last_sweep_at = self.executor.clock()

    def _sweep_pushes(self, repository: Repository) -> None:
        """Plan what was pushed there and is not dealt with; what fails is asked for again by the next sweep."""
        before = self._cursors.get(repository.id, SweepCursor())
        seen = self.executor.forge.list_ref_updates(
            repository, max(before.since, self._sweep_start()), before.tag
        )
        new = [one for one in seen.updates if one not in before.done]
        failed = [one for one in new if not self._process_ref_update(repository, one)]
        self._cursors[repository.id] = before.advance(seen, failed)

    def _sweep_start(self) -> float:
        """From when on sweeps look: as far back as the first one did, which may be less than lies between two."""
        now = self.executor.clock()
        self._first_sweep_from = self._first_sweep_from or now - self.backfill
        return max(self._first_sweep_from, now - max(self.backfill, BACKFILL))

    def _sweep_comments(self, repository: Repository) -> None:
        """Obey what was said there and nobody has answered, the oldest first."""
        for said in self._comment_poller.poll_commands(repository, self._sweep_start()):
            if not self._stopping:
                self._process_event(said)

    def _process_ref_update(self, repository: Repository, ref_update: RefUpdate) -> bool:
        """Plan one entry; False where a part of it is still to be done."""
        push = _to_push(
            repository, ref_update.ref, ref_update.before, ref_update.after, ref_update.actor
        )
        if push is None:
            return True
        if (
            repository.id in self._cursors and RetryItem(push).ident in self._processed
        ):  # a webhook told of it
            return True
        return not self._stopping and self._process_event(push, ref_update.timestamp)


def _to_push(
    repository: Repository, ref: str, before: str, after: str, actor: str
) -> PushEvent | None:
    """The push behind an entry of the activity API, if it can launch anything."""
    from fyre.runs.run import ZERO_SHA

    if (
        not ref.startswith("refs/heads/")
        or ref.startswith("refs/heads/gh-readonly-queue/")
        or after == ZERO_SHA
    ):
        return None
    return PushEvent(repository, ref, before, after, actor, ())
