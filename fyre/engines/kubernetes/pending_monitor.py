"""Runs that wait: why, in the words of events where pods can't say, and for how long that is put up with."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from fyre.engines.kubernetes import job_labels, pod_facts, run_status
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.errors import TransientError, UserError
from fyre.message import notation
from fyre.runs.run import RunRecord
from fyre.runs.status_text import TIMED_OUT

if TYPE_CHECKING:
    from fyre.engines.kubernetes.engine import KubernetesEngine

log = logging.getLogger(__name__)

EVENTS_INTERVAL = 10.0
"""Seconds between two questions for the events of one run; the first is asked after half of that."""


SCAN_INTERVAL = 1.0
"""Seconds between two looks at all that waits."""

OVERDUE_SECONDS = 120.0
"""Seconds past its timeout after which a command is ended from outside: longer than any grace should be."""

_CLEAN_INTERVAL, _PRUNE_INTERVAL = 60.0, 3600.0


def run_monitor(engine: KubernetesEngine, stopped: threading.Event) -> None:
    """Look at all that waits, again and again, until ``closed``."""
    tender = PendingMonitor(engine)
    while not stopped.wait(SCAN_INTERVAL):
        try:
            tender.scan_pending()
        except Exception:
            # One look that fails must not be the last.
            log.exception("what waits could not be looked at")


class PendingMonitor:
    """Remembers since when a run is in trouble; that begins anew with the receiver."""

    def __init__(self, engine: KubernetesEngine) -> None:
        self._engine = engine
        self._stuck_since: dict[str, float] = {}
        self._events_read_at: dict[str, float] = {}
        self._running_since: dict[
            str, tuple[str, float]
        ] = {}  # the pod, and since when it was seen to run
        self._next_clean_at = self._next_prune_at = 0.0

    def scan_pending(self) -> None:
        """Once through all that has not ended."""
        self._engine.work.run_due()
        waiting = self._engine.object_cache.list_unfinished()
        keys = {record.run.key for record, _, _ in waiting}
        self._schedule_cleanup(keys)
        for gone in (
            self._stuck_since.keys() | self._events_read_at.keys() | self._running_since.keys()
        ) - keys:
            self._stuck_since.pop(gone, None)
            self._events_read_at.pop(gone, None)
            self._running_since.pop(gone, None)
        for record, job, found in waiting:
            try:
                self._check_run(record, job, found)
            except (TransientError, UserError) as error:
                log.warning("%s: %s", record.run.key, error)

    def _schedule_cleanup(self, unfinished_keys: set[str]) -> None:
        """Have the logs looked after, elsewhere: a store may take minutes to say that it is away."""
        if time.monotonic() >= self._next_clean_at:
            self._next_clean_at = time.monotonic() + _CLEAN_INTERVAL
            self._engine.work.submit(
                "clean",
                partial(
                    self._engine.log_collector.remove_archived_files,
                    _CLEAN_INTERVAL,
                    unfinished_keys,
                ),
            )
        if time.monotonic() >= self._next_prune_at:
            self._next_prune_at = time.monotonic() + _PRUNE_INTERVAL
            before = time.time() - self._engine.policy.history
            self._engine.object_cache.forget_ended_before(before)
            self._engine.work.submit(
                "prune", partial(self._engine.log_collector.prune_archive, before)
            )

    def _check_run(self, record: RunRecord, job: KubeObject, run_pods: list[KubeObject]) -> None:
        key, now = record.run.key, time.time()
        if record.cancelled_by or job_labels.GIVEN_UP_ANNOTATION in pod_facts.get_annotations(job):
            return
        running = [pod for pod in pod_facts.active_pods(run_pods) if pod_facts.has_started(pod)]
        if running:
            self._enforce_timeout(record, running[-1]["metadata"]["uid"])
            return
        stuck = run_status.find_stuck_reason(run_pods)
        if stuck is None and not job["spec"].get("suspend"):
            stuck = self._reason_from_events(record, job, run_pods)
        if stuck is not None and stuck.permanent:
            since = self._stuck_since.setdefault(key, now)
            if now - since >= self._engine.policy.image_grace:
                self._engine.terminate_run(key, {job_labels.GIVEN_UP_ANNOTATION: stuck.reason})
            return
        self._stuck_since.pop(key, None)
        since = max(
            [record.run.created_at, *filter(None, map(pod_facts.command_ended_at, run_pods))]
        )  # of the try before
        if now - since > self._engine.policy.queue_limit:
            waited = notation.format_duration(now - since)
            self._engine.terminate_run(
                key,
                {
                    job_labels.GIVEN_UP_ANNOTATION: f"gave up after {waited} in the queue: {record.reason}"
                },
            )

    def _enforce_timeout(self, record: RunRecord, pod_uid: str) -> None:
        """End what is far past its timeout: a command can kill the watcher that shares its container.

        By our own clock alone: the node's may be another, and the pod has a deadline of its own.
        """
        key, timeout = record.run.key, record.run.spec.timeout
        if self._running_since.get(key, ("", 0.0))[0] != pod_uid:
            self._running_since[key] = pod_uid, time.monotonic()
        # The container begins with the setup, and each command of that has the same timeout.
        most = (timeout or 0) * (1 + len(record.run.spec.setup)) + OVERDUE_SECONDS
        if timeout and time.monotonic() - self._running_since[key][1] > most:
            self._engine.terminate_run(
                key,
                {job_labels.GIVEN_UP_ANNOTATION: f"{TIMED_OUT}{notation.format_duration(timeout)}"},
            )

    def _reason_from_events(
        self, record: RunRecord, job: KubeObject, run_pods: list[KubeObject]
    ) -> run_status.StuckReason | None:
        """What events say of a Job without a pod, or of a pod without a container."""
        key, now = record.run.key, time.time()
        living = pod_facts.nonterminal_pods(run_pods)
        if living and not run_status.is_creating_containers(living):
            self._update_hint(key, "")
            return None
        if now - self._events_read_at.setdefault(key, now - EVENTS_INTERVAL / 2) >= EVENTS_INTERVAL:
            self._events_read_at[key] = now
            about = (living[-1] if living else job)["metadata"]
            events = self._engine.cluster.list_events(about["namespace"], about["uid"])
            past = ("FailedScheduling",) if living else ()  # it has its node by now
            warnings = [
                e for e in events if e.get("type") == "Warning" and e.get("reason") not in past
            ]
            self._update_hint(key, _event_message(warnings[-1]) if warnings else "")
        hint = self._engine.object_cache.get_event_hint(key)
        return run_status.StuckReason(hint, permanent=not _is_transient(hint)) if hint else None

    def _update_hint(self, key: str, hint: str) -> None:
        if self._engine.object_cache.set_event_hint(key, hint):
            self._engine.reconcile_run(key)


def _event_message(event: KubeObject) -> str:
    """An event's message from where it begins to say why: pods' own names say nothing to anybody."""
    message = pod_facts.to_one_line(event.get("message", ""))
    for begin in ("is forbidden: ", "denied the request: "):
        _, found, rest = message.partition(begin)
        if found:
            return rest
    return f"{event.get('reason', '')}: {pod_facts.shorten_error_chain(message)}"


def _is_transient(hint: str) -> bool:
    """Return True if it may pass without anybody's changing something.

    Quotas do, even one that is named "denied-to-others", and so may what is not refused.
    """
    return "exceeded quota" in hint or not ("violates" in hint or "denied" in hint or "forbidden" in hint
                                            or hint.startswith("FailedMount"))  # fmt: skip
