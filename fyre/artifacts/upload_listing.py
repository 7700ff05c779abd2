"""The listing of an upload: all that one pod says its command left. Pure.

It is a claim until every content that it names was checked. ``upload_agent`` writes it, in a pod
that may be of another version.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

from fyre.artifacts.manifest import (
    Artifact,
    artifact_from_json,
    artifact_to_json,
    artifacts_from_json,
    artifacts_to_json,
)
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnreadableError,
    as_text,
    as_texts,
    or_null,
    parse_json,
)

ARTIFACTS_MAX = 200_000
"""Files of one upload."""

_PATH_MAX = 4096  # bytes: the longest path that Linux opens
_LINE_MAX = 64 * 1024  # bytes
_HEAD_MAX = 8 * 1024 * 1024  # bytes
_BRACKETS_MAX = 10_000  # in the first line
_LINES_MAX = 100  # problems, and outputs that are missing


@dataclass(frozen=True, slots=True)
class UploadListing:
    """The files of one try of a run, and what its agent could not keep."""

    artifacts: tuple[Artifact, ...] = ()
    metrics: Artifact | None = None  # of all the lines in which the command wrote its metrics
    links: str = ""  # the beginning of the file of links
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # outputs that the run declared, and of which nothing was there

    def contents(self) -> dict[str, int]:
        """Return the size of each content, by its hash."""
        metrics = (self.metrics,) if self.metrics is not None else ()
        return {one.sha256: one.size for one in (*self.artifacts, *metrics)}


def _as_artifacts(data: object) -> tuple[Artifact, ...]:
    return _check_paths(artifacts_from_json(data))


def _check_paths(artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """Return files that can be laid out in one folder. Raises ``UnreadableError``."""
    if len(artifacts) > ARTIFACTS_MAX:
        raise UnreadableError(f"it has more than {ARTIFACTS_MAX:,} files")
    paths = {one.path for one in artifacts}
    if len(paths) < len(artifacts):
        raise UnreadableError("a path is there twice")
    for path in paths:
        if len(path.encode(errors="surrogateescape")) > _PATH_MAX:
            raise UnreadableError(f"a path has more than {_PATH_MAX:,} bytes")
        if any(path[:end] in paths for end, char in enumerate(path) if char == "/"):
            raise UnreadableError("a file and a folder have one name")
    return artifacts


def _as_lines(data: object) -> tuple[str, ...]:
    lines = as_texts(data)
    return tuple(line[:300] for line in lines[:_LINES_MAX])


LISTING_FORM = StoredForm(
    "a listing",
    (
        StoredField(
            "artifacts",
            "artifacts",
            _as_artifacts,
            artifacts_to_json,
            required=True,
        ),
        StoredField(
            "metrics",
            "metrics",
            or_null(artifact_from_json),
            lambda one: one and artifact_to_json(one),
        ),
        StoredField("links", "links", as_text),
        StoredField("problems", "problems", _as_lines),
        StoredField("missing", "missing", _as_lines),
    ),
)
"""The names of a listing, as a pod sends it and as it is stored."""


def from_json(data: object) -> UploadListing:
    """Return the listing that a pod sent. Raises ``UnreadableError``."""
    return UploadListing(**LISTING_FORM.decode(data))


def to_json(listing: UploadListing) -> dict[str, Any]:
    """Return the listing as plain data."""
    return LISTING_FORM.encode(listing)


def from_lines(body: bytes) -> UploadListing:
    """Return the listing that a pod sent. Raises ``UnreadableError``.

    The first line is the listing without its files, and each further one is a file: so nothing is
    in memory as JSON but one line, whatever somebody sends.
    """
    file = io.BytesIO(body)
    artifacts: list[Artifact] = []
    head = file.readline(_HEAD_MAX)
    if head.count(b"[") + head.count(b"{") > _BRACKETS_MAX:
        raise UnreadableError("the first line holds more than a listing")
    data = parse_json(head)
    while line := file.readline(_LINE_MAX):
        if len(artifacts) >= ARTIFACTS_MAX:
            raise UnreadableError(f"it has more than {ARTIFACTS_MAX:,} files")
        artifacts.append(artifact_from_json(parse_json(line)))
    if not isinstance(data, dict) or "artifacts" in data:
        raise UnreadableError("the first line is no listing without its files")
    listing = UploadListing(**LISTING_FORM.decode(data | {"artifacts": []}))
    return replace(listing, artifacts=_check_paths(tuple(artifacts)))
