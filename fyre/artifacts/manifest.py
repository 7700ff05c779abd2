"""The manifest of a run: which files it kept, and where their content is. Pure.

It is written last, when everything that it names is stored, and never changes afterwards.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fyre.artifacts.output_paths import is_hostile_path
from fyre.runs import results
from fyre.runs.results import RunResults
from fyre.runs.run import Repository, repository_from_json, repository_to_json
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnknownFields,
    UnreadableError,
    as_integer,
    as_key,
    as_moment,
    as_pairs,
    as_printable_or_empty,
    as_printable_text,
    as_sha,
    as_text,
    or_null,
)

HASH_HEX_LENGTH = 64
"""Hexadecimal digits of a SHA-256."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file. ``path`` is relative, with ``/``; bytes that are no UTF-8 are surrogate escapes."""

    path: str
    size: int  # bytes
    sha256: str
    mode: int  # permission bits
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)

    @property
    def media_type(self) -> str:
        """The type that the name promises, such as ``image/png``."""
        return mimetypes.guess_type(self.path)[0] or "application/octet-stream"


@dataclass(frozen=True, slots=True)
class RunManifest:
    """All that one run kept."""

    run_key: str
    repository: Repository
    sha: str  # of the commit
    run_name: str
    attempt: int
    sealed_at: float  # seconds since the epoch
    artifacts: tuple[Artifact, ...]
    results: RunResults
    links: tuple[tuple[str, str], ...] = ()  # title, URL
    metrics_sha256: str | None = None  # of all the lines in which the command wrote its metrics
    ref: str = ""  # that it was launched for; "" if that is not known
    state: str = ""  # how it ended, as ``RunState``; "" if that is not known
    # Fields that a later version stored beside these.
    unknown: UnknownFields = field(default=(), compare=False, repr=False)

    def find_artifact(self, path: str) -> Artifact | None:
        """Return the file with this path, or None."""
        return next((one for one in self.artifacts if one.path == path), None)


def _as_path(value: object) -> str:
    path = as_text(value)
    if is_hostile_path(path):
        raise UnreadableError(f"{path!r:.60} is no path below a directory")
    return path


def _as_sha256(value: object) -> str:
    text = as_sha(value)
    if len(text) != HASH_HEX_LENGTH:
        raise UnreadableError(f"{value!r:.40} is no SHA-256")
    return text


def _as_mode(value: object) -> int:
    return as_integer(value) & 0o777


ARTIFACT_FORM = StoredForm(
    "an output",
    (
        StoredField("path", "path", _as_path, required=True),
        StoredField("size", "size", as_integer, required=True),
        StoredField("sha256", "sha256", _as_sha256, required=True),
        StoredField("mode", "mode", _as_mode, required=True),
    ),
)
"""The stored names of one file."""


def artifacts_from_json(data: object) -> tuple[Artifact, ...]:
    """Return the files of a stored list. Raises ``UnreadableError``."""
    if not isinstance(data, list):
        raise UnreadableError(f"{data!r:.40} is not a list")
    return tuple(artifact_from_json(one) for one in data)


def artifact_from_json(data: object) -> Artifact:
    """Return the file that was stored. Raises ``UnreadableError``."""
    attributes = ARTIFACT_FORM.decode(data)
    return Artifact(**attributes, unknown=ARTIFACT_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object


def artifact_to_json(artifact: Artifact) -> dict[str, Any]:
    """Return the file as plain data."""
    return ARTIFACT_FORM.encode(artifact, artifact.unknown)


def artifacts_to_json(artifacts: Iterable[Artifact]) -> list[dict[str, Any]]:
    """Return the files as a list of plain data."""
    return [artifact_to_json(one) for one in artifacts]


MANIFEST_FORM = StoredForm(
    "a manifest",
    (
        StoredField("run_key", "run_key", as_key, required=True),
        StoredField(
            "repository", "repository", repository_from_json, repository_to_json, required=True
        ),
        StoredField("sha", "sha", as_sha, required=True),
        StoredField("run_name", "run_name", as_printable_text, required=True),
        StoredField("attempt", "attempt", as_integer, required=True),
        StoredField("sealed_at", "sealed_at", as_moment, required=True),
        StoredField(
            "artifacts",
            "artifacts",
            artifacts_from_json,
            artifacts_to_json,
            required=True,
        ),
        StoredField("results", "results", results.from_json, results.to_json, required=True),
        StoredField("links", "links", as_pairs),
        StoredField("metrics_sha256", "metrics_sha256", or_null(_as_sha256)),
        StoredField("ref", "ref", as_printable_or_empty, since=2, unset=""),
        StoredField("state", "state", as_printable_or_empty, since=2, unset=""),
    ),
)
"""The stored names of a manifest."""


def to_json(manifest: RunManifest) -> dict[str, Any]:
    """Return the manifest as plain data."""
    return MANIFEST_FORM.encode(manifest, manifest.unknown)


def from_json(data: object) -> RunManifest:
    """Return the manifest that ``to_json`` wrote down. Raises ``UnreadableError``."""
    attributes: Mapping[str, Any] = MANIFEST_FORM.decode(data)
    return RunManifest(**attributes, unknown=MANIFEST_FORM.unknown_fields(data))  # type: ignore[arg-type] # an object
