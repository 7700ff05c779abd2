"""What is known of each run: its Job, its pods, and the record that they add up to. One lock around all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fyre.engines.kubernetes import job_labels, pod_facts, run_status
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.runs import run as runs
from fyre.runs.run import Run, RunRecord
from fyre.runs.state import RunState
from fyre.stored_form import UnreadableError, parse_json, warn_once

log = logging.getLogger(__name__)

JOB_DELETED_REASON = "its Job was deleted"


class ObjectCache:
    """Jobs and pods as they were last heard of, by the run's key. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._jobs: dict[str, KubeObject] = {}
        self._pods: dict[str, dict[str, KubeObject]] = {}
        self._records: dict[str, RunRecord] = {}
        self._event_hints: dict[str, str] = {}
        self._confirmed_keys: set[str] = (
            set()
        )  # ended Jobs whose pods are known as they were after the end

    def upsert_job(self, job: KubeObject) -> str:
        """Know a Job, unless a newer state of it is known; its run's key, or "" where it is none of ours."""
        job = pod_facts.strip_unused(job)
        with self._mutex:
            run = None
            if not self._is_known_job(job):  # read once: a Job is heard of many times
                try:
                    run = _parse_run(job)
                except UnreadableError as error:
                    why = f"it carries our labels and no run that can be read, so it is left alone: {error}"
                    warn_once(f"Job {job['metadata']['name']}", why)
                    return ""
            key: str = job["metadata"]["labels"][job_labels.KEY_LABEL]
            known = self._jobs.get(key)
            if known is not None and _resource_version(known) > _resource_version(job):
                return key
            if key not in self._records and run is not None:
                self._records[key] = RunRecord(run)
            _drop_redundant_annotations(job)
            self._jobs[key] = job
        return key

    def is_current_job(self, job: KubeObject) -> bool:
        """Whether this very state of a Job is known."""
        known = self.find_job((job["metadata"].get("labels") or {}).get(job_labels.KEY_LABEL, ""))
        return known is not None and _resource_version(known) == _resource_version(job)

    def is_same_job(self, job: KubeObject) -> bool:
        """Whether that is the very object that is known: no copy under its labels, and none that it replaced."""
        known = self.find_job((job["metadata"].get("labels") or {}).get(job_labels.KEY_LABEL, ""))
        return known is not None and known["metadata"]["uid"] == job["metadata"]["uid"]

    def upsert_pod(self, pod: KubeObject, *, deleted: bool) -> str:
        """Know a pod; what a deleted one said last still counts. Its run's key."""
        about = pod["metadata"]
        key: str = about["labels"].get(job_labels.KEY_LABEL, "")
        if about["labels"].get("batch.kubernetes.io/job-name") != _expected_job_name(
            about["labels"]
        ):
            return ""  # a copy that somebody made
        if deleted:
            pod[pod_facts.DELETED_MARK] = True
        with self._mutex:
            if deleted and key not in self._jobs:
                self._pods.pop(key, None)
            else:
                known = self._pods.setdefault(key, {})
                before = known.get(about["uid"])
                if deleted or before is None or _resource_version(before) <= _resource_version(pod):
                    known[about["uid"]] = pod
        return key

    def needs_pod_refresh(self, key: str) -> bool:
        """Whether a Job has ended, and what is known of its pods may be from before: they have a watch of their own."""
        with self._mutex:
            return key not in self._confirmed_keys and pod_facts.is_job_finished(
                self._jobs.get(key, {})
            )

    def replace_pods(self, key: str, current_pods: list[KubeObject]) -> None:
        """Know the pods of an ended Job as they are; those which are not among them are gone."""
        with self._mutex:
            for uid in self._pods.get(key, {}).keys() - {
                pod["metadata"]["uid"] for pod in current_pods
            }:
                self._pods[key][uid][pod_facts.DELETED_MARK] = True
            for pod in current_pods:
                self.upsert_pod(pod, deleted=False)
            if key in self._jobs:
                self._confirmed_keys.add(key)

    def remove_job(self, key: str) -> bool:
        """A Job is gone: forgotten where all was said about it; else its end is still to be told, and this is True."""
        with self._mutex:
            job, record = self._jobs.pop(key, None), self._records.get(key)
            self._pods.pop(key, None)
            self._confirmed_keys.discard(key)
            if job is None or record is None:
                return False
            if job_labels.OUTCOME_ANNOTATION in pod_facts.get_annotations(job):
                del self._records[key]
                return False
            if not record.state.is_final:
                state = RunState.CANCELLED if record.cancelled_by else RunState.ERROR
                self._records[key] = replace(
                    record, state=state, reason=JOB_DELETED_REASON, ended_at=time.time()
                )
        return True

    def refresh_record(
        self, key: str
    ) -> tuple[RunRecord, RunRecord, KubeObject, list[KubeObject]] | None:
        """The record before, and now, with the Job and the pods it was read off; None when there is no Job."""
        with self._mutex:
            job, before = self._jobs.get(key), self._records.get(key)
            if job is None or before is None:
                return None
            found = list(self._pods.get(key, {}).values())
            thing = pod_facts.without_end_conditions(job) if self.needs_pod_refresh(key) else job
            now = self._records[key] = run_status.derive_record(
                before, thing, found, self._event_hints.get(key, "")
            )
        return before, now, job, found

    def _is_known_job(self, job: KubeObject) -> bool:
        """Whether it is a Job that was read before, even though its run's annotation may be broken now."""
        known = self.find_job((job["metadata"].get("labels") or {}).get(job_labels.KEY_LABEL, ""))
        return known is not None and known["metadata"]["name"] == job["metadata"]["name"]

    def set_event_hint(self, key: str, text: str) -> bool:
        """Know what events say of a run; False when that is nothing new."""
        with self._mutex:
            new = self._event_hints.get(key, "") != text
            self._event_hints[key] = text
        return new

    def get_event_hint(self, key: str) -> str:
        """What events said of a run."""
        with self._mutex:
            return self._event_hints.get(key, "")

    def update_record(self, key: str, **fields: Any) -> None:  # noqa: ANN401 - fields of Record
        """Put notes into a record whose Job is gone."""
        with self._mutex:
            if key in self._records:
                self._records[key] = replace(self._records[key], **fields)

    def forget_ended_before(self, end_time: float) -> None:
        """Drop the records without a Job that ended before a time: nothing else would."""
        with self._mutex:
            old = [
                k
                for k, r in self._records.items()
                if k not in self._jobs and (r.ended_at or end_time) < end_time
            ]
            for key in old:
                del self._records[key]
            for key in self._event_hints.keys() - self._records.keys():
                del self._event_hints[key]

    def list_records(self) -> list[RunRecord]:
        """All of them."""
        with self._mutex:
            return list(self._records.values())

    def get_record(self, key: str) -> RunRecord | None:
        """One run's."""
        with self._mutex:
            return self._records.get(key)

    def find_job(self, key: str) -> KubeObject | None:
        """One run's Job."""
        with self._mutex:
            return self._jobs.get(key)

    def find_pod(self, key: str, uid: str) -> KubeObject | None:
        """One pod of a run."""
        with self._mutex:
            return self._pods.get(key, {}).get(uid)

    def list_unfinished(self) -> list[tuple[RunRecord, KubeObject, list[KubeObject]]]:
        """The runs whose command has not ended, with their Jobs and pods."""
        with self._mutex:
            return [
                (record, self._jobs[key], list(self._pods.get(key, {}).values()))
                for key, record in self._records.items()
                if not record.state.is_final and key in self._jobs
            ]


def _expected_job_name(object_labels: dict[str, str]) -> str:
    return job_labels.job_name(
        object_labels.get(job_labels.INSTANCE_LABEL, ""),
        object_labels.get(job_labels.KEY_LABEL, ""),
    )


def _parse_run(job: KubeObject) -> Run:
    """The run that a Job is for. Raises ``UnreadableError``, also where it is a copy."""
    about, labels = job["metadata"], job["metadata"].get("labels") or {}
    if about["name"] != _expected_job_name(labels):
        raise UnreadableError("its name is another's, as that of a copy")
    run = runs.from_json(
        parse_json(pod_facts.get_annotations(job).get(job_labels.RUN_ANNOTATION, ""))
    )
    if run.key != labels.get(job_labels.KEY_LABEL):
        raise UnreadableError("the run in it has another key")
    return run


def _drop_redundant_annotations(job: KubeObject) -> None:
    """Let go of what is in the record by now, and of notes that somebody made unreadable."""
    notes = pod_facts.get_annotations(job)
    notes[job_labels.RUN_ANNOTATION] = ""  # there are thousands
    for name, read in _READERS.items():
        try:
            if name in notes:
                read(notes[name])
        except UnreadableError as error:
            warn_once(
                f"Job {job['metadata']['name']}: annotation {name}",
                f"it is not what Fyre wrote: {error}",
            )
            del notes[name]


_READERS: dict[str, Callable[[str], object]] = {
    job_labels.OUTCOME_ANNOTATION: run_status.parse_outcome,
    job_labels.CARRIED_ANNOTATION: run_status.parse_sha_list,
}


def _resource_version(obj: KubeObject) -> int:
    """Comparable since Kubernetes 1.35 by contract, and before by how etcd counts."""
    return int(obj["metadata"].get("resourceVersion") or 0)
