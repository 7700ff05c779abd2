"""What waits, or runs for too long, is looked at again and again: the part of the engine that
does it, on its own.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fyre.engines.kubernetes import job_labels, pending_monitor
from fyre.engines.kubernetes.logs.log_collector import LogCollector
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.pending_monitor import OVERDUE_SECONDS, PendingMonitor
from fyre.engines.kubernetes.work_queue import WorkQueue
from fyre.engines.log_store import LogStore
from fyre.runs import run as runs
from fyre.runs.policy import Policy
from tests.contract.engine import make_run
from tests.support.waiting import until

RUN = make_run(
    "a" * 40,
    "train",
    key="0123456789abcdef0123456789",
    timeout=600,
    setup=("pip install .", "make data"),
)


@dataclass
class Engine:
    """The parts of an engine that the monitor is given."""

    log_collector: LogCollector
    object_cache: ObjectCache = field(default_factory=ObjectCache)
    work: WorkQueue = field(default_factory=WorkQueue)
    policy: Policy = field(default_factory=Policy)
    ended: dict[str, dict[str, str]] = field(default_factory=dict)

    def terminate_run(self, key: str, reason_annotations: dict[str, str]) -> bool:
        self.ended[key] = reason_annotations
        return True

    def monitor(self) -> PendingMonitor:
        return PendingMonitor(
            self.object_cache,
            self.work,
            self.log_collector,
            self.policy,
            list_events=lambda *_: [],
            terminate_run=self.terminate_run,
            reconcile_run=lambda _: None,
        )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(LogCollector(None, tmp_path / "live", LogStore(str(tmp_path / "kept")), 100))  # type: ignore[arg-type] # unasked
    yield engine
    engine.work.close()


def running(engine: Engine, seconds: float, timeout: int | None) -> None:
    """The run's container began so long ago."""
    run = replace(RUN, spec=replace(RUN.spec, timeout=timeout))
    began = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        job_labels.INSTANCE_LABEL: "fyre",
        job_labels.KEY_LABEL: run.key,
        "batch.kubernetes.io/job-name": f"fyre-{run.key}",
        "batch.kubernetes.io/controller-uid": "job",
    }
    about: dict[str, Any] = {"namespace": "lab", "labels": labels, "resourceVersion": "1"}
    notes = {job_labels.RUN_ANNOTATION: json.dumps(runs.to_json(run))}
    job = {**about, "name": f"fyre-{run.key}", "uid": "job", "annotations": notes}
    engine.object_cache.upsert_job({"metadata": job, "spec": {}})
    state = {"name": job_labels.COMMAND_CONTAINER, "state": {"running": {"startedAt": began}}}
    pod = {**about, "name": "p", "uid": "u", "creationTimestamp": began}
    pod["ownerReferences"] = [{"uid": "job", "controller": True}]
    pod["finalizers"] = ["batch.kubernetes.io/job-tracking"]
    engine.object_cache.upsert_pod(
        {"metadata": pod, "spec": {}, "status": {"phase": "Running", "containerStatuses": [state]}},
        deleted=False,
    )


@pytest.mark.parametrize(
    ("seconds", "timeout", "ends"),
    [
        (
            600 + OVERDUE_SECONDS + 60,
            600,
            False,
        ),  # the setup took its time, and the command is well within its own
        (3 * 600 + OVERDUE_SECONDS + 60, 600, True),
        (1e6, None, False),
    ],
)
@pytest.mark.parametrize("ahead", [0, 86400])  # by so many seconds the node's clock is behind ours
def test_what_is_far_past_its_timeout_is_ended_from_outside(  # noqa: PLR0917 - parameters
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
    seconds: float,
    timeout: int | None,
    ends: bool,
) -> None:
    running(engine, ahead, timeout)
    monitor = engine.monitor()
    monitor.scan_pending()
    assert engine.ended == {}
    later = time.monotonic() + seconds
    monkeypatch.setattr(
        pending_monitor, "time", SimpleNamespace(monotonic=lambda: later, time=time.time)
    )
    monitor.scan_pending()
    assert engine.ended == (
        {RUN.key: {job_labels.GIVEN_UP_ANNOTATION: "timed out after 10m 00s"}} if ends else {}
    )


def seen_job(
    engine: Engine, *, age: float, created: datetime | None = None, **annotations: str
) -> None:
    """A suspended Job of a run that was launched so many seconds ago."""
    run = replace(RUN, created_at=time.time() - age)
    labels = {job_labels.INSTANCE_LABEL: "fyre", job_labels.KEY_LABEL: run.key}
    notes = {job_labels.FYRE_PREFIX + name.replace("_", "-"): t for name, t in annotations.items()}
    metadata: dict[str, Any] = {
        "namespace": "lab",
        "name": f"fyre-{run.key}",
        "labels": labels,
        "resourceVersion": "1",
        "uid": "job",
        "annotations": {job_labels.RUN_ANNOTATION: json.dumps(runs.to_json(run)), **notes},
        **({"creationTimestamp": created.isoformat()} if created else {}),
    }
    engine.object_cache.upsert_job({"metadata": metadata, "spec": {"suspend": True}})


def test_a_held_run_waits_for_any_time(engine: Engine) -> None:
    seen_job(engine, age=1e7, held="needs prep")
    engine.monitor().scan_pending()
    assert engine.ended == {}


@pytest.mark.parametrize(("seconds_ago", "ends"), [(60, False), (90_000, True)])
def test_the_time_in_the_queue_begins_with_the_release(
    engine: Engine, seconds_ago: float, ends: bool
) -> None:
    released_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    seen_job(engine, age=1e7, released_at=released_at.isoformat())
    engine.monitor().scan_pending()
    texts = [text for notes in engine.ended.values() for text in notes.values()]
    assert [text.partition(" in ")[0] for text in texts] == (
        ["gave up after 1d 1h"] if ends else []
    )


NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)


@pytest.mark.parametrize("told", ["release", "launch", "end of a try"])
def test_9_30a_a_time_in_the_future_puts_off_no_queue_limit(engine: Engine, told: str) -> None:
    if told == "release":
        seen_job(engine, age=1e7, released_at=NEXT_YEAR.isoformat())
    elif told == "launch":
        seen_job(engine, age=-1e7, created=datetime.now(UTC) - timedelta(days=100))
    else:
        seen_job(engine, age=1e7)
        ended_pod(engine, NEXT_YEAR)
    engine.monitor().scan_pending()
    assert RUN.key in engine.ended


def ended_pod(engine: Engine, end: datetime) -> None:
    """A pod of that Job, whose node told that its command failed then."""
    labels = {
        job_labels.INSTANCE_LABEL: "fyre",
        job_labels.KEY_LABEL: RUN.key,
        "batch.kubernetes.io/job-name": f"fyre-{RUN.key}",
        "batch.kubernetes.io/controller-uid": "job",
    }
    metadata = {"namespace": "lab", "name": "p", "uid": "u", "labels": labels}
    metadata |= {"creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"}
    metadata["ownerReferences"] = [{"uid": "job", "controller": True}]
    end_state = {"terminated": {"exitCode": 1, "finishedAt": end.isoformat()}}
    state = {"name": job_labels.COMMAND_CONTAINER, "state": end_state}
    status = {"phase": "Failed", "containerStatuses": [state]}
    engine.object_cache.upsert_pod(
        {"metadata": metadata, "spec": {}, "status": status}, deleted=False
    )


def test_a_store_that_gives_no_answer_keeps_nothing_else_waiting(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()
    (tmp_path / "live" / "old").mkdir()
    os.utime(tmp_path / "live" / "old", (0, 0))
    monkeypatch.setattr(LogStore, "has_log", lambda *_: (asked.set(), answer.wait(60))[1])
    looking = threading.Thread(target=engine.monitor().scan_pending)
    looking.start()
    try:
        assert asked.wait(30)
        until(lambda: not looking.is_alive(), 30)
    finally:
        answer.set()
        looking.join()


@pytest.mark.parametrize(
    ("event", "hint", "passes"),
    [
        ('Error creating: pods "p" is forbidden: exceeded quota: few', "exceeded quota: few", True),
        (
            "is forbidden: exceeded quota: denied-to-others",
            "exceeded quota: denied-to-others",
            True,
        ),
        (
            'pods "p" is forbidden: status unknown for quota: few, resources: pods',
            "status unknown for quota: few, resources: pods",
            True,
        ),
        (
            (
                'Error creating: Internal error occurred: failed calling webhook "w"'
                ': failed to call webhook: Post "https://w.lab.svc:443/": access is forbidden'
            ),
            'admission webhook "w" does not work: access is forbidden',
            True,
        ),
        (
            'pods "p" is forbidden: violates PodSecurity "restricted"',
            'violates PodSecurity "restricted"',
            False,
        ),
        (
            'pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 4',
            "maximum cpu usage per Container is 1, but limit is 4",
            False,
        ),
        (
            "pods is forbidden: ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no!",
            "no!",
            False,
        ),
        ('admission webhook "w" denied the request: no', "no", False),
        ("Internal error occurred", "FailedCreate: Internal error occurred", True),
    ],
)
def test_9_26_a_quota_passes_whatever_its_name_and_what_is_refused_does_not(
    event: str, hint: str, passes: bool
) -> None:
    said = {"reason": "FailedCreate", "message": event}
    told = pending_monitor._event_message(said)
    assert (told, not pending_monitor._is_refusal(said)) == (hint, passes)


@pytest.mark.parametrize(
    ("left", "is_silent", "is_overdue"),
    [(500.0, False, False), (500.0, True, True), (700.0, True, False), (-1.0, False, True)],
)
def test_10_a_pod_that_is_going_has_the_time_of_its_upload(
    left: float, is_silent: bool, is_overdue: bool
) -> None:
    """Of such a pod the end of its command is not reported before that of its upload."""
    conditions = [("Ready", "False"), ("ContainersReady", "True")] if is_silent else []
    gone_by = datetime.fromtimestamp(time.time() + left, UTC).isoformat()
    pod = {
        "metadata": {"deletionTimestamp": gone_by},
        "status": {"conditions": [{"type": kind, "status": one} for kind, one in conditions]},
    }
    assert pending_monitor._is_overdue(pod, 600.0, time.time()) is is_overdue
    assert not pending_monitor._is_overdue({"metadata": {}}, 600.0, time.time())
