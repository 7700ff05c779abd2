"""Delete what nobody keeps: manifests that the rules drop, then contents that no manifest names.

A content is deleted only if nothing has named it for longer than the longest upload. Runs are
sealed at the same time, so ``pruning/state.json`` says while contents are being deleted. Whoever
seals reads it before the look for contents and after the manifest is there
(``pruning_gate``): either the deletion lists that manifest, or the sealing sees that there was one,
and looks again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from fyre.artifacts import object_storage, output_limits, retention
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.manifest import RunManifest
from fyre.artifacts.object_storage import StoredObject
from fyre.artifacts.pruning_gate import DELETION_PERIOD, LOCK, STATE
from fyre.errors import UserError
from fyre.runs.keep_rules import KeepRule

LONGEST_UPLOAD = 24 * 3600.0
"""Seconds for which a content without a manifest may belong to an upload that goes on."""

_UNUSED = "pruning/unused.json"
_AT_ONCE = 200  # objects
_RENEWAL = DELETION_PERIOD / 3  # seconds


@dataclass(slots=True)
class PruneReport:
    """The runs and contents that were deleted, or would be."""

    dropped: list[RunManifest] = field(default_factory=list)
    kept_runs: int = 0
    deleted_blobs: int = 0
    deleted_bytes: int = 0
    waiting_blobs: int = 0
    """Contents that no manifest names, for less than the longest upload."""

    waiting_bytes: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Runs whose manifest can't be read: while there are any, no content is deleted."""


class Pruner:
    """One pruning of a store."""

    def __init__(
        self,
        store: ArtifactStore,
        rules: Sequence[KeepRule],
        unused_for: float = LONGEST_UPLOAD,
    ) -> None:
        self._store, self._rules, self._unused_for = store, rules, unused_for
        self._manifests: dict[str, RunManifest] = {}
        self._report = PruneReport()
        self._renewed_at = 0.0
        self._state = {"id": uuid.uuid4().hex}

    def preview(self) -> PruneReport:
        """Return what ``prune`` would do, and change nothing. Raises ``OSError``."""
        self._choose_runs()
        for _ in self._deletable_blobs(self._read_unused()):
            pass
        return self._report

    def prune(self) -> PruneReport:
        """Delete, and return what. Raises ``UserError`` while another one is at it, ``OSError``.

        It may be stopped at any moment, and done again.
        """
        self._choose_runs()  # before anybody has to wait
        self._lock()
        try:
            self._renew()
            self._choose_runs()
            for manifest in self._report.dropped:
                self._store.storage.delete_object(f"manifests/{manifest.run_key}.json")
                output_limits.forget_size(self._store, manifest.run_key)
            unused = self._read_unused()
            keys = [blob.key for blob in self._deletable_blobs(unused)]
            for first in range(0, len(keys), _AT_ONCE):
                self._renew()
                self._store.delete_objects(keys[first : first + _AT_ONCE])
            self._store.storage.replace_object(_UNUSED, json.dumps(unused).encode())
            self._write_state(0.0)  # after an error it stays: a request may still be on its way
        finally:
            self._store.storage.delete_object(LOCK)
        return self._report

    def _choose_runs(self) -> None:
        """Read the manifests that are new, and say which are dropped."""
        keys = set(self._store.list_runs())
        self._manifests = {key: one for key, one in self._manifests.items() if key in keys}
        unreadable = []
        for key, manifest in self._store.read_manifests(keys - {*self._manifests}):
            if manifest is None:
                unreadable.append(key)
            else:
                self._manifests[key] = manifest
        kept = retention.select_kept(self._manifests.values(), self._rules, time.time())
        dropped = [one for key, one in self._manifests.items() if key not in kept]
        dropped.sort(key=lambda one: one.sealed_at)
        self._report = PruneReport(dropped, len(kept), unreadable=sorted(unreadable))

    def _deletable_blobs(self, unused: dict[str, float]) -> list[StoredObject]:
        """Return the contents that may be deleted; bring ``unused`` to what is so now."""
        dropped = {one.run_key for one in self._report.dropped}
        named = {
            sha256
            for key, manifest in self._manifests.items()
            if key not in dropped
            for sha256 in (*(one.sha256 for one in manifest.artifacts), manifest.metrics_sha256)
        }
        now, known, deletable = time.time(), dict(unused), []
        unused.clear()
        for blob in self._store.storage.list_objects("blobs/"):
            sha256 = object_storage.hash_of_key(blob.key)
            if sha256 in named:
                continue
            since = max(known.get(sha256, now), min(blob.stored_at, now))
            if now - since >= self._unused_for and not self._report.unreadable:
                deletable.append(blob)
                self._report.deleted_blobs += 1
                self._report.deleted_bytes += blob.size
            else:
                unused[sha256] = since
                self._report.waiting_blobs += 1
                self._report.waiting_bytes += blob.size
        return deletable

    def _read_unused(self) -> dict[str, float]:
        """Return since when a prune has known that nothing names a content, by hash."""
        data = self._store.read_json(_UNUSED)
        return {
            sha256: float(since)
            for sha256, since in (data.items() if isinstance(data, dict) else ())
            if isinstance(since, int | float)
        }

    def _lock(self) -> None:
        """Have no other prune at work. One that was killed is passed over after a while."""
        text = json.dumps({"until": time.time() + DELETION_PERIOD}).encode()
        if self._store.storage.create_object(LOCK, text):
            return
        data = self._store.read_json(LOCK)
        until = data.get("until") if isinstance(data, dict) else None
        if isinstance(until, int | float) and until > time.time():
            raise UserError(
                "another fyre prune is at work on this store",
                hint=f"wait for it; a killed one is passed over after {DELETION_PERIOD:.0f} s",
            )
        self._store.storage.replace_object(LOCK, text)

    def _renew(self) -> None:
        """Say that contents are being deleted, for some minutes from now on."""
        if time.monotonic() - self._renewed_at > _RENEWAL or not self._renewed_at:
            self._renewed_at = time.monotonic()
            until = time.time() + DELETION_PERIOD
            self._store.storage.replace_object(LOCK, json.dumps({"until": until}).encode())
            self._write_state(until)

    def _write_state(self, until: float) -> None:
        state = {**self._state, "until": until}
        self._store.storage.replace_object(STATE, json.dumps(state).encode())
