"""Collect the outputs of runs on a cluster: let pods upload, then seal what they sent.

Pods send while their runs go on being watched. Nothing here waits: what the uploads are is noted
for ``run_outputs``, which says what becomes of the record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Protocol

from fyre.artifacts import link_lines, run_sealing, upload_token
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.run_sealing import StoredOutputs
from fyre.artifacts.upload_listing import UploadListing
from fyre.artifacts.upload_staging import UploadNotOpenError, UploadStaging
from fyre.engines.kubernetes import pod_facts
from fyre.engines.kubernetes.outputs import run_outputs
from fyre.engines.kubernetes.outputs.agent_container import UploadTarget
from fyre.engines.kubernetes.outputs.run_outputs import NOTHING_KNOWN, OutputFacts, SealedOutputs
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.errors import TransientError
from fyre.runs.run import Run, RunRecord
from fyre.runs.state import RunState
from fyre.stored_form import UnreadableError

PATIENCE = 24 * 3600.0
"""Seconds for which an error of the store may last before the outputs are given up."""


class RunSource(Protocol):
    """The part of the engine's cache that the collector asks."""

    def get_record(self, key: str) -> RunRecord | None:
        """Return one run's record."""
        ...

    def find_pod(self, key: str, uid: str) -> KubeObject | None:
        """Return one pod of a run."""
        ...

    def list_pods(self, key: str) -> list[KubeObject]:
        """Return the pods of a run."""
        ...

    def ended_record(self, key: str) -> RunRecord | None:
        """Return how the command of a run ended, whatever becomes of its outputs."""
        ...


class OutputCollector:
    """Notes, by the key of a run, what its pods have uploaded. Thread-safe."""

    def __init__(
        self, store: ArtifactStore, staging: UploadStaging, *, image: str, url: str, secret: bytes
    ) -> None:
        """``image`` runs the agent; ``url`` is where pods reach the upload endpoint."""
        self.store, self._staging = store, staging
        self._image, self._url, self._secret = image, url, secret
        self._mutex = threading.Lock()
        self._facts: dict[str, OutputFacts] = {}
        self._first_failures: dict[str, float] = {}  # on the monotonic clock
        self._runs: RunSource  # of the engine that starts this
        self._reconcile: Callable[[str], object] = lambda _: None
        self._submit: Callable[[str, Callable[[], object]], object] = lambda *_: None

    def start(
        self,
        runs: RunSource,
        *,
        reconcile: Callable[[str], object],
        submit: Callable[[str, Callable[[], object]], object],
    ) -> None:
        """Work for an engine: ``reconcile(key)`` derives a record anew, ``submit`` queues work."""
        self._runs, self._reconcile, self._submit = runs, reconcile, submit

    def remove_strangers(self, known_keys: Collection[str]) -> None:
        """Remove what is left of uploads of other runs, and what a crash left half stored."""
        self._staging.remove_strangers(known_keys)
        self.store.remove_drafts()

    def upload_target(self, run: Run) -> UploadTarget:
        """Return where the pods of a run upload to."""
        token = upload_token.create_upload_token(self._secret, run.key)
        return UploadTarget(self._image, f"{self._url}/uploads/{run.key}", token)

    def facts_of(self, key: str) -> OutputFacts:
        """Return what is known of the uploads of a run."""
        with self._mutex:
            return self._facts.get(key, NOTHING_KNOWN)

    def check_open(self, key: str, pod: str) -> None:
        """Raise ``UploadNotOpenError`` unless that pod may upload for that run now."""
        record = self._runs.get_record(key)
        if record is None:
            raise UploadNotOpenError("the run is not known yet", is_final=False)
        if record.state.is_final or self.facts_of(key).sealed is not None:
            raise UploadNotOpenError("the run is over", is_final=True)
        if self._runs.find_pod(key, pod) is None:
            raise UploadNotOpenError("the pod is not known yet", is_final=False)

    def check_ended(self, key: str, pod: str) -> None:
        """Raise ``UploadNotOpenError`` while the command of that pod runs.

        It may have the token too. What it left is listed by its agent, at the end. Of a pod that is
        being deleted the kubelet reports no end before all its containers have ended, the agent
        too: there an early listing is taken, and the agent's own takes its place.
        """
        found = self._runs.find_pod(key, pod)
        is_going = found is not None and pod_facts.gone_by(found) is not None
        if found is None or not (is_going or pod_facts.has_finished(found)):
            raise UploadNotOpenError("the command has not ended", is_final=False)

    def may_start(self, key: str) -> bool:
        """Return False if the command of a run has ended: its code is given to no other pod."""
        record = self._runs.get_record(key)
        has_ended = record is not None and (
            record.state.is_final or record.state is RunState.UPLOADING
        )
        return not has_ended

    def note_listing(self, key: str, pod: str) -> None:
        """Note that the listing of a pod is kept."""
        with self._mutex:
            facts = self._facts.get(key, NOTHING_KNOWN)
            others = tuple(one for one in facts.listed_pods if one != pod)
            self._facts[key] = replace(facts, listed_pods=(*others, pod))
        self._reconcile(key)

    def advance(self, key: str) -> None:
        """Have a run that is uploading looked after."""
        self._submit(f"outputs of {key}", partial(self._collect, key))

    def close_upload(self, key: str) -> None:
        """Free the disk of what is no use any more: the run is over."""
        self._staging.remove_parts(key)

    def forget(self, key: str) -> None:
        """Forget a run whose outcome is written down."""
        with self._mutex:
            self._facts.pop(key, None)
            self._first_failures.pop(key, None)
        self._staging.remove_run(key)

    def _collect(self, key: str) -> None:
        """Look which listings are kept, and seal the one that counts."""
        before, record = self.facts_of(key), self._runs.get_record(key)
        ended = self._runs.ended_record(key)
        if not record or not ended or record.state is not RunState.UPLOADING:
            return
        try:
            facts = self._seal(ended, before)
        except (OSError, UnreadableError) as error:
            facts = self._with_trouble(before, key, error)
            self._set_facts(key, before, facts)
            if not facts.lost:
                raise TransientError(f"the outputs of {key} can't be stored: {error}") from error
            return
        self._set_facts(key, before, facts)

    def _set_facts(self, key: str, before: OutputFacts, facts: OutputFacts) -> None:
        """Note what was found; a listing that came meanwhile stays noted."""
        with self._mutex:
            current = self._facts.get(key, NOTHING_KNOWN)
            listed = dict.fromkeys((*facts.listed_pods, *current.listed_pods))
            self._facts[key] = replace(facts, listed_pods=tuple(listed))
        if facts != before:
            self._reconcile(key)

    def _seal(self, record: RunRecord, before: OutputFacts) -> OutputFacts:
        key = record.run.key
        known = tuple(self._staging.listed_pods(key))
        facts = replace(before, listed_pods=known, is_checked=True, trouble="")
        pod = run_outputs.deciding_pod(record, self._runs.list_pods(key))
        uid = pod["metadata"]["uid"] if pod is not None else next(reversed(known), "")
        if uid not in known:
            return facts
        listing = self._staging.get_listing(key, uid)
        return replace(facts, sealed=self._seal_listing(record, listing))

    def _seal_listing(self, record: RunRecord, listing: UploadListing) -> SealedOutputs:
        outputs = StoredOutputs(
            listing.artifacts,
            listing.metrics.sha256 if listing.metrics is not None else None,
            listing.links[: link_lines.LINKS_SIZE],
            listing.problems,
            listing.missing,
        )
        manifest = self.store.get_manifest(record.run.key)
        if manifest is None:
            outputs = run_sealing.within_limits(self.store, record.run, outputs)
            manifest = run_sealing.seal_run(self.store, record.run, outputs, record.state)
        else:  # of a receiver that ended just then
            self.store.put_manifest(manifest)  # looks again for what a prune may have deleted
            if listing.artifacts and not manifest.artifacts:
                outputs = replace(outputs, refusal=manifest.results.problems[0])
        return SealedOutputs(manifest.results, outputs.failure_reason())

    def _with_trouble(self, before: OutputFacts, key: str, error: Exception) -> OutputFacts:
        trouble = getattr(error, "strerror", None) or str(error)
        first = self._first_failures.setdefault(key, time.monotonic())
        if isinstance(error, UnreadableError) or time.monotonic() - first > PATIENCE:
            return replace(before, lost=trouble)
        return replace(before, trouble=trouble)
