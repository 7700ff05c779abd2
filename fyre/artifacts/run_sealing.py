"""Seal the outputs of a run: from what is stored, make its manifest, and store that last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fyre.artifacts import link_lines, metrics_file, output_limits
from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.artifacts.metrics_file import MetricsSummary
from fyre.artifacts.output_limits import OutputSize
from fyre.runs import results
from fyre.runs.results import MetricValue, RunResults
from fyre.runs.run import Run
from fyre.runs.state import RunState

_DOCUMENT_SIZE = 4 * 1024 * 1024  # bytes of a metrics.json


@dataclass(frozen=True, slots=True)
class StoredOutputs:
    """The outputs of a run, as far as their contents are in the store."""

    artifacts: tuple[Artifact, ...]
    metrics_sha256: str | None = None  # of the lines in which the command wrote its metrics
    links: str = ""  # the beginning of the file of links
    problems: Sequence[str] = ()
    missing: Sequence[str] = ()  # outputs that the run declared, and of which nothing is kept
    refusal: str = ""  # why none of its files is kept

    def size(self) -> OutputSize:
        """Return how much is kept."""
        return OutputSize(sum(one.size for one in self.artifacts), len(self.artifacts))

    def failure_reason(self) -> str:
        """Return why a run failed whose command ended well; "" if it succeeded."""
        if self.refusal:
            return f"the command ended well, but {self.refusal}"
        if not self.missing:
            return ""
        more = f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
        return f"the command ended well, but wrote no {', '.join(self.missing[:3])}{more}"


def within_limits(store: ArtifactStore, run: Run, outputs: StoredOutputs) -> StoredOutputs:
    """Return the outputs, without any file if they are more than the policy allows."""
    excess = output_limits.find_excess(store, run, outputs.size())
    if not excess:
        return outputs
    return replace(outputs, artifacts=(), refusal=excess, problems=(excess, *outputs.problems))


def seal_run(
    store: ArtifactStore, run: Run, outputs: StoredOutputs, command_state: RunState | None
) -> RunManifest:
    """Store the manifest of a run whose command ended like that, and return it.

    Raises ``FileNotFoundError`` where a content is not stored, ``OSError`` for the store.
    """
    metrics, metrics_problems = _read_metrics(store, run, outputs)
    has_succeeded = command_state is RunState.SUCCEEDED
    has_failed = has_succeeded and outputs.failure_reason()
    manifest = RunManifest(
        run.key,
        run.repository,
        run.sha,
        run.name,
        run.attempt,
        time.time(),
        outputs.artifacts,
        RunResults(
            outputs.size().count,
            outputs.size().size,
            _most_important(metrics, run),
            (*outputs.problems, *metrics_problems, *metrics.problems()),
            not has_succeeded or bool(has_failed),
        ),
        link_lines.parse_links(outputs.links),
        outputs.metrics_sha256,
        run.ref,
        str((RunState.FAILED if has_failed else command_state) or ""),
    )
    store.put_manifest(manifest)
    if store.get_manifest(run.key) is None:
        raise OSError("the manifest can't be read back")
    return manifest


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
