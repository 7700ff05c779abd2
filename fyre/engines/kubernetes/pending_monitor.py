"""Runs that wait: why, in the words of events where pods can't say, and for how long that is put up with."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from fyre.engines.kubernetes import job_labels, pod_facts, run_status
from fyre.engines.kubernetes.pod_facts import Object
from fyre.errors import TryAgainError, UserError
from fyre.message import notation
from fyre.runs.run import Record
from fyre.runs.status_text import TIMED_OUT

if TYPE_CHECKING:
    from fyre.engines.kubernetes.engine import KubernetesEngine

log = logging.getLogger(__name__)

ASK = 10.0
"""Seconds between two questions for the events of one run; the first is asked after half of that."""


EVERY = 1.0
"""Seconds between two looks at all that waits."""

OVERDUE = 120.0
"""Seconds past its timeout after which a command is ended from outside: longer than any grace should be."""

_CLEAN_EVERY, _PRUNE_EVERY = 60.0, 3600.0


def tend(engine: KubernetesEngine, closed: threading.Event) -> None:
    """Look at all that waits, again and again, until ``closed``."""
    tender = Tender(engine)
    while not closed.wait(EVERY):
        try:
            tender.look()
        except Exception:
            # One look that fails must not be the last.
            log.exception("what waits could not be looked at")


class Tender:
    """Remembers since when a run is in trouble; that begins anew with the receiver."""

    def __init__(self, engine: KubernetesEngine) -> None:
        self._engine = engine
        self._since: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._running: dict[
            str, tuple[str, float]
        ] = {}  # the pod, and since when it was seen to run
        self._clean_at = self._prune_at = 0.0

    def look(self) -> None:
        """Once through all that has not ended."""
        self._engine.work.run_due()
        waiting = self._engine.known.pending()
        keys = {record.run.key for record, _, _ in waiting}
        self._clean(keys)
        for gone in (self._since.keys() | self._asked.keys() | self._running.keys()) - keys:
            self._since.pop(gone, None)
            self._asked.pop(gone, None)
            self._running.pop(gone, None)
        for record, job, found in waiting:
            try:
                self._tend(record, job, found)
            except (TryAgainError, UserError) as error:
                log.warning("%s: %s", record.run.key, error)

    def _clean(self, pending: set[str]) -> None:
        """Have the logs looked after, elsewhere: a store may take minutes to say that it is away."""
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + _CLEAN_EVERY
            self._engine.work.submit(
                "clean", partial(self._engine.logs.clean, _CLEAN_EVERY, pending)
            )
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + _PRUNE_EVERY
            before = time.time() - self._engine.policy.history
            self._engine.known.forget(before)
            self._engine.work.submit("prune", partial(self._engine.logs.prune, before))

    def _tend(self, record: Record, job: Object, found: list[Object]) -> None:
        key, now = record.run.key, time.time()
        if record.cancelled_by or job_labels.GIVEN_UP in pod_facts.notes(job):
            return
        running = [pod for pod in pod_facts.active(found) if pod_facts.started(pod)]
        if running:
            self._bound(record, running[-1]["metadata"]["uid"])
            return
        stuck = run_status.trouble(found)
        if stuck is None and not job["spec"].get("suspend"):
            stuck = self._by_events(record, job, found)
        if stuck is not None and stuck.hopeless:
            since = self._since.setdefault(key, now)
            if now - since >= self._engine.policy.image_grace:
                self._engine.end(key, {job_labels.GIVEN_UP: stuck.reason})
            return
        self._since.pop(key, None)
        since = max(
            [record.run.created_at, *filter(None, map(pod_facts.ended_at, found))]
        )  # of the try before
        if now - since > self._engine.policy.queue_limit:
            waited = notation.text_of(now - since)
            self._engine.end(
                key, {job_labels.GIVEN_UP: f"gave up after {waited} in the queue: {record.reason}"}
            )

    def _bound(self, record: Record, uid: str) -> None:
        """End what is far past its timeout: a command can kill the watcher that shares its container.

        By our own clock alone: the node's may be another, and the pod has a deadline of its own.
        """
        key, timeout = record.run.key, record.run.spec.timeout
        if self._running.get(key, ("", 0.0))[0] != uid:
            self._running[key] = uid, time.monotonic()
        # The container begins with the setup, and each command of that has the same timeout.
        most = (timeout or 0) * (1 + len(record.run.spec.setup)) + OVERDUE
        if timeout and time.monotonic() - self._running[key][1] > most:
            self._engine.end(key, {job_labels.GIVEN_UP: f"{TIMED_OUT}{notation.text_of(timeout)}"})

    def _by_events(
        self, record: Record, job: Object, found: list[Object]
    ) -> run_status.Trouble | None:
        """What events say of a Job without a pod, or of a pod without a container."""
        key, now = record.run.key, time.time()
        living = pod_facts.living(found)
        if living and not run_status.is_waiting_for_a_container(living):
            self._hint(key, "")
            return None
        if now - self._asked.setdefault(key, now - ASK / 2) >= ASK:
            self._asked[key] = now
            about = (living[-1] if living else job)["metadata"]
            events = self._engine.cluster.events(about["namespace"], about["uid"])
            past = ("FailedScheduling",) if living else ()  # it has its node by now
            warnings = [
                e for e in events if e.get("type") == "Warning" and e.get("reason") not in past
            ]
            self._hint(key, _told(warnings[-1]) if warnings else "")
        hint = self._engine.known.hinted(key)
        return run_status.Trouble(hint, hopeless=not _passes(hint)) if hint else None

    def _hint(self, key: str, hint: str) -> None:
        if self._engine.known.hint(key, hint):
            self._engine.look(key)


def _told(event: Object) -> str:
    """An event's message from where it begins to say why: pods' own names say nothing to anybody."""
    message = pod_facts.line(event.get("message", ""))
    for begin in ("is forbidden: ", "denied the request: "):
        _, found, rest = message.partition(begin)
        if found:
            return rest
    return f"{event.get('reason', '')}: {pod_facts.short(message)}"


def _passes(hint: str) -> bool:
    """Return True if it may pass without anybody's changing something.

    Quotas do, even one that is named "denied-to-others", and so may what is not refused.
    """
    return "exceeded quota" in hint or not ("violates" in hint or "denied" in hint or "forbidden" in hint
                                            or hint.startswith("FailedMount"))  # fmt: skip
