"""Limits of what a run keeps, and of what all runs of a repository keep together.

What the other runs keep is read from ``sizes/KEY.REPOSITORY.BYTES.FILES``, empty objects beside the
manifests, of which one request lists a thousand. They are a cache: what is missing is made from its
manifest, what has none is passed over.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fyre.artifacts.artifact_store import ArtifactStore
from fyre.runs import policy as policies
from fyre.runs.results import format_bytes
from fyre.runs.run import Repository, Run


@dataclass(frozen=True, slots=True)
class OutputSize:
    """The bytes and files that are kept."""

    size: int = 0  # bytes
    count: int = 0  # files

    def __add__(self, other: OutputSize) -> OutputSize:
        return OutputSize(self.size + other.size, self.count + other.count)


def find_excess(store: ArtifactStore, run: Run, found: OutputSize) -> str:
    """Return why nothing of a run's outputs may be kept, in a line for people; "" if they may.

    Two runs that end at once may exceed a repository's limit together. Raises ``OSError`` if the
    store can't be read.
    """
    policy = policies.for_repository(store.policy, run.repository.name)
    limit = policy.run_output_bytes, policy.run_output_files
    if problem := _describe_excess(found, limit):
        return f"its outputs are {problem} a run: none of them is kept"
    limit = policy.repository_output_bytes, policy.repository_output_files
    if limit == (None, None) or found == OutputSize():
        return ""
    others = sum_sizes(store, run.repository, without=run.key)
    if problem := _describe_excess(found + others, limit):
        return (
            f"with its outputs the repository's would be {problem} a repository: none of them is "
            "kept, until fyre prune makes room"
        )
    return ""


def sum_sizes(store: ArtifactStore, repository: Repository, without: str = "") -> OutputSize:
    """Return what the runs of a repository keep, but for one run."""
    known: dict[str, tuple[str, OutputSize]] = {}
    for one in store.storage.list_objects("sizes/"):
        key, owner, size, count = one.key.removeprefix("sizes/").split(".")
        known[key] = (owner, OutputSize(int(size), int(count)))
    total = OutputSize()
    for key in store.list_runs():
        owner, kept = known.get(key) or _note_size(store, key)
        if owner == _repository_name(repository) and key != without:
            total += kept
    return total


def forget_size(store: ArtifactStore, key: str) -> None:
    """Delete what was noted of a run whose manifest is deleted."""
    for one in [*store.storage.list_objects("sizes/")]:
        if one.key.startswith(f"sizes/{key}."):
            store.storage.delete_object(one.key)


def _note_size(store: ArtifactStore, key: str) -> tuple[str, OutputSize]:
    manifest = store.get_manifest(key)
    if manifest is None:
        return "", OutputSize()
    size = OutputSize(
        sum(artifact.size for artifact in manifest.artifacts), len(manifest.artifacts)
    )
    owner = _repository_name(manifest.repository)
    store.storage.create_object(f"sizes/{key}.{owner}.{size.size}.{size.count}", b"")
    return owner, size


def _repository_name(repository: Repository) -> str:
    """Return a repository's name in a key; a renamed repository keeps it."""
    return hashlib.sha256(f"{repository.forge} {repository.id}".encode()).hexdigest()[:16]


def _describe_excess(found: OutputSize, limit: tuple[int | None, int | None]) -> str:
    size_max, count_max = limit
    if size_max is not None and found.size > size_max:
        return f"{format_bytes(found.size)}, and the policy allows {format_bytes(size_max)}"
    if count_max is not None and found.count > count_max:
        return f"{found.count:,} files, and the policy allows {count_max:,}"
    return ""
