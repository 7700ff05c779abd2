"""Seal the outputs of a run: from what is stored, make its manifest, and store that last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fyre.artifacts import link_lines, metrics_file
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.artifacts.metrics_file import MetricsSummary
from fyre.runs import results
from fyre.runs.results import MetricValue, RunResults
from fyre.runs.run import Run

LINKS_SIZE = 256 * 1024
"""Bytes that are read of the file of links."""

_DOCUMENT_SIZE = 4 * 1024 * 1024  # bytes of a metrics.json


@dataclass(frozen=True, slots=True)
class StoredOutputs:
    """What a run left, as far as its contents are in the store."""

    artifacts: tuple[Artifact, ...]
    metrics_sha256: str | None = None  # of the lines in which the command wrote its metrics
    links: str = ""  # the beginning of the file of links
    problems: Sequence[str] = ()


def seal_run(
    store: ArtifactStore, run: Run, outputs: StoredOutputs, *, is_partial: bool
) -> RunManifest:
    """Store the manifest of a run, and return it.

    Raises ``FileNotFoundError`` where a content is not stored, ``OSError`` for the store.
    """
    metrics, metrics_problems = _read_metrics(store, run, outputs)
    manifest = RunManifest(
        run.key,
        run.repository,
        run.sha,
        run.name,
        run.attempt,
        time.time(),
        outputs.artifacts,
        RunResults(
            len(outputs.artifacts),
            sum(one.size for one in outputs.artifacts),
            _most_important(metrics, run),
            (*outputs.problems, *metrics_problems, *metrics.problems()),
            is_partial,
        ),
        link_lines.parse_links(outputs.links),
        outputs.metrics_sha256,
    )
    store.put_manifest(manifest)
    if store.get_manifest(run.key) is None:
        raise OSError("the manifest can't be read back")
    return manifest


def missing_reason(missing: Sequence[str]) -> str:
    """Return why a run failed that ended well without outputs that it declared."""
    names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return f"the command ended well, but wrote no {names}"


def _read_metrics(
    store: ArtifactStore, run: Run, outputs: StoredOutputs
) -> tuple[MetricsSummary, list[str]]:
    """Return the metrics of a run, and a line for each file that is too large to be read."""
    summary = MetricsSummary([name for name, _ in run.spec.metric_goals])
    problems = []
    for artifact in outputs.artifacts:
        if artifact.path.rpartition("/")[2] != metrics_file.METRICS_JSON:
            continue
        if artifact.size > _DOCUMENT_SIZE:
            problems.append(f"{artifact.path} is too large to be read as metrics")
            continue
        with store.open_blob(artifact.sha256) as file:
            summary.add_document(file.read())
    if outputs.metrics_sha256 is not None:
        with store.open_blob(outputs.metrics_sha256) as file:
            summary.add_lines(file)
    return summary, problems


def _most_important(metrics: MetricsSummary, run: Run) -> tuple[tuple[str, MetricValue], ...]:
    """Return the metrics for the record: those that count come first."""
    goals = [name for name, _ in run.spec.metric_goals if name in metrics.values]
    names = dict.fromkeys([*goals, *metrics.values])
    return tuple((name, metrics.values[name]) for name in [*names][: results.NAMES_MAX])
