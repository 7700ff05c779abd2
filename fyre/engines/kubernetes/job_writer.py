"""The changes that Fyre makes to a run's Job: its creation, its notes, its release, its end.

Each but the first is one PATCH. What the API server answers is in the cache before a method
returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fyre.engines.kubernetes import job_hold, job_labels, pod_facts, run_status
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import ConflictError, ObjectNotFound
from fyre.engines.kubernetes.job_signature import JobSigner
from fyre.engines.kubernetes.object_cache import ObjectCache
from fyre.engines.kubernetes.outputs.run_outputs import LOST
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.errors import TransientError
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState

_END_NOW_SPEC = {"activeDeadlineSeconds": 1}
_END_SUSPENDED_SPEC = {"activeDeadlineSeconds": 1, "parallelism": 0}
"""For a suspended Job: a queue may yet start it, and the deadline does not count until then."""

_RELEASE_TRIES = 10
"""Requests for one release; each but the last met a change that was made meanwhile."""


class JobWriter:
    """Changes the Jobs of runs, by their keys. Thread-safe."""

    def __init__(
        self,
        cluster: KubernetesClient,
        object_cache: ObjectCache,
        history: float,  # seconds that an ended Job is kept
        signer: JobSigner | None = None,  # None: Jobs are not signed
        *,
        reconcile_run: Callable[[str], object],  # derives the record of a key anew
        on_job_deleted: Callable[[str], object],  # is told of a key whose Job is gone
    ) -> None:
        self._cluster, self._object_cache, self._history = cluster, object_cache, history
        self._signer = signer
        self._reconcile_run, self._on_job_deleted = reconcile_run, on_job_deleted

    def create_job(self, namespace: str, job: KubeObject) -> None:
        """Create a Job, signed. Raises ``AlreadyExists``.

        Where the clocks differ so much that its signature seems too old, it is signed once more.
        """
        if self._signer is None:
            self._object_cache.upsert_job(self._cluster.create_job(namespace, job))
            return
        created = self._cluster.create_job(namespace, self._signer.sign_job(job, time.time()))
        if late_signature := self._signer.late_signature(created):
            patch = {"metadata": {"annotations": late_signature}}
            created = self._cluster.patch_job(namespace, created["metadata"]["name"], patch)
        self._signer.remember_job(created)
        self._object_cache.upsert_job(created)

    def patch_job(self, key: str, patch: KubeObject) -> bool:
        """Change the Job of a run; return False if it is gone. Raises ``ConflictError``."""
        job = self._object_cache.find_job(key)
        if job is None:
            return False
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            self._object_cache.upsert_job(self._cluster.patch_job(namespace, name, patch))
        except ObjectNotFound:
            self._on_job_deleted(key)
            return False
        self._reconcile_run(key)
        return True

    def get_annotations(self, key: str) -> dict[str, str]:
        """Return the annotations of a run's Job; none if it is gone."""
        job = self._object_cache.find_job(key)
        return pod_facts.get_annotations(job) if job is not None else {}

    def add_annotations(self, key: str, added: dict[str, str]) -> bool:
        """Write annotations on the Job of a run; return False if it is gone.

        A Job that then has both marks of its end gets its time to live.
        """
        return self.patch_job(key, self._annotation_patch(key, added))

    def add_outcome(self, key: str, record: RunRecord) -> bool:
        """Write the end of a run on its Job; return False if it is gone.

        A Job that would go on all the same is ended: one that a queue could start again, one whose
        pod, with its devices, is held by a container that somebody injected, and one whose command
        has ended, but whose pod was evicted before its outputs were stored.
        """
        outcome = {job_labels.OUTCOME_ANNOTATION: run_status.format_outcome(record)}
        patch = self._annotation_patch(key, outcome)
        # No queue may start a suspended Job again.
        if (self._object_cache.find_job(key) or {}).get("spec", {}).get("suspend"):
            patch["spec"] = {**patch.get("spec", {}), **_END_SUSPENDED_SPEC}
        elif self._object_cache.is_held_by_sidecar(key) or record.reason.startswith(LOST):
            patch["spec"] = {**patch.get("spec", {}), **_END_NOW_SPEC}
        return self.patch_job(key, patch)

    def terminate_run(self, key: str, reason_annotations: dict[str, str]) -> bool:
        """End a run, and annotate its Job with the reason in the same request.

        Return False if the Job is gone.
        """
        job = self._object_cache.find_job(key)
        if job is None:
            return False
        patch = {"metadata": {"annotations": reason_annotations}, "spec": _end_spec(job)}
        return self.patch_job(key, patch)

    def release_run(self, key: str) -> bool:
        """Release a held run; return False if it is not held (any more).

        A cancel that came first stands: the patch is for the Job as it was seen here.
        """
        for _ in range(_RELEASE_TRIES):
            job = self._object_cache.find_job(key)
            if job is None or not self._is_releasable(key, job):
                return False
            try:
                return self.patch_job(key, job_hold.release_patch(job, time.time()))
            except ConflictError:
                self._refresh_job(key, job)
        raise TransientError(f"the Job of {key} is being changed all the time")

    def _annotation_patch(self, key: str, added: dict[str, str]) -> KubeObject:
        """Return the patch that adds annotations; with both marks, the time to live too."""
        all_annotations = {**self.get_annotations(key), **added}
        return annotation_patch(added, all_annotations, self._history)

    def _is_releasable(self, key: str, job: KubeObject) -> bool:
        """Return True if a run is held, and nobody has put an end to it."""
        record = self._object_cache.get_record(key)
        return (
            record is not None
            and record.state is RunState.WAITING
            and not record.cancelled_by
            and job_labels.GIVEN_UP_ANNOTATION not in pod_facts.get_annotations(job)
        )

    def _refresh_job(self, key: str, job: KubeObject) -> None:
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            self._object_cache.upsert_job(self._cluster.get_job(namespace, name))
        except ObjectNotFound:
            self._on_job_deleted(key)
        else:
            self._reconcile_run(key)


def _end_spec(job: KubeObject) -> KubeObject:
    """Return what has the Job controller end a Job that may not have started."""
    if not job["spec"].get("suspend"):
        return _END_NOW_SPEC
    return job_hold.END_HELD_SPEC if job_hold.is_held(job) else _END_SUSPENDED_SPEC


def annotation_patch(
    new_annotations: Mapping[str, str], all_annotations: Mapping[str, str], history: float
) -> KubeObject:
    """Return the patch that writes these annotations on a Job.

    A Job that will have both marks of its end may be collected after ``history`` seconds.
    """
    patch: KubeObject = {"metadata": {"annotations": dict(new_annotations)}}
    if all_annotations.keys() >= job_labels.END_MARKS:
        patch["spec"] = {"ttlSecondsAfterFinished": int(history)}
    return patch
