"""Plan a commit again when one of its runs has ended.

What could not be done for the commit before is done then, such as the launch of a run that was
given up while the engine was away. An end is only a reason to look: lost or repeated, it changes
nothing, as the plan asks what is there (``fyre.runs.plan``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from cachetools import FIFOCache

from fyre.controller.events import RunEndEvent
from fyre.controller.executor import Executor
from fyre.engines.protocol import Engine
from fyre.github.errors import NotFoundError, NotVisibleError
from fyre.reporter.unposted_statuses import unposted_statuses
from fyre.runs import plan
from fyre.runs import policy as policies
from fyre.runs.access import Allowed
from fyre.runs.run import RunRecord
from fyre.runs.run_query import RunQuery
from fyre.runs.state import FINAL_STATES
from fyre.runs.trigger import Trigger, TriggerKind

log = logging.getLogger(__name__)

ENDED_MAX = 100_000
"""Ended runs that are remembered, so that a further change of a record is no further end. An engine
may report all of its records at once, when it has lost its connection for a while."""


class RunEndWatcher:
    """Reports each end of a run once, in a thread of the engine."""

    def __init__(self, engine: Engine, on_end: Callable[[RunEndEvent], None]) -> None:
        self._engine, self._on_end = engine, on_end
        self._lock = threading.Lock()
        self._ended = FIFOCache[str, None](ENDED_MAX)  # keys of runs

    def start(self, since: float) -> None:
        """Watch from now on; report ends to which no controller has listened, once for each commit.

        The sweep at the start plans what was pushed after ``since`` (seconds since the epoch). Left
        over are older runs and reruns, which may be of an older push, that have ended after it, and
        all whose end is not posted yet: a reporter runs where a controller does.
        """
        self._engine.subscribe(self._on_change)
        query = RunQuery(states=FINAL_STATES)
        ended = [record for record in self._engine.query_runs(query) if self._is_new_end(record)]
        missed = [record for record in reversed(ended) if _may_be_missed(record, since)]
        newest = {(record.run.repository.id, record.run.sha): record for record in missed}
        for record in newest.values():
            self._report(record)

    def _on_change(self, key: str) -> None:
        record = self._engine.get_record(key)
        if record is not None and self._is_new_end(record):
            self._report(record)

    def _is_new_end(self, record: RunRecord) -> bool:
        """Return True, the first time only, if a run has ended."""
        if not record.state.is_final:
            return False
        with self._lock:
            is_new = record.run.key not in self._ended
            self._ended[record.run.key] = None
        return is_new

    def _report(self, record: RunRecord) -> None:
        self._on_end(RunEndEvent(record.run.repository, record.run.sha, record.run.key))


def _may_be_missed(record: RunRecord, since: float) -> bool:
    """Return True if nobody may have seen the end of a run, and the sweep does not plan it."""
    ended_at = record.ended_at or record.run.created_at
    is_of_older_push = record.run.created_at < since or record.run.attempt > 1
    return (is_of_older_push and since <= ended_at) or bool(unposted_statuses(record, ""))


def _commit_of(ended: RunEndEvent) -> tuple[int, str]:
    return ended.repository.id, ended.sha


class RunEndProcessor:
    """Plans and executes a commit again, as the push that launched its runs."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self._expected = set[tuple[int, str]]()  # commits whose plan waits: repository's id, SHA

    def expect(self, ended: RunEndEvent) -> bool:
        """Return False if the commit is to be planned anyway, after this end.

        So a commit with a thousand runs is planned a few times, and not a thousand.
        """
        with self._lock:
            is_first = (commit := _commit_of(ended)) not in self._expected
            self._expected.add(commit)
            return is_first

    def process(self, ended: RunEndEvent) -> None:
        """Plan the commit of a run that has ended. Raises ``TransientError``.

        The forge is asked nothing while every run of the commit has a record. Nothing is posted
        about what goes wrong: the commit may have good statuses of runs that are done.
        """
        with self._lock:
            self._expected.discard(_commit_of(ended))  # what ends from now on may not be seen
        executor, sha = self._executor, ended.sha
        repository = executor.forge.with_current_name(ended.repository)
        if not policies.serves_repository(executor.policy, repository.name):
            return
        now = executor.clock()
        try:
            event = executor.read_request(repository, sha, Trigger(TriggerKind.RUN_END, "", at=now))
        except NotVisibleError:
            raise
        except NotFoundError:  # a force-push has removed it: nothing more is asked of it
            log.debug("commit %s of an ended run is gone", sha)
            return
        if event is None:  # a comment gave the command
            return
        records = executor.index.find_by_sha(repository.id, sha)
        trigger = plan.run_end_trigger(event, records)
        if trigger is None:
            return
        unlaunched = plan.count_unlaunched(event, records)
        quota = executor.check_quota(repository, unlaunched) if unlaunched else Allowed()
        executor.process_commit(replace(event, trigger=trigger, quota=quota))
