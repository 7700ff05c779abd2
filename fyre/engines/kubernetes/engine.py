"""The Kubernetes engine: each run a Job, which is also its record; what is known of it is read off Job and pods.

Nothing is stored here but logs: labels and annotations say whose a Job is, what was reported, who cancelled it and
how it ended. So a receiver that is started anew, here or elsewhere, knows what the one before it knew.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from fyre.engines.kubernetes import job_labels, job_manifest, pending_monitor, pod_facts, run_status
from fyre.engines.kubernetes.api_client import Api, DeniedError, Gone, Taken
from fyre.engines.kubernetes.code_delivery import Delivery
from fyre.engines.kubernetes.informer import Watch
from fyre.engines.kubernetes.log_collector import Logs, Source
from fyre.engines.kubernetes.object_cache import Known
from fyre.engines.kubernetes.pod_facts import Object
from fyre.engines.kubernetes.work_queue import WorkQueue
from fyre.engines.log_store import Store
from fyre.engines.subscribers import Subscribers
from fyre.errors import TryAgainError, UserError
from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.run import Record, Run

_SYNC = 60.0  # seconds for the first list
_READ = 5.0  # seconds for the rest of a log, before somebody else has a turn

_AT_ONCE = {"activeDeadlineSeconds": 1}
_NO_MORE = {"activeDeadlineSeconds": 1, "parallelism": 0}
"""For a Job that is suspended: a queue may yet let it in, and the deadline is asleep until then."""


class KubernetesEngine:
    """Runs commands as Jobs of one cluster, in the policy's namespaces. Thread-safe."""

    name = "kubernetes"

    def __init__(
        self,
        cluster: Api,
        state: Path,
        *,
        policy: Policy,
        delivery: Delivery,
        instance: str = "fyre",
        checkout_image: str = "",  # "" for the run's own
        store: str = "",  # URL of the logs; "" for a folder in ``state``
        log_cap: int = 64 * 1024 * 1024,  # bytes a try
    ) -> None:
        """List what there is, and watch it. Raises ``UserError`` or ``TryAgainError`` when that can't be done."""
        self.cluster, self.policy, self.instance = cluster, policy, instance
        self.known = Known()
        self.logs = Logs(cluster, state / "live", Store(store or str(state / "logs")), log_cap)
        self._delivery, self._checkout_image = delivery, checkout_image
        self._brought: set[str] = set()  # uids of pods that have their code
        self._subscribers = Subscribers()
        self.work = WorkQueue()
        self._closed = threading.Event()
        self._watches = [
            Watch(cluster, kind, space, job_labels.selector(instance), changed)
            for space in policies.namespaces(policy)
            for kind, changed in (("jobs", self._job_changed), ("pods", self._pod_changed))
        ]
        self._start()

    def launch(self, run: Run) -> bool:
        """Create the Job. False when there is one of that key."""
        if self.record(run.key) is not None:
            return False
        profile = policies.profile_of(self.policy, run.spec)
        namespace = policies.namespace_of(self.policy, run.repository.name, profile)
        place = job_manifest.Place(
            self.instance, namespace, self._checkout_image, **self._delivery.told(run)
        )
        try:
            self.known.take_job(
                self.cluster.create_job(namespace, job_manifest.job(run, profile, place))
            )
        except Taken:
            return self._met(run, namespace)
        return True

    def cancel(self, key: str, by: str) -> bool:
        """Have Kubernetes end it, by a deadline of one second; never a delete, which would forget the run."""
        record = self.record(key)
        if record is None or record.state.final:
            return False
        if record.cancelled_by:
            return True
        return self.end(key, {job_labels.CANCELLED_BY: by})

    def end(self, key: str, why: dict[str, str]) -> bool:
        """End a run, and note in the same request why."""
        job = self.known.job(key)
        if job is None:
            return False
        spec = _NO_MORE if job["spec"].get("suspend") else _AT_ONCE
        return self._patch(key, {"metadata": {"annotations": why}, "spec": spec})

    def records(self) -> Collection[Record]:
        """All runs whose Jobs are there."""
        return self.known.records()

    def record(self, key: str) -> Record | None:
        """One run."""
        return self.known.record(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        settled: bool = False,
    ) -> None:
        """Keep notes on the Job; once ``settled``, and its log kept, it may be collected after ``history``."""
        told: dict[str, str] = {}
        if reported is not None:
            told[job_labels.REPORTED] = reported
        if carried is not None:
            told[job_labels.CARRIED] = json.dumps(carried)
        known = self._notes(key)
        if settled and job_labels.SETTLED not in known:
            told[job_labels.SETTLED] = "true"
        if told and not self._patch(key, self._collectable(told, {**known, **told})):
            given = {"reported": reported, "carried": carried}
            self.known.note(
                key, **{name: value for name, value in given.items() if value is not None}
            )

    def log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """The output of all tries; of a run that has ended, all of it."""
        record = self.record(key)
        if record is None:
            raise UserError("there is no such run")
        growing = partial(self._log_grows, key) if follow or record.state.final else None
        return self.logs.read(key, (record.run.spec.retries or 0) + 1, growing)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called on every change of a record."""
        self._subscribers.add(changed)

    def close(self) -> None:
        """Stop watching; the Jobs go on."""
        if self._closed.is_set():
            return
        self._closed.set()
        for watch in self._watches:
            watch.stop()
        self.logs.close()
        self.work.close()
        self.cluster.close()

    def look(self, key: str) -> None:
        """Find out anew what is known of a run, tell it, and do what follows from it."""
        seen = self.known.refresh(key)
        if seen is None:
            return
        before, record, job, found = seen
        if record != before:
            self._subscribers.tell(key)
        if job_labels.OUTCOME in pod_facts.notes(job):  # its log is kept, its end written down
            if (
                job_labels.SETTLED in pod_facts.notes(job)
                and "ttlSecondsAfterFinished" not in job["spec"]
            ):
                # The marks were written at the same time, and neither request knew of the other's.
                self.work.submit(
                    f"{key} is done",
                    partial(self._patch, key, self._collectable({}, pod_facts.notes(job))),
                )
            return
        for pod in found:
            self._look_after(record, pod)
        if record.state.final:
            self.work.submit(key, partial(self._conclude, key))
        elif self.known.is_in_doubt(key):
            self.work.submit(
                f"pods of {key}", partial(self._ask_for_pods, key, job["metadata"]["namespace"])
            )

    def _start(self) -> None:
        for watch in self._watches:
            watch.start()
        for watch in self._watches:
            if not watch.synced.wait(_SYNC):
                self.close()
                raise TryAgainError(
                    f"the API server at {self.cluster.host} gave no list within {_SYNC:.0f} s"
                )
        for record in self.records():
            self.look(record.run.key)
        threading.Thread(
            target=pending_monitor.tend,
            args=(self, self._closed),
            name="kubernetes tending",
            daemon=True,
        ).start()

    def _job_changed(self, event: str, job: Object) -> None:
        if event == "DELETED":
            if self.known.holds(job):
                self._lost(job["metadata"]["labels"][job_labels.KEY])
        elif not self.known.has(job):  # our own request's answer was first
            self._look_if_up(self.known.take_job(job))

    def _pod_changed(self, event: str, pod: Object) -> None:
        self._look_if_up(self.known.take_pod(pod, gone=event == "DELETED"))

    def _look_if_up(self, key: str) -> None:
        """Until all was listed there is nothing to conclude: the pods of a Job may be in the next answer."""
        if all(watch.synced.is_set() for watch in self._watches):
            self.look(key)

    def _lost(self, key: str) -> None:
        """A Job is gone. Where its end was not written yet, it is told, and what there is of its log is kept."""
        if self.known.lose_job(key):
            self._subscribers.tell(key)
            self.work.submit(key, partial(self._conclude, key))

    def _met(self, run: Run, namespace: str) -> bool:
        """There is a Job of that name: the run's own, or one that is going."""
        try:
            job = self.cluster.job(namespace, job_labels.job(self.instance, run.key))
        except Gone as error:
            raise TryAgainError("its Job was there and is gone again") from error
        if job["metadata"].get("deletionTimestamp"):
            raise TryAgainError("an earlier Job of this run is being deleted")
        if not self.known.take_job(job):
            raise UserError(f"Job {job['metadata']['name']} is there and is not this run's")
        return False

    def _ask_for_pods(self, key: str, namespace: str) -> None:
        """A Job has ended, and by what is known of its pods it has not: their watch may be behind, or broken."""
        selector = f"{job_labels.selector(self.instance)},{job_labels.KEY}={key}"
        self.known.take_all_pods(key, self.cluster.pods(namespace, selector))
        self.look(key)

    def _look_after(self, record: Record, pod: Object) -> None:
        """Read the log of what runs or ran; bring the code to who waits for it."""
        key, about = record.run.key, pod["metadata"]
        if pod_facts.has_output(pod):
            container = (
                job_labels.CHECKOUT if pod_facts.checkout_failed(pod) else job_labels.COMMAND
            )
            folder = f"{about['creationTimestamp']}-{about['uid']}"
            ended = partial(self._pod_ended, key, about["uid"])
            silent = container == job_labels.COMMAND and not pod_facts.started(
                pod
            )  # it could not be started
            over = partial(self._is_over, key)
            source = Source(
                about["namespace"], about["name"], container, folder, ended, over=over, whole=silent
            )
            self.logs.follow(key, source, partial(self._hidden, pod))
        elif pod_facts.checkout_waits(pod) and pod_facts.GONE not in pod:
            self.work.submit(about["uid"], partial(self._bring, record.run, about))

    def _bring(self, run: Run, about: Object) -> None:
        """Bring the code to a pod, unless it has gone on meanwhile."""
        pod = self.known.pod(run.key, about["uid"])
        if (
            pod is None
            or not pod_facts.checkout_waits(pod)
            or pod_facts.GONE in pod
            or about["uid"] in self._brought
        ):
            return
        try:
            self._delivery.bring(run, about["namespace"], about["name"])
            self._brought.add(about["uid"])
        except Gone:
            return
        except UserError as error:
            self.end(run.key, {job_labels.GIVEN_UP: f"checkout failed: {error.message}"})

    def _hidden(self, pod: Object) -> list[bytes]:
        """The values of a pod's secrets as they were when it began. Raises ``DeniedError``, ``TryAgainError``."""
        began = pod_facts.started_at(pod) or time.time()
        values: list[bytes] = []
        for name in pod["spec"].get(pod_facts.SECRETS, []):
            try:
                found, changed_at = self.cluster.secret(pod["metadata"]["namespace"], name)
            except Gone as error:  # the command began with a value of it
                raise DeniedError(
                    f"secret {name} is gone, so its values can't be struck out"
                ) from error
            if changed_at > began + 1:  # whole seconds
                raise DeniedError(
                    f"secret {name} was changed meanwhile, so its values can't be struck out"
                )
            values += [base64.b64decode(value) for value in found.values()]
        return values

    def _conclude(self, key: str) -> None:
        """An ended run: keep its log, then write its end on the Job; from then on its pods may go."""
        record, known = self.record(key), self._notes(key)
        if record is None or job_labels.OUTCOME in known:
            return
        is_read = self.logs.wait(key, _READ)
        if (
            self._closed.is_set()
        ):  # which ended the reading: whoever comes next reads on, and keeps all of it
            return
        if not is_read:
            raise TryAgainError(f"the log of {key} is still being read")
        self.logs.keep(key, self.log(key))
        told = {job_labels.OUTCOME: run_status.outcome(record)}
        patch = self._collectable(told, {**self._notes(key), **told})
        if (
            (self.known.job(key) or {}).get("spec", {}).get("suspend")
        ):  # no queue may start it once more
            patch["spec"] = {**patch.get("spec", {}), **_NO_MORE}
        self._patch(key, patch)

    def _collectable(self, told: dict[str, str], then: dict[str, str]) -> Object:
        """The patch that writes these annotations; a Job that will have both marks may be collected in time."""
        patch: Object = {"metadata": {"annotations": told}}
        if job_labels.OUTCOME in then and job_labels.SETTLED in then:
            patch["spec"] = {"ttlSecondsAfterFinished": int(self.policy.history)}
        return patch

    def _patch(self, key: str, patch: Object) -> bool:
        """Change the Job of a run; False when it is gone."""
        job = self.known.job(key)
        if job is None:
            return False
        try:
            self.known.take_job(
                self.cluster.patch_job(job["metadata"]["namespace"], job["metadata"]["name"], patch)
            )
        except Gone:
            self._lost(key)
            return False
        self.look(key)
        return True

    def _notes(self, key: str) -> dict[str, str]:
        job = self.known.job(key)
        return pod_facts.notes(job) if job is not None else {}

    def _pod_ended(self, key: str, uid: str) -> bool:
        pod = self.known.pod(key, uid)
        return pod is None or pod_facts.finished(pod)

    def _is_over(self, key: str) -> bool:
        record = self.record(key)
        return record is None or record.state.final

    def _log_grows(self, key: str) -> bool:
        record = self.record(key)
        if record is None or self._closed.is_set():
            return False
        return not record.state.final or self.logs.reading(key)
