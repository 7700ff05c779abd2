"""Supervisors that do not do their work: what keeps them from it is undone, or they are ended.

A command runs as the same user as its supervisor. It can stop it, trace it, or have it wait for
ever for a file that it made a pipe; a dead disk can as well. Such a supervisor ends its run neither
at its time-out nor at a cancel.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fyre.engines.local import processes, supervisor
from fyre.engines.local.fork_client import ForkServerClient
from fyre.engines.local.run_dir import RunDirectory
from fyre.engines.local.supervisor_events import SupervisorEvents
from fyre.message.value_parsers import format_duration
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT

log = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0  # seconds between two checks
ANSWER_PATIENCE = 60.0
"""Seconds for what takes a supervisor none: to be forked, to note the end of a command."""

_CHECKOUT_PATIENCE = 600.0  # seconds to remove what an earlier try left
_CLEANUP_PATIENCE = 3600.0  # seconds to remove the checkout, after the end

Ending = tuple[RunState, str]  # how a run has ended, and why


@dataclass(frozen=True, slots=True)
class _Phase:
    """The work of a supervisor, in an order in which it never goes back."""

    order: tuple[bool, bool, int, bool]
    due: float  # when it is certainly over, on the monotonic clock


class SupervisorGuard:
    """Knows by when each supervisor should be further on; the engine's lock guards all calls."""

    def __init__(
        self, grace: float, events: SupervisorEvents, fork_client: ForkServerClient
    ) -> None:
        self._events, self._fork_client = events, fork_client
        self._end_patience = grace + supervisor.LEFTOVER_LIMIT + ANSWER_PATIENCE
        self._phases: dict[str, _Phase] = {}
        self._endings: dict[str, Ending] = {}
        self._checked_at = 0.0

    def is_check_due(self) -> bool:
        """Return True, once in each interval."""
        now = time.monotonic()
        if now - self._checked_at < CHECK_INTERVAL:
            return False
        self._checked_at = now
        return True

    def check_supervisors(
        self, records: Mapping[str, RunRecord], adopted: Mapping[str, RunDirectory]
    ) -> None:
        """Have stopped supervisors go on, and end those that are overdue.

        ``adopted`` are the runs whose supervisors an earlier server started.
        """
        pids = dict(self._events.pids())
        pids.update((key, directory.supervisor_pid()) for key, directory in adopted.items())
        _resume_stopped([*pids.values(), self._fork_client.pid()])
        if self._events.has_unanswered(ANSWER_PATIENCE):
            self._fork_client.kill()
        for key, pid in pids.items():
            self._note_record(records[key])
            if pid and self._phases[key].due < time.monotonic():
                directory = adopted.get(key)
                self._end_supervisor((directory and directory.lock_holder()) or pid, records[key])

    def ending_of(self, record: RunRecord) -> Ending | None:
        """Return how a run ended whose supervisor is dead; None if its command has not begun."""
        lost = (RunState.ERROR, supervisor.LOST_REASON) if record.started_at else None
        return self._endings.get(record.run.key, lost)

    def forget_run(self, key: str) -> None:
        """Forget a run that has no supervisor any more."""
        self._phases.pop(key, None)
        self._endings.pop(key, None)

    def _note_record(self, record: RunRecord) -> None:
        """Take down what a supervisor does, if it is something new.

        A command can write what it likes there, so each run has a limited number of phases.
        """
        has_ended = record.state.is_final or record.state is RunState.UPLOADING
        tries = min(record.tries, (record.run.spec.retries or 0) + 1)
        order = (bool(record.cancelled_by), has_ended, tries, record.state is RunState.RUNNING)
        known = self._phases.get(record.run.key)
        if known is None or order > known.order:
            elapsed = 0.0 if known else _elapsed_before(record)
            due = time.monotonic() + self._patience(record, has_ended=has_ended) - elapsed
            self._phases[record.run.key] = _Phase(order, due)

    def _end_supervisor(self, pid: int, record: RunRecord) -> None:
        """Kill the supervisor of an overdue run and all that it started."""
        if record.run.key not in self._endings:
            log.warning("the supervisor of %s does not end it: it is killed", record.run.key)
        self._endings[record.run.key] = _describe_ending(record)
        started = processes.descendant_pids(pid)
        processes.kill_processes([pid], signal.SIGKILL)
        processes.kill_processes(started, signal.SIGKILL)
        processes.kill_processes_of_runs([record.run.key])

    def _patience(self, record: RunRecord, *, has_ended: bool) -> float:
        """Return how long this phase of a run may take, in seconds."""
        timeout = record.run.spec.timeout
        if has_ended:
            return _CLEANUP_PATIENCE
        if record.cancelled_by:
            return self._end_patience
        if not timeout:
            return math.inf
        if record.state is RunState.RUNNING:
            return timeout + self._end_patience
        checkout = max(timeout, supervisor.MIN_CHECKOUT_SECONDS) + _CHECKOUT_PATIENCE
        return checkout + timeout + self._end_patience  # the setup has the time-out for itself


def _resume_stopped(pids: Iterable[int | None]) -> None:
    """Have those of these processes go on that somebody stopped."""
    for pid in pids:
        if pid and processes.is_stopped(pid):
            processes.kill_processes([pid], signal.SIGCONT)


def _elapsed_before(record: RunRecord) -> float:
    """Return how long ago the command began that a supervisor of an earlier server runs."""
    timeout = record.run.spec.timeout
    if record.state is not RunState.RUNNING or record.tries > 1 or not timeout:
        return 0.0
    return min(max(time.time() - (record.started_at or math.inf), 0.0), timeout)


def _describe_ending(record: RunRecord) -> Ending:
    """Return how a run ended whose supervisor has to be killed."""
    if record.cancelled_by:
        return RunState.CANCELLED, ""
    if record.state is RunState.RUNNING:
        return RunState.FAILED, f"{TIMED_OUT}{format_duration(record.run.spec.timeout or 0)}"
    return RunState.ERROR, "its supervisor hung before the command started, and was ended"
