"""The Kubernetes engine: each run a Job, which is also its record.

What is known of a run is read off its Job and pods. Nothing is stored by the engine but logs:
labels and annotations say whose a Job is, what was reported, who cancelled it and how it ended. So
a receiver that is started again, on this machine or another, knows what the one before it knew.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fyre.engines import run_log
from fyre.engines.kubernetes import (
    job_hold,
    job_labels,
    job_manifest,
    kubernetes_profile,
    object_cache,
    pending_monitor,
    pod_facts,
    pod_secrets,
)
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import AlreadyExists, ObjectNotFound
from fyre.engines.kubernetes.code_delivery import CodeDelivery
from fyre.engines.kubernetes.informer import Informer
from fyre.engines.kubernetes.job_signature import JobSigner
from fyre.engines.kubernetes.job_writer import JobWriter
from fyre.engines.kubernetes.logs import log_source
from fyre.engines.kubernetes.logs.log_collector import LogCollector
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.outputs.output_collector import OutputCollector
from fyre.engines.kubernetes.outputs.run_outputs import NOTHING_KNOWN
from fyre.engines.kubernetes.pending_monitor import PendingMonitor
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.engines.kubernetes.work_queue import WorkQueue
from fyre.engines.log_store import LogStore
from fyre.engines.run_log import RunLog
from fyre.engines.subscribers import Subscribers
from fyre.errors import RefusedForNowError, TransientError, UserError
from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import ALL_RUNS, RunQuery
from fyre.runs.state import RunState

_SYNC_TIMEOUT = 60.0  # seconds for the first list
_LOG_READ_TIMEOUT = 5.0  # seconds for the rest of a log, before other work gets its turn


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
        signer: JobSigner | None = None,  # None: Jobs are neither signed nor checked
        checkout_image: str = "",  # "" for the run's own image
        log_store_url: str = "",  # of the log archive; "" for a directory in ``state``
        log_max_bytes: int = 64 * 1024 * 1024,  # of each try
        outputs: OutputCollector | None = None,  # None: outputs are not kept
    ) -> None:
        """List the Jobs and pods, and watch them.

        Raises ``UserError`` or ``TransientError`` when that can't be done.
        """
        self._cluster, self._policy, self._instance = cluster, policy, instance
        self._outputs = outputs
        facts_of = outputs.facts_of if outputs else lambda _: NOTHING_KNOWN
        self._object_cache = ObjectCache(signer, facts_of)
        callbacks = {"reconcile_run": self._reconcile_run, "on_job_deleted": self._on_job_deleted}
        self._job_writer = JobWriter(
            cluster, self._object_cache, policy.history, signer, **callbacks
        )
        log_store = LogStore(log_store_url or str(state / "logs"))
        self._log_collector = LogCollector(
            cluster, state / "live", log_store, log_max_bytes, self._reconcile_run
        )
        self._delivery, self._checkout_image = delivery, checkout_image
        self._delivered_pods: set[str] = set()  # uids of pods that have their code
        self._subscribers = Subscribers()
        self._work = WorkQueue()
        self._closed = threading.Event()
        if outputs is not None:
            outputs.start(
                self._object_cache, reconcile=self._reconcile_run, submit=self._work.submit
            )
        self._informers = [
            Informer(cluster, kind, namespace, job_labels.instance_selector(instance), on_event)
            for namespace in kubernetes_profile.all_namespaces(policy)
            for kind, on_event in (("jobs", self._on_job_event), ("pods", self._on_pod_event))
        ]
        self._start_informers()

    def launch(self, run: Run, *, hold: bool = False, reason: str = "") -> bool:
        """Create the Job, suspended with ``hold``. Return False if there is one of that key."""
        if self.get_record(run.key) is not None:
            return False
        profile = policies.select_profile(self._policy, run.spec)
        namespace = kubernetes_profile.select_namespace(self._policy, run.repository.name, profile)
        source = self._delivery.checkout_source(run, hold=hold)
        upload = self._outputs.upload_target(run) if self._outputs else None
        context = job_manifest.JobContext(
            self._instance, namespace, self._checkout_image, upload=upload, **source
        )
        job = job_manifest.build_job(run, profile, context)
        manifest = job_hold.hold_job(job, reason) if hold else job
        try:
            self._job_writer.create_job(namespace, manifest)
        except AlreadyExists:
            return self._check_existing_job(run, namespace)
        return True

    def release(self, key: str) -> bool:
        """Let a held Job start, or give it to its queue. Return False if it is not held."""
        return self._job_writer.release_run(key)

    def cancel(self, key: str, requested_by: str) -> bool:
        """Have Kubernetes end the run, by a deadline of one second.

        It is never deleted: that would forget the run.
        """
        record = self.get_record(key)
        if record is None or record.state.is_final or record.state is RunState.UPLOADING:
            return False
        if record.cancelled_by:
            return True
        notes = {job_labels.CANCELLED_BY_ANNOTATION: requested_by}
        return self._job_writer.terminate_run(key, notes)

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the runs that a query selects, among those that have a Job."""
        return self._object_cache.query_runs(query)

    def get_record(self, key: str) -> RunRecord | None:
        """Return one run."""
        return self._object_cache.get_record(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Store notes on the Job.

        Once ``end_posted``, and its log archived, the Job may be collected after ``history``.
        """
        added: dict[str, str] = {}
        if reported is not None:
            added[job_labels.REPORTED_ANNOTATION] = reported
        if carried is not None:
            added[job_labels.CARRIED_ANNOTATION] = json.dumps(carried)
        present = self._job_writer.get_annotations(key)
        if end_posted and job_labels.SETTLED_ANNOTATION not in present:
            added[job_labels.SETTLED_ANNOTATION] = "true"
        if added and not self._job_writer.add_annotations(key, added):
            notes = {"reported": reported, "carried": carried}
            self._object_cache.update_record(
                key, **{name: value for name, value in notes.items() if value is not None}
            )

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the output of all tries; of a run that has ended, all of it."""
        opened, record = self.open_log(key), self.get_record(key)
        is_followed = follow or record is None or record.state.is_final
        return run_log.read_bytes(opened, follow=is_followed)

    def open_log(self, key: str) -> RunLog:
        """Return the log of all tries of a run."""
        if (record := self.get_record(key)) is None:
            raise UserError("there is no such run")
        tries = (record.run.spec.retries or 0) + 1
        return self._log_collector.open_log(key, tries, partial(self._is_log_growing, key))

    def is_archived(self, key: str) -> bool:
        """Return True if a run's end and log are stored and its statuses posted.

        Then the Job gets its time to live. A run whose Job is gone has nothing left to store.
        """
        job = self._object_cache.find_job(key)
        return job is None or pod_facts.get_annotations(job).keys() >= job_labels.END_MARKS

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Have ``on_change(key)`` called on every change of a record."""
        self._subscribers.add_callback(on_change)

    def close(self) -> None:
        """Stop watching; the Jobs go on."""
        if self._closed.is_set():
            return
        self._closed.set()
        for informer in self._informers:
            informer.stop()
        self._log_collector.close()
        self._work.close()
        self._cluster.close()

    def _reconcile_run(self, key: str) -> None:
        """Derive the record of a run anew, report a change, and do what follows from it."""
        log_trouble = self._log_collector.find_refusal(key)
        refreshed = self._object_cache.refresh_record(key, log_trouble=log_trouble)
        if refreshed is None:
            return
        previous, record, job, run_pods = refreshed
        if record != previous:
            self._subscribers.notify_all(key)
        annotations = pod_facts.get_annotations(job)
        if job_labels.OUTCOME_ANNOTATION in annotations:  # log archived, and end written down
            has_ttl = "ttlSecondsAfterFinished" in job["spec"]
            if job_labels.SETTLED_ANNOTATION in annotations and not has_ttl:
                # Both marks were written at the same time, and neither request knew of the other.
                add_ttl = partial(self._job_writer.add_annotations, key, {})
                self._work.submit(f"{key} is done", add_ttl)
            return
        for pod in run_pods:
            self._follow_log_or_deliver_code(record, pod)
        if record.state.is_final:
            if self._outputs is not None and not previous.state.is_final:
                self._outputs.close_upload(key)
            self._work.submit(key, partial(self._finalize_run, key))
        elif record.state is RunState.UPLOADING and self._outputs is not None:
            self._outputs.advance(key)
        elif self._object_cache.needs_pod_refresh(key):
            namespace = job["metadata"]["namespace"]
            self._work.submit(f"pods of {key}", partial(self._refresh_pods, key, namespace))

    def _start_informers(self) -> None:
        for informer in self._informers:
            informer.start()
        for informer in self._informers:
            if not informer.synced.wait(_SYNC_TIMEOUT):
                self.close()
                raise TransientError(
                    f"the API server at {self._cluster.host} "
                    f"gave no list within {_SYNC_TIMEOUT:.0f} s"
                )
        for record in self.query_runs(ALL_RUNS):
            self._reconcile_run(record.run.key)
        if self._outputs is not None:
            self._outputs.remove_strangers(self._object_cache.list_unarchived())
        threading.Thread(
            target=pending_monitor.run_monitor,
            args=(self._create_monitor(), self._closed),
            name="kubernetes pending monitor",
            daemon=True,
        ).start()

    def _create_monitor(self) -> PendingMonitor:
        return PendingMonitor(
            self._object_cache,
            self._work,
            self._log_collector,
            self._policy,
            list_events=self._cluster.list_events,
            terminate_run=self._job_writer.terminate_run,
            reconcile_run=self._reconcile_run,
        )

    def _on_job_event(self, event: str, job: KubeObject) -> None:
        if event == "DELETED":
            if self._object_cache.is_same_job(job):
                self._on_job_deleted(object_cache.job_key(job))
        # If this version is known, the answer to our own request came first.
        elif not self._object_cache.is_current_job(job):
            key = self._object_cache.upsert_job(job)
            if not key and self._object_cache.is_replacement(job):
                self._on_job_deleted(object_cache.job_key(job))
            self._reconcile_if_synced(key)

    def _on_pod_event(self, event: str, pod: KubeObject) -> None:
        self._reconcile_if_synced(self._object_cache.upsert_pod(pod, deleted=event == "DELETED"))

    def _reconcile_if_synced(self, key: str) -> None:
        """Reconcile a run once everything was listed.

        Before that nothing can be concluded: the pods of a Job may be in the next answer.
        """
        if all(informer.synced.is_set() for informer in self._informers):
            self._reconcile_run(key)

    def _on_job_deleted(self, key: str) -> None:
        """Handle a deleted Job.

        If its end was not written down yet, it is reported, and what there is of its log is
        archived.
        """
        if self._object_cache.remove_job(key):
            self._subscribers.notify_all(key)
            self._work.submit(key, partial(self._finalize_run, key))

    def _check_existing_job(self, run: Run, namespace: str) -> bool:
        """Take over the Job of that name if it is this run's; return False.

        Raises ``RefusedForNowError`` while it is being deleted, ``UserError`` if it is another's.
        """
        try:
            job = self._cluster.get_job(namespace, job_labels.job_name(self._instance, run.key))
        except ObjectNotFound as error:
            raise TransientError("its Job existed and is gone again") from error
        if job["metadata"].get("deletionTimestamp"):
            raise RefusedForNowError("an earlier Job of this run is being deleted")
        if not self._object_cache.upsert_job(job):
            raise UserError(f"Job {job['metadata']['name']} exists and is not this run's")
        return False

    def _refresh_pods(self, key: str, namespace: str) -> None:
        """List the pods of a Job that has ended, although its known pods have not.

        Their watch may be behind, or broken.
        """
        selector = f"{job_labels.instance_selector(self._instance)},{job_labels.KEY_LABEL}={key}"
        self._object_cache.replace_pods(key, self._cluster.list_pods(namespace, selector))
        self._reconcile_run(key)

    def _follow_log_or_deliver_code(self, record: RunRecord, pod: KubeObject) -> None:
        """Follow the log of a container that runs or ran; deliver code to a checkout that waits."""
        key, metadata = record.run.key, pod["metadata"]
        if pod_facts.has_log_output(pod):
            source = log_source.create_log_source(self._object_cache, key, pod)
            self._log_collector.start_following(
                key, source, partial(pod_secrets.read_secret_values, self._cluster, pod)
            )
        elif pod_facts.waits_for_code(pod):
            self._work.submit(metadata["uid"], partial(self._deliver_to_pod, record.run, metadata))

    def _deliver_to_pod(self, run: Run, pod_metadata: KubeObject) -> None:
        """Deliver the code to a pod, unless the pod has gone on meanwhile."""
        pod = self._object_cache.find_pod(run.key, pod_metadata["uid"])
        if pod is None or not pod_facts.waits_for_code(pod):
            return
        if self._outputs is not None and not self._outputs.may_start(run.key):
            return
        if pod_metadata["uid"] in self._delivered_pods:
            return
        try:
            depth = policies.select_profile(self._policy, run.spec).checkout.depth
            self._delivery.deliver_code(run, pod_metadata["namespace"], pod_metadata["name"], depth)
            self._delivered_pods.add(pod_metadata["uid"])
        except ObjectNotFound:
            return
        except UserError as error:
            reason = f"checkout failed: {error.message}"
            self._job_writer.terminate_run(run.key, {job_labels.GIVEN_UP_ANNOTATION: reason})

    def _finalize_run(self, key: str) -> None:
        """Archive the log of an ended run, then write its end on the Job.

        From then on its pods may go.
        """
        record = self.get_record(key)
        annotations = self._job_writer.get_annotations(key)
        if record is None or job_labels.OUTCOME_ANNOTATION in annotations:
            return
        if refusal := self._log_collector.find_refusal(key):
            raise TransientError(f"the log of {key} can't be read: {refusal}")
        is_read = self._log_collector.wait_until_read(key, _LOG_READ_TIMEOUT)
        # Closing ended the reading: the next engine reads on, and archives all of it.
        if self._closed.is_set():
            return
        if not is_read:
            raise TransientError(f"the log of {key} is still being read")
        self._log_collector.archive_log(key, self.read_log(key))
        self._job_writer.add_outcome(key, record)
        if self._outputs is not None:
            self._outputs.forget(key)

    def _is_log_growing(self, key: str) -> bool:
        record = self.get_record(key)
        if record is None or not record.state.is_final:
            return record is not None
        # Nobody waits for the log of an ended run that may not be read, or whose node is lost.
        is_held_up = self._log_collector.find_refusal(key) or self._object_cache.has_lost_pod(key)
        return self._log_collector.is_reading(key) and not is_held_up
