"""A monitor of runs that wait or take too long.

It takes the reason of a wait from pod conditions or events, and ends a run that exceeds the queue
limit, the grace of an image, or its timeout.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from fyre.engines.kubernetes import api_errors, job_hold, job_labels, pod_facts, run_status
from fyre.engines.kubernetes.logs.log_collector import LogCollector
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.outputs import run_outputs
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.engines.kubernetes.work_queue import WorkQueue
from fyre.errors import TransientError, UserError
from fyre.message import value_parsers
from fyre.runs.policy import Policy
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT

log = logging.getLogger(__name__)

EVENTS_INTERVAL = 10.0
"""Seconds between two requests for the events of a run; the first comes after half of that."""

SCAN_INTERVAL = 1.0
"""Seconds between two scans of all runs that wait."""

OVERDUE_SECONDS = 120.0
"""Seconds past its timeout after which a command is ended from outside.

That is longer than any grace period should be.
"""

LOST_SECONDS = 60.0
"""Seconds past its deletion after which a pod counts as lost with its node.

A kubelet that works needs some to end the containers; our clock may differ from the API server's.
"""

_CLEAN_INTERVAL, _PRUNE_INTERVAL = 60.0, 3600.0


def run_monitor(monitor: PendingMonitor, stopped: threading.Event) -> None:
    """Scan all waiting runs, again and again, until ``stopped``."""
    while not stopped.wait(SCAN_INTERVAL):
        try:
            monitor.scan_pending()
        except Exception:
            # A scan that fails must not be the last one.
            log.exception("the waiting runs could not be scanned")


class PendingMonitor:
    """Remembers since when runs are stuck; that begins anew with the receiver."""

    def __init__(
        self,
        object_cache: ObjectCache,
        work: WorkQueue,
        log_collector: LogCollector,
        policy: Policy,
        *,
        list_events: Callable[[str, str], list[KubeObject]],  # of a namespace and an object's uid
        # Ends the run of a key, and annotates its Job with the reason.
        terminate_run: Callable[[str, dict[str, str]], object],
        reconcile_run: Callable[[str], object],  # derives the record of a key anew
    ) -> None:
        self._object_cache, self._work = object_cache, work
        self._log_collector, self._policy = log_collector, policy
        self._list_events = list_events
        self._terminate_run, self._reconcile_run = terminate_run, reconcile_run
        self._stuck_since: dict[str, float] = {}
        self._events_read_at: dict[str, float] = {}
        # The uid of the pod, and since when it was seen to run.
        self._running_since: dict[str, tuple[str, float]] = {}
        self._overdue_since: dict[str, float] = {}
        self._refused: dict[str, bool] = {}  # the events say that it can never be let in
        self._next_clean_at = self._next_prune_at = 0.0

    def scan_pending(self) -> None:
        """Check each run that has not ended."""
        self._work.run_due()
        waiting = self._object_cache.list_unfinished()
        keys = {record.run.key for record, _, _ in waiting}
        self._schedule_cleanup(keys)
        for by_key in (
            self._stuck_since,
            self._events_read_at,
            self._running_since,
            self._overdue_since,
            self._refused,
        ):
            for ended_key in by_key.keys() - keys:
                del by_key[ended_key]
        for record, job, run_pods in waiting:
            try:
                self._check_run(record, job, run_pods)
            except (TransientError, UserError) as error:
                log.warning("%s: %s", record.run.key, error)

    def _schedule_cleanup(self, unfinished_keys: set[str]) -> None:
        """Have old logs removed, by the work queue: an archive may take minutes to fail."""
        if time.monotonic() >= self._next_clean_at:
            self._next_clean_at = time.monotonic() + _CLEAN_INTERVAL
            remove_files = self._log_collector.remove_archived_files
            self._work.submit("clean", partial(remove_files, _CLEAN_INTERVAL, unfinished_keys))
        if time.monotonic() >= self._next_prune_at:
            self._next_prune_at = time.monotonic() + _PRUNE_INTERVAL
            oldest = time.time() - self._policy.history
            self._object_cache.forget_ended_before(oldest)
            prune_archive = self._log_collector.prune_archive
            self._work.submit("prune", partial(prune_archive, oldest))

    def _check_run(self, record: RunRecord, job: KubeObject, run_pods: list[KubeObject]) -> None:
        """End a run that has waited too long; a held run may wait for any time."""
        key, now = record.run.key, time.time()
        if record.state is RunState.WAITING:
            return
        is_ending = bool(
            record.cancelled_by or job_labels.GIVEN_UP_ANNOTATION in pod_facts.get_annotations(job)
        )
        self._check_lost(record, job, run_pods, is_ending=is_ending)
        if is_ending or record.state is RunState.UPLOADING:
            return
        running = [pod for pod in pod_facts.active_pods(run_pods) if pod_facts.has_started(pod)]
        if running:
            # A pod that is being deleted has its own grace, and may be uploading.
            if pod_facts.gone_by(running[-1]) is None:
                self._enforce_timeout(record, running[-1]["metadata"]["uid"])
            return
        stuck = run_status.find_stuck_reason(run_pods)
        if stuck is None and not job["spec"].get("suspend"):
            stuck = self._reason_from_events(record, job, run_pods)
        if stuck is not None and stuck.permanent:
            since = self._stuck_since.setdefault(key, now)
            if now - since >= self._policy.image_grace:
                self._terminate_run(key, {job_labels.GIVEN_UP_ANNOTATION: stuck.reason})
            return
        self._stuck_since.pop(key, None)
        since = _waits_since(record, job, run_pods, now + self._policy.max_clock_skew)
        if now - since > self._policy.queue_limit:
            waited = value_parsers.format_duration(now - since)
            reason = f"gave up after {waited} in the queue: {record.reason}"
            self._terminate_run(key, {job_labels.GIVEN_UP_ANNOTATION: reason})

    def _check_lost(
        self, record: RunRecord, job: KubeObject, run_pods: list[KubeObject], *, is_ending: bool
    ) -> None:
        """End a run whose pod should have been gone long ago, but whose node reports nothing.

        The Job makes no other pod before that one is gone, and the node may never come back. A run
        whose command was not started waits for that: it is not over.
        """
        key, now = record.run.key, time.time()
        active = pod_facts.active_pods(run_pods)
        if record.state is RunState.UPLOADING:
            active = pod_facts.nonterminal_pods(run_pods)
        overdue = [pod for pod in active if _is_overdue(pod, run_outputs.upload_seconds(job), now)]
        if not overdue or len(overdue) < len(active):
            self._overdue_since.pop(key, None)
            return
        since = self._overdue_since.setdefault(key, time.monotonic())
        if time.monotonic() - since < LOST_SECONDS:
            return
        if not is_ending and record.state is not RunState.UPLOADING:
            if not any(map(pod_facts.has_started, overdue)):
                return
            # First, so that no Job goes on whose run was told to be over.
            reason = run_status.LOST_NODE
            self._terminate_run(key, {job_labels.GIVEN_UP_ANNOTATION: reason})
        for pod in overdue:
            self._object_cache.mark_lost(key, pod["metadata"]["uid"])
        self._reconcile_run(key)

    def _enforce_timeout(self, record: RunRecord, pod_uid: str) -> None:
        """End a run far past its timeout: a command can kill the watcher that shares its container.

        This goes by our own clock alone: the node's may differ, and the pod has a deadline of its
        own.
        """
        key, timeout = record.run.key, record.run.spec.timeout
        if self._running_since.get(key, ("", 0.0))[0] != pod_uid:
            self._running_since[key] = pod_uid, time.monotonic()
        # The container begins with the setup, and each command of that has the same timeout.
        longest = (timeout or 0) * (1 + len(record.run.spec.setup)) + OVERDUE_SECONDS
        if timeout and time.monotonic() - self._running_since[key][1] > longest:
            reason = f"{TIMED_OUT}{value_parsers.format_duration(timeout)}"
            self._terminate_run(key, {job_labels.GIVEN_UP_ANNOTATION: reason})

    def _reason_from_events(
        self, record: RunRecord, job: KubeObject, run_pods: list[KubeObject]
    ) -> run_status.StuckReason | None:
        """Return what events say of a Job without a pod, or of a pod without a container."""
        key, now = record.run.key, time.time()
        pods = pod_facts.nonterminal_pods(run_pods)
        if pods and not run_status.is_creating_containers(pods):
            self._update_hint(key, "")
            return None
        if now - self._events_read_at.setdefault(key, now - EVENTS_INTERVAL / 2) >= EVENTS_INTERVAL:
            self._events_read_at[key] = now
            metadata = (pods[-1] if pods else job)["metadata"]
            events = self._list_events(metadata["namespace"], metadata["uid"])
            outdated = ("FailedScheduling",) if pods else ()  # the pod has its node by now
            warnings = [
                event
                for event in events
                if event.get("type") == "Warning" and event.get("reason") not in outdated
            ]
            self._refused[key] = bool(warnings) and _is_refusal(warnings[-1])
            self._update_hint(key, _event_message(warnings[-1]) if warnings else "")
        hint = self._object_cache.get_event_hint(key)
        is_refused = self._refused.get(key, False)
        return run_status.StuckReason(hint, permanent=is_refused) if hint else None

    def _update_hint(self, key: str, hint: str) -> None:
        if self._object_cache.set_event_hint(key, hint):
            self._reconcile_run(key)


def _is_overdue(pod: KubeObject, upload_seconds: float, now: float) -> bool:
    """Return True if a pod should be gone by now.

    It has the time of its upload besides: of a pod that is being deleted, the end of the command is
    reported with that of the upload. Where the node does not answer, nothing is uploaded.
    """
    gone_by = pod_facts.gone_by(pod)
    spared = upload_seconds if pod_facts.is_node_silent(pod) else 0.0
    return gone_by is not None and gone_by - spared < now


def _waits_since(
    record: RunRecord, job: KubeObject, run_pods: list[KubeObject], latest: float
) -> float:
    """Return since when a run waits: its launch, its release, or the end of an earlier try.

    A time after ``latest`` is not believed: the run would wait until then without a limit. A node
    may have told it whose clock is wrong, or somebody who may change the Job.
    """
    created_at = pod_facts.parse_time(job["metadata"].get("creationTimestamp"))
    earlier_ends = map(pod_facts.command_ended_at, run_pods)
    times = (created_at, record.run.created_at, job_hold.released_at(job), *earlier_ends)
    return max((time for time in times if time is not None and time <= latest), default=latest)


def _event_message(event: KubeObject) -> str:
    """Return an event's message from where it begins to say why.

    The names of pods before that mean nothing to anybody.
    """
    message = pod_facts.to_one_line(event.get("message", ""))
    known = api_errors.broken_webhook_text(message) or pod_facts.denial_text(message)
    return known or f"{event.get('reason', '')}: {pod_facts.shorten_error_chain(message)}"


def _is_refusal(event: KubeObject) -> bool:
    """Return True if it can't pass without a change by somebody.

    A quota can, even one that is named "denied-to-others", a webhook that gives no answer, and so
    may everything that is not refused.
    """
    message = str(event.get("message", ""))
    if api_errors.is_transient_denial(message) or api_errors.broken_webhook_text(message):
        return False
    is_refused = any(word in message for word in ("violates", "denied", "forbidden"))
    return is_refused or event.get("reason") == "FailedMount"
