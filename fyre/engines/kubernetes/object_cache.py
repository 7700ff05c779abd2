"""What is known of each run: its Job, its pods, and the record that they add up to. One lock around all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fyre.engines.kubernetes import job_labels, pod_facts, run_status
from fyre.engines.kubernetes.pod_facts import Object
from fyre.runs import run as runs
from fyre.runs.run import Record, Run
from fyre.runs.state import State
from fyre.stored_form import UnreadableError, parse_json, warn_once

log = logging.getLogger(__name__)

DELETED = "its Job was deleted"


class Known:
    """Jobs and pods as they were last heard of, by the run's key. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._jobs: dict[str, Object] = {}
        self._pods: dict[str, dict[str, Object]] = {}
        self._records: dict[str, Record] = {}
        self._hints: dict[str, str] = {}
        self._sure: set[str] = set()  # ended Jobs whose pods are known as they were after the end

    def take_job(self, job: Object) -> str:
        """Know a Job, unless a newer state of it is known; its run's key, or "" where it is none of ours."""
        job = pod_facts.trimmed(job)
        with self._mutex:
            run = None
            if not self._is_known(job):  # read once: a Job is heard of many times
                try:
                    run = _run_of(job)
                except UnreadableError as error:
                    why = f"it carries our labels and no run that can be read, so it is left alone: {error}"
                    warn_once(f"Job {job['metadata']['name']}", why)
                    return ""
            key: str = job["metadata"]["labels"][job_labels.KEY]
            known = self._jobs.get(key)
            if known is not None and _version(known) > _version(job):
                return key
            if key not in self._records and run is not None:
                self._records[key] = Record(run)
            _clear(job)
            self._jobs[key] = job
        return key

    def has(self, job: Object) -> bool:
        """Whether this very state of a Job is known."""
        known = self.job((job["metadata"].get("labels") or {}).get(job_labels.KEY, ""))
        return known is not None and _version(known) == _version(job)

    def holds(self, job: Object) -> bool:
        """Whether that is the very object that is known: no copy under its labels, and none that it replaced."""
        known = self.job((job["metadata"].get("labels") or {}).get(job_labels.KEY, ""))
        return known is not None and known["metadata"]["uid"] == job["metadata"]["uid"]

    def take_pod(self, pod: Object, *, gone: bool) -> str:
        """Know a pod; what a deleted one said last still counts. Its run's key."""
        about = pod["metadata"]
        key: str = about["labels"].get(job_labels.KEY, "")
        if about["labels"].get("batch.kubernetes.io/job-name") != _name(about["labels"]):
            return ""  # a copy that somebody made
        if gone:
            pod[pod_facts.GONE] = True
        with self._mutex:
            if gone and key not in self._jobs:
                self._pods.pop(key, None)
            else:
                known = self._pods.setdefault(key, {})
                before = known.get(about["uid"])
                if gone or before is None or _version(before) <= _version(pod):
                    known[about["uid"]] = pod
        return key

    def is_in_doubt(self, key: str) -> bool:
        """Whether a Job has ended, and what is known of its pods may be from before: they have a watch of their own."""
        with self._mutex:
            return key not in self._sure and pod_facts.is_over(self._jobs.get(key, {}))

    def take_all_pods(self, key: str, found: list[Object]) -> None:
        """Know the pods of an ended Job as they are; those which are not among them are gone."""
        with self._mutex:
            for uid in self._pods.get(key, {}).keys() - {pod["metadata"]["uid"] for pod in found}:
                self._pods[key][uid][pod_facts.GONE] = True
            for pod in found:
                self.take_pod(pod, gone=False)
            if key in self._jobs:
                self._sure.add(key)

    def lose_job(self, key: str) -> bool:
        """A Job is gone: forgotten where all was said about it; else its end is still to be told, and this is True."""
        with self._mutex:
            job, record = self._jobs.pop(key, None), self._records.get(key)
            self._pods.pop(key, None)
            self._sure.discard(key)
            if job is None or record is None:
                return False
            if job_labels.OUTCOME in pod_facts.notes(job):
                del self._records[key]
                return False
            if not record.state.final:
                state = State.CANCELLED if record.cancelled_by else State.ERROR
                self._records[key] = replace(
                    record, state=state, reason=DELETED, ended_at=time.time()
                )
        return True

    def refresh(self, key: str) -> tuple[Record, Record, Object, list[Object]] | None:
        """The record before, and now, with the Job and the pods it was read off; None when there is no Job."""
        with self._mutex:
            job, before = self._jobs.get(key), self._records.get(key)
            if job is None or before is None:
                return None
            found = list(self._pods.get(key, {}).values())
            thing = pod_facts.undecided(job) if self.is_in_doubt(key) else job
            now = self._records[key] = run_status.record(
                before, thing, found, self._hints.get(key, "")
            )
        return before, now, job, found

    def _is_known(self, job: Object) -> bool:
        """Whether it is a Job that was read before, even though its run's annotation may be broken now."""
        known = self.job((job["metadata"].get("labels") or {}).get(job_labels.KEY, ""))
        return known is not None and known["metadata"]["name"] == job["metadata"]["name"]

    def hint(self, key: str, text: str) -> bool:
        """Know what events say of a run; False when that is nothing new."""
        with self._mutex:
            new = self._hints.get(key, "") != text
            self._hints[key] = text
        return new

    def hinted(self, key: str) -> str:
        """What events said of a run."""
        with self._mutex:
            return self._hints.get(key, "")

    def note(self, key: str, **given: Any) -> None:  # noqa: ANN401 - fields of Record
        """Put notes into a record whose Job is gone."""
        with self._mutex:
            if key in self._records:
                self._records[key] = replace(self._records[key], **given)

    def forget(self, before: float) -> None:
        """Drop the records without a Job that ended before a time: nothing else would."""
        with self._mutex:
            old = [
                k
                for k, r in self._records.items()
                if k not in self._jobs and (r.ended_at or before) < before
            ]
            for key in old:
                del self._records[key]
            for key in self._hints.keys() - self._records.keys():
                del self._hints[key]

    def records(self) -> list[Record]:
        """All of them."""
        with self._mutex:
            return list(self._records.values())

    def record(self, key: str) -> Record | None:
        """One run's."""
        with self._mutex:
            return self._records.get(key)

    def job(self, key: str) -> Object | None:
        """One run's Job."""
        with self._mutex:
            return self._jobs.get(key)

    def pod(self, key: str, uid: str) -> Object | None:
        """One pod of a run."""
        with self._mutex:
            return self._pods.get(key, {}).get(uid)

    def pending(self) -> list[tuple[Record, Object, list[Object]]]:
        """The runs whose command has not ended, with their Jobs and pods."""
        with self._mutex:
            return [
                (record, self._jobs[key], list(self._pods.get(key, {}).values()))
                for key, record in self._records.items()
                if not record.state.final and key in self._jobs
            ]


def _name(labels: dict[str, str]) -> str:
    return job_labels.job(labels.get(job_labels.INSTANCE, ""), labels.get(job_labels.KEY, ""))


def _run_of(job: Object) -> Run:
    """The run that a Job is for. Raises ``UnreadableError``, also where it is a copy."""
    about, labels = job["metadata"], job["metadata"].get("labels") or {}
    if about["name"] != _name(labels):
        raise UnreadableError("its name is another's, as that of a copy")
    run = runs.from_json(parse_json(pod_facts.notes(job).get(job_labels.RUN, "")))
    if run.key != labels.get(job_labels.KEY):
        raise UnreadableError("the run in it has another key")
    return run


def _clear(job: Object) -> None:
    """Let go of what is in the record by now, and of notes that somebody made unreadable."""
    notes = pod_facts.notes(job)
    notes[job_labels.RUN] = ""  # there are thousands
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
    job_labels.OUTCOME: run_status.read_outcome,
    job_labels.CARRIED: run_status.read_carried,
}


def _version(thing: Object) -> int:
    """Comparable since Kubernetes 1.35 by contract, and before by how etcd counts."""
    return int(thing["metadata"].get("resourceVersion") or 0)
