"""A cache of each run's Job and pods, and of the record that is derived from them.

One lock guards all of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fyre.engines.kubernetes import job_labels, job_tries, pod_facts, run_status
from fyre.engines.kubernetes.job_signature import JobSigner
from fyre.engines.kubernetes.outputs.run_outputs import (
    NOTHING_KNOWN,
    OutputFacts,
    with_outputs,
)
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.runs import run as runs
from fyre.runs.run import Run, RunRecord
from fyre.runs.run_query import RunQuery, select_records
from fyre.runs.state import RunState
from fyre.stored_form import UnreadableError, parse_json, warn_once

log = logging.getLogger(__name__)


class ObjectCache:
    """Jobs and pods as they were reported last, by the run's key. Thread-safe."""

    def __init__(
        self,
        signer: JobSigner | None = None,
        facts_of: Callable[[str], OutputFacts] = lambda _: NOTHING_KNOWN,
    ) -> None:
        """``signer`` says which Jobs are ours; without one, every Job with our labels is.

        ``facts_of`` says what is known of the uploads of a run.
        """
        self._mutex, self._signer, self._facts_of = threading.RLock(), signer, facts_of
        self._ended: dict[str, RunRecord] = {}  # runs that are uploading, as their commands ended
        self._jobs: dict[str, KubeObject] = {}
        self._pods: dict[str, dict[str, KubeObject]] = {}
        self._records: dict[str, RunRecord] = {}
        self._event_hints: dict[str, str] = {}
        # Keys of ended Jobs whose pods are known as they were after the end.
        self._confirmed_keys: set[str] = set()

    def upsert_job(self, job: KubeObject) -> str:
        """Store a Job, unless a newer version of it is known.

        Return its run's key, "" if it is not a Job of ours.
        """
        job = pod_facts.strip_unused(job)
        with self._mutex:
            run = None
            if not self._is_known_job(job):  # parsed once: a Job is reported many times
                run = self._read_run(job)
                if run is None:
                    return ""
            key = job_key(job)
            cached = self._jobs.get(key)
            if cached is not None and not _replaces(job, cached):
                return key
            is_new = key not in self._records or (cached and _is_elsewhere(job, cached))
            if is_new and run is not None:
                self._records[key] = run_status.first_record(run, job)
            _drop_redundant_annotations(job)
            self._jobs[key] = job
        return key

    def _read_run(self, job: KubeObject) -> Run | None:
        """Return the run of a Job that is seen for the first time; None if it is not one of ours.

        Such a Job is left alone: it may be another version's, or another product's.
        """
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        forgery = self._signer.find_forgery(job, job_key(job)) if self._signer else ""
        if forgery:
            reason = f"it has our labels, but this Fyre did not create it: {forgery}"
        else:
            try:
                return _parse_run(job)
            except UnreadableError as error:
                reason = f"it has our labels, but no run that can be read: {error}"
        warn_once(f"Job {name} in {namespace}", reason)
        return None

    def is_replacement(self, job: KubeObject) -> bool:
        """Return True if a Job has the name of a known one, which therefore is gone."""
        cached = self.find_job(job_key(job))
        return (
            cached is not None
            and not _is_elsewhere(job, cached)
            and not self.is_same_job(job)
            and _resource_version(job) > _resource_version(cached)
        )

    def is_current_job(self, job: KubeObject) -> bool:
        """Return True if exactly this version of a Job is known."""
        cached = self.find_job(job_key(job))
        return cached is not None and _resource_version(cached) == _resource_version(job)

    def is_same_job(self, job: KubeObject) -> bool:
        """Return True if this is the very object that is known.

        It is neither a copy with the same labels nor one that was replaced.
        """
        cached = self.find_job(job_key(job))
        return cached is not None and cached["metadata"]["uid"] == job["metadata"]["uid"]

    def upsert_pod(self, pod: KubeObject, *, deleted: bool) -> str:
        """Store a pod, and return its run's key; the last state of a deleted pod still counts.

        Whose it is, its labels do not say: see ``_own_pods``.
        """
        uid, pod_labels = pod["metadata"]["uid"], pod["metadata"]["labels"]
        key: str = pod_labels.get(job_labels.KEY_LABEL, "")
        job_name = pod_labels.get("batch.kubernetes.io/job-name")
        if job_name != _expected_job_name(pod_labels):
            return ""  # a copy that somebody made
        if deleted:
            pod[pod_facts.DELETED_MARK] = True
        with self._mutex:
            if deleted and key not in self._jobs:
                self._pods.get(key, {}).pop(uid, None)
            else:
                cached_pods = self._pods.setdefault(key, {})
                cached = cached_pods.get(uid)
                if deleted or cached is None or _resource_version(cached) <= _resource_version(pod):
                    pod_facts.remember_deletion(pod, cached or pod)
                    job_tries.remember_origin(pod, cached)
                    cached_pods[uid] = pod
        return key

    def needs_pod_refresh(self, key: str) -> bool:
        """Return True if a Job has ended, and its known pods may be from before the end.

        Jobs and pods have watches of their own.
        """
        with self._mutex:
            return key not in self._confirmed_keys and pod_facts.is_job_finished(
                self._jobs.get(key, {})
            )

    def replace_pods(self, key: str, current_pods: list[KubeObject]) -> None:
        """Store the pods of an ended Job as they are; all others of it are gone."""
        with self._mutex:
            current_uids = {pod["metadata"]["uid"] for pod in current_pods}
            for uid in self._pods.get(key, {}).keys() - current_uids:
                self._pods[key][uid][pod_facts.DELETED_MARK] = True
            for pod in current_pods:
                self.upsert_pod(pod, deleted=False)
            if key in self._jobs:
                self._confirmed_keys.add(key)

    def remove_job(self, key: str) -> bool:
        """Remove a Job; return True if its end is still to be reported.

        If everything was reported, its record is forgotten too.
        """
        with self._mutex:
            job, record = self._jobs.pop(key, None), self._records.get(key)
            self._pods.pop(key, None)
            self._confirmed_keys.discard(key)
            if job is None or record is None:
                return False
            if pod_facts.get_annotations(job).keys() >= job_labels.END_MARKS:
                del self._records[key]
                return False
            if not record.state.is_final:
                state = RunState.CANCELLED if record.cancelled_by else RunState.ERROR
                self._records[key] = replace(
                    record, state=state, reason=run_status.JOB_DELETED_REASON, ended_at=time.time()
                )
        return True

    def refresh_record(
        self, key: str, *, log_trouble: str = ""
    ) -> tuple[RunRecord, RunRecord, KubeObject, list[KubeObject]] | None:
        """Return the record before and now, with the Job and the pods it is derived from.

        Return None if there is no Job. ``log_trouble``: why its log can't be read now.
        """
        with self._mutex:
            job, previous = self._jobs.get(key), self._records.get(key)
            if job is None or previous is None:
                return None
            run_pods = self._own_pods(key)
            has_outcome = job_labels.OUTCOME_ANNOTATION in pod_facts.get_annotations(job)
            is_end_uncertain = not has_outcome and self.needs_pod_refresh(key)
            seen_job = pod_facts.without_end_conditions(job) if is_end_uncertain else job
            event_hint = self._event_hints.get(key, "")
            foreign = job_tries.foreign_success(job, self._pods.get(key, {}).values())
            record = run_status.derive_record(previous, seen_job, run_pods, event_hint, foreign)
            if record.state.is_final and not previous.state.is_final and not has_outcome:
                self._ended[key] = record
                record = with_outputs(record, job, run_pods, self._facts_of(key))
            if record.state is not RunState.UPLOADING:
                self._ended.pop(key, None)
            self._records[key] = record = replace(record, log_trouble=log_trouble)
        return previous, record, job, run_pods

    def _is_known_job(self, job: KubeObject) -> bool:
        """Return True if this Job was read before, even though its annotation may be broken now."""
        cached = self.find_job(job_key(job))
        return cached is not None and cached["metadata"].get("uid") == job["metadata"].get("uid")

    def set_event_hint(self, key: str, text: str) -> bool:
        """Store what events say of a run; return False if that is nothing new."""
        with self._mutex:
            has_changed = self._event_hints.get(key, "") != text
            self._event_hints[key] = text
        return has_changed

    def get_event_hint(self, key: str) -> str:
        """Return what events said of a run."""
        with self._mutex:
            return self._event_hints.get(key, "")

    def update_record(self, key: str, **fields: Any) -> None:  # noqa: ANN401 - fields of RunRecord
        """Put notes into a record whose Job is gone."""
        with self._mutex:
            if key in self._records:
                self._records[key] = replace(self._records[key], **fields)

    def forget_ended_before(self, end_time: float) -> None:
        """Drop the records without a Job that ended before a time: nothing else would."""
        with self._mutex:
            expired = [
                key
                for key, record in self._records.items()
                if key not in self._jobs and (record.ended_at or end_time) < end_time
            ]
            for key in expired:
                del self._records[key]
            for key in self._event_hints.keys() - self._records.keys():
                del self._event_hints[key]

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the records that a query selects, as they were derived last."""
        with self._mutex:
            records = list(self._records.values())
        return select_records(records, query)

    def get_record(self, key: str) -> RunRecord | None:
        """Return one run's record."""
        with self._mutex:
            return self._records.get(key)

    def find_job(self, key: str) -> KubeObject | None:
        """Return one run's Job."""
        with self._mutex:
            return self._jobs.get(key)

    def is_held_by_sidecar(self, key: str) -> bool:
        """Return True if something that others put into a run's pod goes on after its command."""
        return any(map(pod_facts.is_held_by_sidecar, self.list_pods(key)))

    def find_pod(self, key: str, uid: str) -> KubeObject | None:
        """Return one pod of a run."""
        return next((pod for pod in self.list_pods(key) if pod["metadata"]["uid"] == uid), None)

    def list_unarchived(self) -> set[str]:
        """Return the keys of the runs whose Job has no outcome yet."""
        with self._mutex:
            return {
                key
                for key, job in self._jobs.items()
                if job_labels.OUTCOME_ANNOTATION not in pod_facts.get_annotations(job)
            }

    def list_pods(self, key: str) -> list[KubeObject]:
        """Return the pods of a run."""
        with self._mutex:
            return self._own_pods(key)

    def ended_record(self, key: str) -> RunRecord | None:
        """Return how the command of a run ended that is uploading."""
        with self._mutex:
            return self._ended.get(key)

    def mark_lost(self, key: str, uid: str) -> None:
        """Mark a pod that should be gone, and of which its node reports nothing."""
        with self._mutex:
            self._pods[key][uid][pod_facts.LOST_MARK] = True

    def has_lost_pod(self, key: str) -> bool:
        """Return True if a pod of a run is lost with its node, and not deleted yet."""
        return any(
            pod_facts.LOST_MARK in pod and pod_facts.DELETED_MARK not in pod
            for pod in self.list_pods(key)
        )

    def list_unfinished(self) -> list[tuple[RunRecord, KubeObject, list[KubeObject]]]:
        """Return the runs whose command has not ended, with their Jobs and pods."""
        with self._mutex:
            return [
                (record, self._jobs[key], self._own_pods(key))
                for key, record in self._records.items()
                if not record.state.is_final and key in self._jobs
            ]

    def _own_pods(self, key: str) -> list[KubeObject]:
        """Return the pods that belong to a run's Job.

        Anybody who may create pods can give them its labels. Those count that the Job's controller
        made.
        """
        job = self._jobs.get(key)
        pods = self._pods.get(key, {}).values()
        return [pod for pod in pods if job is not None and job_tries.is_made_by(pod, job)]


def job_key(job: KubeObject) -> str:
    """Return the key of the run that a Job is named after; "" for none.

    The name can't be changed, and is the only one in its namespace. The label can be taken away.
    """
    metadata = job["metadata"]
    instance = (metadata.get("labels") or {}).get(job_labels.INSTANCE_LABEL, "")
    prefix = job_labels.job_name(instance, "")
    name: str = metadata["name"]
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


def _replaces(job: KubeObject, cached: KubeObject) -> bool:
    """Return True if a Job is to be believed instead of the one of that name that is known.

    A copy in another namespace of Fyre's is younger than what it is a copy of.
    """
    if _is_elsewhere(job, cached):
        return _created_at(job) < _created_at(cached)
    return _resource_version(job) >= _resource_version(cached)


def _is_elsewhere(job: KubeObject, cached: KubeObject) -> bool:
    return bool(job["metadata"]["namespace"] != cached["metadata"]["namespace"])


def _created_at(job: KubeObject) -> str:
    return str(job["metadata"].get("creationTimestamp", ""))


def _expected_job_name(object_labels: dict[str, str]) -> str:
    return job_labels.job_name(
        object_labels.get(job_labels.INSTANCE_LABEL, ""),
        object_labels.get(job_labels.KEY_LABEL, ""),
    )


def _parse_run(job: KubeObject) -> Run:
    """Return the run that a Job is for. Raises ``UnreadableError``, also if the Job is a copy."""
    run = runs.from_json(
        parse_json(pod_facts.get_annotations(job).get(job_labels.RUN_ANNOTATION, ""))
    )
    if run.key != job_key(job):
        raise UnreadableError("its name does not fit the run in it, so it is a copy")
    return run


def _drop_redundant_annotations(job: KubeObject) -> None:
    """Drop annotations that are in the record by now, and a list of SHAs that can't be read.

    An outcome stays: one that can't be read may be a later version's, and is never written over.
    """
    annotations = pod_facts.get_annotations(job)
    annotations[job_labels.RUN_ANNOTATION] = ""  # there are thousands of Jobs
    annotations.pop(job_labels.SIGNATURE_ANNOTATION, None)
    job["spec"].pop(pod_facts.RELAY_KEY, None)
    for name, parse in _PARSERS.items():
        try:
            if name in annotations:
                parse(annotations[name])
        except UnreadableError as error:
            warn_once(
                f"Job {job['metadata']['name']}: annotation {name}",
                f"it is not what Fyre wrote: {error}",
            )
            if name != job_labels.OUTCOME_ANNOTATION:
                del annotations[name]


_PARSERS: dict[str, Callable[[str], object]] = {
    job_labels.OUTCOME_ANNOTATION: run_status.parse_outcome,
    job_labels.CARRIED_ANNOTATION: run_status.parse_sha_list,
}


def _resource_version(obj: KubeObject) -> int:
    """Return the version as a number, to be compared.

    That is allowed by contract since Kubernetes 1.35, and before by the way etcd counts.
    """
    return int(obj["metadata"].get("resourceVersion") or 0)
