"""The Kubernetes engine: each run a Job, which is also its record; what is known of it is read off Job and pods.

Nothing is stored here but logs: labels and annotations say whose a Job is, what was reported, who cancelled it and
how it ended. So a receiver that is started anew, here or elsewhere, knows what the one before it knew.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from fyre.engines.kubernetes import (
    job_labels,
    job_manifest,
    pending_monitor,
    pod_facts,
    pod_secrets,
    run_status,
)
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import AlreadyExists, ObjectNotFound
from fyre.engines.kubernetes.code_delivery import CodeDelivery
from fyre.engines.kubernetes.container_log import ContainerLog
from fyre.engines.kubernetes.informer import Informer
from fyre.engines.kubernetes.log_collector import LogCollector
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.engines.kubernetes.work_queue import WorkQueue
from fyre.engines.log_store import LogStore
from fyre.engines.subscribers import Subscribers
from fyre.errors import TransientError, UserError
from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.run import Run, RunRecord

_SYNC_TIMEOUT = 60.0  # seconds for the first list
_LOG_READ_TIMEOUT = 5.0  # seconds for the rest of a log, before somebody else has a turn

_END_NOW_SPEC = {"activeDeadlineSeconds": 1}
_END_SUSPENDED_SPEC = {"activeDeadlineSeconds": 1, "parallelism": 0}
"""For a Job that is suspended: a queue may yet let it in, and the deadline is asleep until then."""


class KubernetesEngine:
    """Runs commands as Jobs of one cluster, in the policy's namespaces. Thread-safe."""

    name = "kubernetes"

    def __init__(
        self,
        cluster: KubernetesClient,
        state: Path,
        *,
        policy: Policy,
        delivery: CodeDelivery,
        instance: str = "fyre",
        checkout_image: str = "",  # "" for the run's own
        log_store_url: str = "",  # URL of the logs; "" for a folder in ``state``
        log_max_bytes: int = 64 * 1024 * 1024,  # bytes a try
    ) -> None:
        """List what there is, and watch it. Raises ``UserError`` or ``TryAgainError`` when that can't be done."""
        self.cluster, self.policy, self.instance = cluster, policy, instance
        self.object_cache = ObjectCache()
        self.log_collector = LogCollector(
            cluster, state / "live", LogStore(log_store_url or str(state / "logs")), log_max_bytes
        )
        self._delivery, self._checkout_image = delivery, checkout_image
        self._delivered_pods: set[str] = set()  # uids of pods that have their code
        self._subscribers = Subscribers()
        self.work = WorkQueue()
        self._closed = threading.Event()
        self._informers = [
            Informer(cluster, kind, space, job_labels.instance_selector(instance), changed)
            for space in policies.all_namespaces(policy)
            for kind, changed in (("jobs", self._on_job_event), ("pods", self._on_pod_event))
        ]
        self._start_informers()

    def launch(self, run: Run) -> bool:
        """Create the Job. False when there is one of that key."""
        if self.get_record(run.key) is not None:
            return False
        profile = policies.select_profile(self.policy, run.spec)
        namespace = policies.select_namespace(self.policy, run.repository.name, profile)
        place = job_manifest.JobContext(
            self.instance, namespace, self._checkout_image, **self._delivery.checkout_source(run)
        )
        try:
            self.object_cache.upsert_job(
                self.cluster.create_job(namespace, job_manifest.build_job(run, profile, place))
            )
        except AlreadyExists:
            return self._check_existing_job(run, namespace)
        return True

    def cancel(self, key: str, requested_by: str) -> bool:
        """Have Kubernetes end it, by a deadline of one second; never a delete, which would forget the run."""
        record = self.get_record(key)
        if record is None or record.state.is_final:
            return False
        if record.cancelled_by:
            return True
        return self.terminate_run(key, {job_labels.CANCELLED_BY_ANNOTATION: requested_by})

    def terminate_run(self, key: str, reason_annotations: dict[str, str]) -> bool:
        """End a run, and note in the same request why."""
        job = self.object_cache.find_job(key)
        if job is None:
            return False
        spec = _END_SUSPENDED_SPEC if job["spec"].get("suspend") else _END_NOW_SPEC
        return self._patch_run_job(
            key, {"metadata": {"annotations": reason_annotations}, "spec": spec}
        )

    def list_records(self) -> Collection[RunRecord]:
        """All runs whose Jobs are there."""
        return self.object_cache.list_records()

    def get_record(self, key: str) -> RunRecord | None:
        """One run."""
        return self.object_cache.get_record(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Keep notes on the Job; once ``settled``, and its log kept, it may be collected after ``history``."""
        told: dict[str, str] = {}
        if reported is not None:
            told[job_labels.REPORTED_ANNOTATION] = reported
        if carried is not None:
            told[job_labels.CARRIED_ANNOTATION] = json.dumps(carried)
        known = self._job_annotations(key)
        if end_posted and job_labels.SETTLED_ANNOTATION not in known:
            told[job_labels.SETTLED_ANNOTATION] = "true"
        if told and not self._patch_run_job(key, self._annotation_patch(told, {**known, **told})):
            given = {"reported": reported, "carried": carried}
            self.object_cache.update_record(
                key, **{name: value for name, value in given.items() if value is not None}
            )

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """The output of all tries; of a run that has ended, all of it."""
        record = self.get_record(key)
        if record is None:
            raise UserError("there is no such run")
        growing = partial(self._is_log_growing, key) if follow or record.state.is_final else None
        return self.log_collector.read_log(key, (record.run.spec.retries or 0) + 1, growing)

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called on every change of a record."""
        self._subscribers.add_callback(on_change)

    def close(self) -> None:
        """Stop watching; the Jobs go on."""
        if self._closed.is_set():
            return
        self._closed.set()
        for watch in self._informers:
            watch.stop()
        self.log_collector.close()
        self.work.close()
        self.cluster.close()

    def reconcile_run(self, key: str) -> None:
        """Find out anew what is known of a run, tell it, and do what follows from it."""
        seen = self.object_cache.refresh_record(key)
        if seen is None:
            return
        before, record, job, found = seen
        if record != before:
            self._subscribers.notify_all(key)
        if job_labels.OUTCOME_ANNOTATION in pod_facts.get_annotations(
            job
        ):  # its log is kept, its end written down
            if (
                job_labels.SETTLED_ANNOTATION in pod_facts.get_annotations(job)
                and "ttlSecondsAfterFinished" not in job["spec"]
            ):
                # The marks were written at the same time, and neither request knew of the other's.
                self.work.submit(
                    f"{key} is done",
                    partial(
                        self._patch_run_job,
                        key,
                        self._annotation_patch({}, pod_facts.get_annotations(job)),
                    ),
                )
            return
        for pod in found:
            self._follow_log_or_deliver_code(record, pod)
        if record.state.is_final:
            self.work.submit(key, partial(self._finalize_run, key))
        elif self.object_cache.needs_pod_refresh(key):
            self.work.submit(
                f"pods of {key}", partial(self._refresh_pods, key, job["metadata"]["namespace"])
            )

    def _start_informers(self) -> None:
        for watch in self._informers:
            watch.start()
        for watch in self._informers:
            if not watch.synced.wait(_SYNC_TIMEOUT):
                self.close()
                raise TransientError(
                    f"the API server at {self.cluster.host} gave no list within {_SYNC_TIMEOUT:.0f} s"
                )
        for record in self.list_records():
            self.reconcile_run(record.run.key)
        threading.Thread(
            target=pending_monitor.run_monitor,
            args=(self, self._closed),
            name="kubernetes tending",
            daemon=True,
        ).start()

    def _on_job_event(self, event: str, job: KubeObject) -> None:
        if event == "DELETED":
            if self.object_cache.is_same_job(job):
                self._on_job_deleted(job["metadata"]["labels"][job_labels.KEY_LABEL])
        elif not self.object_cache.is_current_job(job):  # our own request's answer was first
            self._reconcile_if_synced(self.object_cache.upsert_job(job))

    def _on_pod_event(self, event: str, pod: KubeObject) -> None:
        self._reconcile_if_synced(self.object_cache.upsert_pod(pod, deleted=event == "DELETED"))

    def _reconcile_if_synced(self, key: str) -> None:
        """Until all was listed there is nothing to conclude: the pods of a Job may be in the next answer."""
        if all(watch.synced.is_set() for watch in self._informers):
            self.reconcile_run(key)

    def _on_job_deleted(self, key: str) -> None:
        """A Job is gone. Where its end was not written yet, it is told, and what there is of its log is kept."""
        if self.object_cache.remove_job(key):
            self._subscribers.notify_all(key)
            self.work.submit(key, partial(self._finalize_run, key))

    def _check_existing_job(self, run: Run, namespace: str) -> bool:
        """There is a Job of that name: the run's own, or one that is going."""
        try:
            job = self.cluster.get_job(namespace, job_labels.job_name(self.instance, run.key))
        except ObjectNotFound as error:
            raise TransientError("its Job was there and is gone again") from error
        if job["metadata"].get("deletionTimestamp"):
            raise TransientError("an earlier Job of this run is being deleted")
        if not self.object_cache.upsert_job(job):
            raise UserError(f"Job {job['metadata']['name']} is there and is not this run's")
        return False

    def _refresh_pods(self, key: str, namespace: str) -> None:
        """A Job has ended, and by what is known of its pods it has not: their watch may be behind, or broken."""
        selector = f"{job_labels.instance_selector(self.instance)},{job_labels.KEY_LABEL}={key}"
        self.object_cache.replace_pods(key, self.cluster.list_pods(namespace, selector))
        self.reconcile_run(key)

    def _follow_log_or_deliver_code(self, record: RunRecord, pod: KubeObject) -> None:
        """Read the log of what runs or ran; bring the code to who waits for it."""
        key, about = record.run.key, pod["metadata"]
        if pod_facts.has_log_output(pod):
            container = (
                job_labels.CHECKOUT_CONTAINER
                if pod_facts.has_checkout_failed(pod)
                else job_labels.COMMAND_CONTAINER
            )
            folder = f"{about['creationTimestamp']}-{about['uid']}"
            ended = partial(self._has_pod_ended, key, about["uid"])
            silent = container == job_labels.COMMAND_CONTAINER and not pod_facts.has_started(
                pod
            )  # it could not be started
            over = partial(self._has_run_ended, key)
            source = ContainerLog(
                about["namespace"],
                about["name"],
                container,
                folder,
                ended,
                has_run_ended=over,
                complete=silent,
            )
            self.log_collector.start_following(
                key, source, partial(pod_secrets.read_secret_values, self.cluster, pod)
            )
        elif pod_facts.is_checkout_running(pod) and pod_facts.DELETED_MARK not in pod:
            self.work.submit(about["uid"], partial(self._deliver_to_pod, record.run, about))

    def _deliver_to_pod(self, run: Run, pod_metadata: KubeObject) -> None:
        """Bring the code to a pod, unless it has gone on meanwhile."""
        pod = self.object_cache.find_pod(run.key, pod_metadata["uid"])
        if (
            pod is None
            or not pod_facts.is_checkout_running(pod)
            or pod_facts.DELETED_MARK in pod
            or pod_metadata["uid"] in self._delivered_pods
        ):
            return
        try:
            self._delivery.deliver_code(run, pod_metadata["namespace"], pod_metadata["name"])
            self._delivered_pods.add(pod_metadata["uid"])
        except ObjectNotFound:
            return
        except UserError as error:
            self.terminate_run(
                run.key, {job_labels.GIVEN_UP_ANNOTATION: f"checkout failed: {error.message}"}
            )

    def _finalize_run(self, key: str) -> None:
        """An ended run: keep its log, then write its end on the Job; from then on its pods may go."""
        record, known = self.get_record(key), self._job_annotations(key)
        if record is None or job_labels.OUTCOME_ANNOTATION in known:
            return
        is_read = self.log_collector.wait_until_read(key, _LOG_READ_TIMEOUT)
        if (
            self._closed.is_set()
        ):  # which ended the reading: whoever comes next reads on, and keeps all of it
            return
        if not is_read:
            raise TransientError(f"the log of {key} is still being read")
        self.log_collector.archive_log(key, self.read_log(key))
        told = {job_labels.OUTCOME_ANNOTATION: run_status.format_outcome(record)}
        patch = self._annotation_patch(told, {**self._job_annotations(key), **told})
        if (
            (self.object_cache.find_job(key) or {}).get("spec", {}).get("suspend")
        ):  # no queue may start it once more
            patch["spec"] = {**patch.get("spec", {}), **_END_SUSPENDED_SPEC}
        self._patch_run_job(key, patch)

    def _annotation_patch(
        self, new_annotations: dict[str, str], all_annotations: dict[str, str]
    ) -> KubeObject:
        """The patch that writes these annotations; a Job that will have both marks may be collected in time."""
        patch: KubeObject = {"metadata": {"annotations": new_annotations}}
        if (
            job_labels.OUTCOME_ANNOTATION in all_annotations
            and job_labels.SETTLED_ANNOTATION in all_annotations
        ):
            patch["spec"] = {"ttlSecondsAfterFinished": int(self.policy.history)}
        return patch

    def _patch_run_job(self, key: str, patch: KubeObject) -> bool:
        """Change the Job of a run; False when it is gone."""
        job = self.object_cache.find_job(key)
        if job is None:
            return False
        try:
            self.object_cache.upsert_job(
                self.cluster.patch_job(job["metadata"]["namespace"], job["metadata"]["name"], patch)
            )
        except ObjectNotFound:
            self._on_job_deleted(key)
            return False
        self.reconcile_run(key)
        return True

    def _job_annotations(self, key: str) -> dict[str, str]:
        job = self.object_cache.find_job(key)
        return pod_facts.get_annotations(job) if job is not None else {}

    def _has_pod_ended(self, key: str, uid: str) -> bool:
        pod = self.object_cache.find_pod(key, uid)
        return pod is None or pod_facts.has_finished(pod)

    def _has_run_ended(self, key: str) -> bool:
        record = self.get_record(key)
        return record is None or record.state.is_final

    def _is_log_growing(self, key: str) -> bool:
        record = self.get_record(key)
        if record is None or self._closed.is_set():
            return False
        return not record.state.is_final or self.log_collector.is_reading(key)
