"""The Kubernetes engine: each run a Job, which is also its record; what is known of it is read off Job and pods.

Nothing is stored here but logs: labels and annotations say whose a Job is, what was reported, who cancelled it and
how it ended. So a receiver that is started anew, here or elsewhere, knows what the one before it knew.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fyre import policy as policies
from fyre import run as runs
from fyre.engines.kubernetes import manifests, names, observe, pods
from fyre.engines.kubernetes.api import Api, Gone, Taken
from fyre.engines.kubernetes.delivery import Delivery
from fyre.engines.kubernetes.logs import Logs, Source
from fyre.engines.kubernetes.pods import Object
from fyre.engines.kubernetes.watching import Watch
from fyre.engines.store import Store
from fyre.errors import TryAgainError, UserError
from fyre.policy import Policy
from fyre.run import Record, Run
from fyre.state import State

log = logging.getLogger(__name__)

DELETED = "its Job was deleted"
_SYNC = 60.0  # seconds for the first list
_TEND = 1.0  # seconds between two looks at what waits
_AGAIN = 5.0  # seconds until work on an ended run is tried again


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
        self._delivery, self._checkout_image = delivery, checkout_image
        self.logs = Logs(cluster, state / "live", Store(store or str(state / "logs")), log_cap)
        self._mutex = threading.RLock()
        self._jobs: dict[str, Object] = {}
        self._pods: dict[str, dict[str, Object]] = {}
        self._records: dict[str, Record] = {}
        self.hints: dict[str, str] = {}
        self._busy: set[str] = set()  # ended runs whose log is being kept, pods that code is being brought to
        self._subscribers: list[Callable[[str], None]] = []
        self._hands = ThreadPoolExecutor(max_workers=16, thread_name_prefix="kubernetes engine")
        self._closed = threading.Event()
        selector = names.selector(instance)
        spaces = policies.namespaces(policy)
        self._watches = [Watch(cluster, "jobs", space, selector, self._job_changed) for space in spaces]
        self._watches += [Watch(cluster, "pods", space, selector, self._pod_changed) for space in spaces]
        self._start()

    def launch(self, run: Run) -> bool:
        """Create the Job. False when there is one of that key."""
        with self._mutex:
            if run.key in self._records:
                return False
        profile = policies.profile_of(self.policy, run.spec)
        namespace = policies.namespace_of(self.policy, run.repository.name, profile)
        place = manifests.Place(self.instance, namespace, self._checkout_image, **self._delivery.told(run))
        body = manifests.job(run, profile, place)
        try:
            self._take_in(self.cluster.create_job(namespace, body))
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
        return self.end(key, {names.CANCELLED_BY: by})

    def end(self, key: str, why: dict[str, str]) -> bool:
        """End a run, and note in the same request why."""
        with self._mutex:
            job = self._jobs.get(key)
        if job is None:
            return False
        spec: dict[str, Any] = {"activeDeadlineSeconds": 1}
        if job["spec"].get("suspend"):
            spec["parallelism"] = 0  # a queue may yet let it in, and the deadline is asleep until then
        return self._patch(key, {"metadata": {"annotations": why}, "spec": spec})

    def records(self) -> Collection[Record]:
        """All runs whose Jobs are there."""
        with self._mutex:
            return list(self._records.values())

    def record(self, key: str) -> Record | None:
        """One run."""
        with self._mutex:
            return self._records.get(key)

    def annotate(self, key: str, *, reported: str | None = None, carried: tuple[str, ...] | None = None,
                 settled: bool = False) -> None:  # fmt: skip
        """Keep notes on the Job; once ``settled`` it may be collected after ``history``."""
        told: dict[str, str] = {}
        if reported is not None:
            told[names.REPORTED] = reported
        if carried is not None:
            told[names.CARRIED] = json.dumps(carried)
        patch: Object = {"metadata": {"annotations": told}}
        known = self._notes(key)
        if settled and names.SETTLED not in known:
            told[names.SETTLED] = "true"
            if names.OUTCOME in known:  # else the time is set when the log is kept
                patch["spec"] = {"ttlSecondsAfterFinished": int(self.policy.history)}
        if not told:
            return
        if not self._patch(key, patch):
            given = {"reported": reported, "carried": carried}
            self._note({name: value for name, value in given.items() if value is not None}, key)

    def log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """The output of all tries; of a run that has ended, all of it."""
        record = self.record(key)
        if record is None:
            raise UserError("there is no such run")
        growing = partial(self._log_grows, key) if follow or record.state.final else None
        return self.logs.read(key, (record.run.spec.retries or 0) + 1, growing)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called on every change of a record."""
        self._subscribers.append(changed)

    def close(self) -> None:
        """Stop watching; the Jobs go on."""
        if self._closed.is_set():
            return
        self._closed.set()
        for watch in self._watches:
            watch.stop()
        self.logs.close()
        self._hands.shutdown(wait=True, cancel_futures=True)
        self.cluster.close()

    def waiting(self) -> list[tuple[Record, Object, list[Object]]]:
        """The runs whose command has not ended, with their Jobs and pods."""
        with self._mutex:
            return [
                (record, self._jobs[key], list(self._pods.get(key, {}).values()))
                for key, record in self._records.items()
                if not record.state.final and key in self._jobs
            ]

    def look(self, key: str) -> None:
        """Find out anew what is known of a run, tell it, and do what follows from it."""
        with self._mutex:
            job, before = self._jobs.get(key), self._records.get(key)
            if job is None or before is None:
                return
            found = list(self._pods.get(key, {}).values())
            record = observe.record(before, job, found, self.hints.get(key, ""))
            self._records[key] = record
        if record != before:
            self._tell(key)
        self._follow(record, found)
        if record.state.final and names.OUTCOME not in pods.notes(job):
            self._do(key, partial(self._conclude, key))

    def _start(self) -> None:
        from fyre.engines.kubernetes.tending import tend

        for watch in self._watches:
            watch.start()
        for watch in self._watches:
            if not watch.synced.wait(_SYNC):
                self.close()
                raise TryAgainError(f"the API server at {self.cluster.host} gave no list within {_SYNC:.0f} s")
        for key in list(self._records):
            self.look(key)
        threading.Thread(target=tend, args=(self, self._closed, _TEND), name="kubernetes tending", daemon=True).start()

    def _take_in(self, job: Object) -> None:
        """Know a Job, unless a newer state of it is known."""
        job = pods.trimmed(job)
        key = job["metadata"]["labels"].get(names.KEY, "")
        if names.RUN not in pods.notes(job):
            log.warning("Job %s carries our labels and no run: left alone", job["metadata"]["name"])
            return
        with self._mutex:
            known = self._jobs.get(key)
            if known is not None and _version(known) > _version(job):
                return
            if key not in self._records:
                self._records[key] = Record(runs.from_json(json.loads(pods.notes(job)[names.RUN])))
            job["metadata"]["annotations"].pop(names.RUN)  # it is in the record now; there are thousands
            job["metadata"]["annotations"][names.RUN] = ""
            self._jobs[key] = job

    def _job_changed(self, event: str, job: Object) -> None:
        key = job["metadata"]["labels"].get(names.KEY, "")
        if event == "DELETED":
            self._deleted(key)
            return
        self._take_in(job)
        if self._is_up():
            self.look(key)

    def _pod_changed(self, event: str, pod: Object) -> None:
        key = pod["metadata"]["labels"].get(names.KEY, "")
        if event == "DELETED":
            pod[pods.GONE] = True
        with self._mutex:
            self._pods.setdefault(key, {})[pod["metadata"]["uid"]] = pod
        if self._is_up():
            self.look(key)

    def _deleted(self, key: str) -> None:
        """A Job is gone: forgotten where all was said about it, else an error that is still to be told."""
        with self._mutex:
            job, record = self._jobs.pop(key, None), self._records.get(key)
            self._pods.pop(key, None)
            if job is None or record is None:
                return
            if names.OUTCOME in pods.notes(job):
                del self._records[key]
                return
            if not record.state.final:
                by_us = State.CANCELLED if record.cancelled_by else State.ERROR
                self._records[key] = replace(record, state=by_us, reason=DELETED, ended_at=time.time())
        self._tell(key)

    def _met(self, run: Run, namespace: str) -> bool:
        """There is a Job of that name: ours, another's, or one that is going."""
        try:
            job = self.cluster.job(namespace, names.job(self.instance, run.key))
        except Gone as error:
            raise TryAgainError("its Job was there and is gone again") from error
        if job["metadata"].get("deletionTimestamp"):
            raise TryAgainError("an earlier Job of this run is being deleted")
        self._take_in(job)
        return False

    def _follow(self, record: Record, found: list[Object]) -> None:
        """Read the logs of what runs or ran, and bring the code to who waits for it."""
        for pod in found:
            uid = pod["metadata"]["uid"]
            if pods.started(pod) or pods.checkout_failed(pod) or pods.command(pod).get("state", {}).get("terminated"):
                container = names.CHECKOUT if pods.checkout_failed(pod) else names.COMMAND
                folder = f"{pod['metadata']['creationTimestamp']}-{uid}"
                ended = partial(self._pod_ended, record.run.key, uid)
                where = (pod["metadata"]["namespace"], pod["metadata"]["name"])
                self.logs.follow(
                    record.run.key, Source(*where, container, folder, ended), partial(self._hidden, record)
                )
            elif pods.checkout_waits(pod) and pods.GONE not in pod:
                self._do(uid, partial(self._bring, record.run, pod), once=True)

    def _bring(self, run: Run, pod: Object) -> None:
        try:
            self._delivery.bring(run, pod["metadata"]["namespace"], pod["metadata"]["name"])
        except UserError as error:
            self.end(run.key, {names.GIVEN_UP: f"checkout failed: {error.message}"})

    def _hidden(self, record: Record) -> list[bytes]:
        """The values of the run's secrets, which no log may show."""
        import base64

        profile = policies.profile_of(self.policy, record.run.spec)
        namespace = policies.namespace_of(self.policy, record.run.repository.name, profile)
        values: list[bytes] = []
        for name in dict.fromkeys((*profile.secrets, *record.run.spec.secrets)):
            try:
                found = self.cluster.secret(namespace, name)
            except (Gone, TryAgainError, UserError) as error:
                log.warning("secret %s of %s can't be struck out of its log: %s", name, record.run.key, error)
                continue
            values += [base64.b64decode(value) for value in found.values()]
        return values

    def _conclude(self, key: str) -> None:
        """An ended run: keep its log, then write its end on the Job; from then on its pods may go."""
        record = self.record(key)
        if record is None or names.OUTCOME in self._notes(key):
            return
        self.logs.wait(key, _SYNC)
        self.logs.keep(key, self.log(key))
        patch: Object = {"metadata": {"annotations": {names.OUTCOME: observe.outcome(record)}}}
        if names.SETTLED in self._notes(key):
            patch["spec"] = {"ttlSecondsAfterFinished": int(self.policy.history)}
        self._patch(key, patch)

    def _patch(self, key: str, patch: Object) -> bool:
        """Change the Job of a run; False when it is gone."""
        with self._mutex:
            job = self._jobs.get(key)
        if job is None:
            return False
        try:
            self._take_in(self.cluster.patch_job(job["metadata"]["namespace"], job["metadata"]["name"], patch))
        except Gone:
            self._deleted(key)
            return False
        self.look(key)
        return True

    def _note(self, given: dict[str, Any], key: str) -> None:
        with self._mutex:
            if key in self._records:
                self._records[key] = replace(self._records[key], **given)

    def _notes(self, key: str) -> dict[str, str]:
        with self._mutex:
            job = self._jobs.get(key)
        return pods.notes(job) if job is not None else {}

    def _pod_ended(self, key: str, uid: str) -> bool:
        with self._mutex:
            pod = self._pods.get(key, {}).get(uid)
        return pod is None or pods.finished(pod)

    def _log_grows(self, key: str) -> bool:
        record = self.record(key)
        if record is None or self._closed.is_set():
            return False
        return not record.state.final or self.logs.reading(key)

    def _do(self, name: str, work: Callable[[], None], *, once: bool = False) -> None:
        """Work that takes requests, away from the watching threads; one of a name at a time, again after trouble."""
        with self._mutex:
            if name in self._busy or self._closed.is_set():
                return
            self._busy.add(name)

        def do() -> None:
            done = False
            try:
                work()
                done = True
            except TryAgainError as error:
                log.warning("tried again later: %s", error)
                self._closed.wait(_AGAIN)
            except Exception:
                # Trouble with one run is that run's: it is looked at again when something changes.
                log.exception("%s met a bug", name)
            if not (done and once):
                with self._mutex:
                    self._busy.discard(name)

        self._hands.submit(do)

    def _is_up(self) -> bool:
        return all(watch.synced.is_set() for watch in self._watches)

    def _tell(self, key: str) -> None:
        for changed in list(self._subscribers):
            try:
                changed(key)
            except Exception:  # theirs to mend; the others are told, and the runs watched
                log.exception("a subscriber failed on %s", key)


def _version(thing: Object) -> int:
    """Comparable since Kubernetes 1.35 by contract, and before by how etcd counts."""
    return int(thing["metadata"]["resourceVersion"])
