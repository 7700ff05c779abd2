"""Process the commits of a push: read them, keep the push under its cap, plan and execute."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fyre.controller.executor import API_LAG_MAX, Executor
from fyre.controller.launch_delays import EqualRefusals
from fyre.controller.retry_queue import FAILURES
from fyre.errors import LOCAL_TROUBLE, TransientError, local_trouble_as_transient
from fyre.github.errors import NotFoundError
from fyre.github.webhook import PushEvent
from fyre.runs import commit_status, plan
from fyre.runs.access import Allowed, Denied
from fyre.runs.plan import CommitEvent
from fyre.runs.run import ZERO_SHA
from fyre.runs.status_text import is_launch_delayed, is_push_refusal
from fyre.runs.trigger import Trigger, TriggerKind

log = logging.getLogger(__name__)

HISTORY_MAX = 10_000
"""Commits that are looked at where a push can be compared with nothing; GitHub's compare API lists
as many."""

UNREADABLE_MAX = 3
"""Commits of a push that can't be read before the rest is left alone. Where they may be readable
later, the rest waits with them, and no other push waits until all of them have failed. Where they
are gone, the commits on top of them are gone as well, and each would cost a fetch."""


REPLICATION_DELAY = 15.0
"""Seconds after a push for which a commit that GitHub does not have is looked for again, whatever
the branch does: GitHub may report a push before all of its own servers know of it."""


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """The part of a processed push that is left to do."""

    failed: Mapping[str, Exception]
    """The commits that are to be tried again, each with its error."""

    is_complete: bool = True
    """False if it must be looked at again: commits failed, or could not be found."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The times for which git may lag behind what the forge reports."""

    replication_delay: float
    """Seconds; 0 where every commit that an event names can be read at once."""

    lag_max: float
    """Seconds after a push at most."""


class PushProcessor:
    """The processing of pushes, one at a time of a repository.

    A commit that fails never stops the others. ``patience`` says how long git may lag.
    """

    def __init__(
        self,
        executor: Executor,
        is_stopping: Callable[[], bool],
        patience: Callable[[], Patience],
    ) -> None:
        self._executor, self._patience = executor, patience
        self._is_stopping = is_stopping

    def may_still_appear(self, error: Exception, reported_at: float) -> bool:
        """Return True if what GitHub lacks may only be on its way to all of its servers.

        Our clock may be behind GitHub's, so the time since the report may be negative.
        """
        age = abs(self._executor.clock() - reported_at)
        return isinstance(error, NotFoundError) and age < self._patience().replication_delay

    def is_awaited(self, error: Exception, push: PushEvent, pushed_at: float) -> bool:
        """Return True if a commit of a push is to be looked for again later.

        GitHub's git may lag behind its webhooks and its API, by minutes on a bad day. So a push
        whose commit is not there waits until it is there, or its branch has moved on without it.
        """
        if self.may_still_appear(error, pushed_at):
            return True
        patience, age = self._patience(), self._executor.clock() - pushed_at
        if not isinstance(error, NotFoundError) or age >= patience.lag_max:
            return False
        return patience.replication_delay > 0 and not self._has_moved_on(push, pushed_at)

    def _has_moved_on(self, push: PushEvent, pushed_at: float) -> bool:
        """Return True if a branch was deleted, or has a later head that can be read.

        A later head that can't be read either says nothing: the push may be below it. Where the API
        never lists the push, it is not waited for any longer; once it does, a sweep finds it.
        """
        updates = self._executor.forge.newest_updates_of(push.repository, push.ref)
        if all(push.after not in (update.before, update.after) for update in updates):
            return abs(self._executor.clock() - pushed_at) >= API_LAG_MAX  # it may lag as well
        head = updates[0].after
        if head in (ZERO_SHA, push.after):
            return head == ZERO_SHA
        return self._executor.commit_reader.find_commit(push.repository, head) is not None

    def list_shas(self, push: PushEvent) -> tuple[str, ...]:
        """Return every commit that a push brought to its branch, oldest first.

        It does not matter whether another branch had it. A payload lists all of them, unless it was
        cut; a new branch is compared with the default one. What the default branch has is not
        requested by whoever begins a branch at it: somebody may have pushed it who may not launch.
        Only its head is, and only where another push of it was refused.
        """
        if push.shas and not push.is_truncated and not push.is_new_branch:
            return push.shas
        base = push.repository.default_branch if push.is_new_branch else push.before
        try:
            if push.is_new_branch and not self._is_default_planned(push):
                listed = self._list_history(push)
            else:
                listed = self._executor.forge.commits_between(push.repository, base, push.after)
        except NotFoundError:  # no default branch yet, or a base that is gone
            listed = self._list_history(push)
        shas = tuple(dict.fromkeys((*push.shas, *listed)))
        return shas or self._refused_head(push)

    def _is_default_planned(self, push: PushEvent) -> bool:
        """Return True if what the default branch has was planned, whoever pushed it there.

        The push that begins it has nothing to be compared with. A repository that began with
        ``fyre run`` has a lab branch as its default one: its push planned the snapshots alone.
        """
        lab_prefix = self._executor.policy.lab_prefix
        default_ref = f"refs/heads/{push.repository.default_branch}"
        is_lab_only = default_ref.startswith(lab_prefix) and not push.ref.startswith(lab_prefix)
        return push.ref != default_ref and not is_lab_only

    def _refused_head(self, push: PushEvent) -> tuple[str, ...]:
        """Return the head of a new branch without a commit of its own, if a push of it was refused.

        Such a refusal says to push it elsewhere, or to ask somebody who may. So does one of the
        engine, after a day.
        """
        executor, trigger = self._executor, Trigger(TriggerKind.PUSH, push.actor)
        if not push.is_new_branch:
            return ()
        if executor.read_request(push.repository, push.after, trigger) is None:
            return ()
        posted = executor.reporter.read_statuses(push.repository, push.after).values()
        was_refused = any(
            asks(status.state, status.description)
            for status in posted
            for asks in (is_push_refusal, is_launch_delayed)
        )
        return (push.after,) if was_refused else ()

    def _list_history(self, push: PushEvent) -> list[str]:
        reader = self._executor.commit_reader
        return reader.list_ancestors(push.repository, push.after, HISTORY_MAX)

    def process(self, push: PushEvent, shas: Sequence[str], pushed_at: float) -> PushOutcome:
        """Plan and execute these commits; return what is left to do."""
        events, failed, gone = self._read_commits(push, shas, pushed_at)
        if self._is_stopping():  # before anything is launched: half a push could pass under the cap
            return PushOutcome({}, is_complete=False)
        equal = EqualRefusals()
        for event in self._enforce_cap(events):
            error = None if self._is_stopping() else self._process_commit(event, equal)
            if error is not None:
                failed[event.commit.sha] = error
        return PushOutcome(failed, not (failed or gone or self._is_stopping()))

    def _read_commits(
        self, push: PushEvent, shas: Sequence[str], pushed_at: float
    ) -> tuple[list[CommitEvent], dict[str, Exception], int]:
        """Return what these commits request, the errors of those that may be readable later, and
        how many are gone.
        """
        events, failed, gone = list[CommitEvent](), dict[str, Exception](), 0
        for number, sha in enumerate(shas):
            if self._is_stopping() or gone >= UNREADABLE_MAX:
                break
            if len(failed) >= UNREADABLE_MAX:
                rest = dict.fromkeys(shas[number:], next(iter(failed.values())))
                return events, failed | rest, gone
            match self._read_commit(push, sha, pushed_at):
                case CommitEvent() as event:
                    events.append(event)
                case None:
                    pass
                case error if isinstance(error, FAILURES):
                    failed[sha] = error
                case error if self.is_awaited(error, push, pushed_at):
                    # And with it the branch that the other commits stand on.
                    return [], dict.fromkeys(shas, TransientError(str(error))), gone
                case error:
                    gone += 1
                    self._report_unreadable(
                        push, push.after if gone >= UNREADABLE_MAX else sha, error
                    )
        return events, failed, gone

    def _read_commit(
        self, push: PushEvent, sha: str, pushed_at: float
    ) -> CommitEvent | Exception | None:
        """Return what a commit of a push requests, None for nothing, or why it can't be read."""
        trigger = Trigger(TriggerKind.PUSH, push.actor, push.ref, push.after, pushed_at)
        try:
            return self._executor.read_request(push.repository, sha, trigger)
        except (*FAILURES, NotFoundError) as error:
            return error
        except LOCAL_TROUBLE as error:
            return local_trouble_as_transient(error)
        except Exception:
            # Quarantine: a commit that nobody can read must not stop the rest of its push.
            log.exception("unexpected error while reading commit %s", sha)
            self._post_error(push, sha, "it can't be read; the log of Fyre says more")
            return None

    def _enforce_cap(self, events: list[CommitEvent]) -> list[CommitEvent]:
        """Refuse a push over its cap as a whole: nobody wants a random half of it."""
        executor, now = self._executor, self._executor.clock()
        new = [
            event
            for event in events
            if now - event.commit.committed_at <= executor.policy.history
            and not executor.index.find_by_sha(event.repository.id, event.commit.sha)
            and not plan.is_lab_ancestor(event, executor.policy)
        ]
        requested = sum(len(event.request.runs) for event in new)
        quota = executor.check_quota(new[0].repository, requested) if requested else Allowed()
        if isinstance(quota, Denied):
            return [replace(event, quota=quota) for event in events]
        return events

    def _process_commit(self, event: CommitEvent, equal: EqualRefusals) -> Exception | None:
        """Plan one commit and execute the plan; return the error if it has to be tried again."""
        repository, sha = event.repository, event.commit.sha
        try:
            self._executor.process_commit(event, equal)
        except FAILURES as error:
            return error
        except LOCAL_TROUBLE as error:
            return local_trouble_as_transient(error)
        except Exception:
            # Quarantine: say so on the SHA and go on with the other commits.
            log.exception("unexpected error while processing commit %s", sha)
            for name in event.request.run_names:
                status = commit_status.malformed_status(
                    f"fyre/{name}", "a bug in Fyre; its log says more"
                )
                self._executor.reporter.queue_status(repository, sha, status)
        return None

    def _report_unreadable(self, push: PushEvent, sha: str, error: Exception) -> None:
        """Say that a SHA can't be read on the commit that was pushed, if it is that one."""
        log.warning("%s", error)
        if sha == push.after:
            self._post_error(push, sha, str(error))

    def _post_error(self, push: PushEvent, sha: str, reason: str) -> None:
        status = commit_status.malformed_status("fyre/run", reason)
        self._executor.reporter.queue_status(push.repository, sha, status)
