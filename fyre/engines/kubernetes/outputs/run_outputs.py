"""The record of a run whose outputs are on the way: pure, and level-triggered as ``run_status`` is.

A run whose command has ended is ``uploading`` until its manifest is sealed, or until it is certain
that there is nothing to seal. A run that succeeded and whose outputs are lost is an error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.outputs.upload_agent import NOTHING_TO_KEEP
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.message import output_notation
from fyre.message.value_parsers import BadValueError
from fyre.runs.results import RunResults
from fyre.runs.run import Run, RunRecord
from fyre.runs.state import RunState

LOST = "outputs lost: "
"""The beginning of the reason of a run whose outputs can't be had any more."""


@dataclass(frozen=True, slots=True)
class SealedOutputs:
    """The end of an upload: what the manifest says, and why a run failed that ended well."""

    results: RunResults
    failure_reason: str = ""


@dataclass(frozen=True, slots=True)
class OutputFacts:
    """The facts that this process knows of the uploads of one run."""

    listed_pods: tuple[str, ...] = ()  # uids of pods whose listing is kept, the newest last
    is_checked: bool = False  # True once it was looked which those are
    sealed: SealedOutputs | None = None
    trouble: str = ""  # why they can't be sealed yet
    lost: str = ""  # why they never will be


NOTHING_KNOWN = OutputFacts()


def keeps_outputs(job: KubeObject) -> bool:
    """Return True if the pods of a Job upload outputs."""
    return job_labels.UPLOAD_ANNOTATION in pod_facts.get_annotations(job)


def upload_seconds(job: KubeObject) -> float:
    """Return the seconds that the upload of a Job's pod may take; 0 for a Job without."""
    text = pod_facts.get_annotations(job).get(job_labels.UPLOAD_ANNOTATION, "")
    return float(text) if text.isascii() and text.isdecimal() else 0.0


def with_outputs(
    final: RunRecord, job: KubeObject, run_pods: Collection[KubeObject], facts: OutputFacts
) -> RunRecord:
    """Return the record of a run whose command has ended, as far as its outputs are known."""
    if not keeps_outputs(job) or not _may_have_run(final, job, run_pods):
        return final
    if facts.sealed is not None:
        return _with_sealed(final, facts.sealed)
    if facts.lost:
        return _with_lost(final, facts.lost)
    pod = deciding_pod(final, run_pods)
    if pod is None:  # all are gone, as after a long absence of the receiver
        is_open = bool(facts.listed_pods) or not facts.is_checked
        return _uploading(final, facts) if is_open else _with_unknown(final)
    return _with_agent_words(final, pod, facts)


def _with_agent_words(final: RunRecord, pod: KubeObject, facts: OutputFacts) -> RunRecord:
    """Return the record by what the agent of the deciding pod said, if it has ended."""
    is_kept, words = pod["metadata"]["uid"] in facts.listed_pods, _last_words(pod)
    if is_kept or not has_upload_ended(pod):
        return _uploading(final, facts)
    if words == NOTHING_TO_KEEP:
        return final
    if not facts.is_checked:
        return _uploading(final, facts)
    return _with_lost(final, words or "its pod ended before they were stored")


def _may_have_run(final: RunRecord, job: KubeObject, run_pods: Collection[KubeObject]) -> bool:
    """Return True if the command was started, or if nobody knows: all its pods are gone."""
    status = job.get("status") or {}
    has_ended_pods = bool(status.get("succeeded") or status.get("failed"))
    has_ended_pods = has_ended_pods or final.state is RunState.SUCCEEDED
    return bool(final.tries) or (has_ended_pods and not run_pods)


def deciding_pod(record: RunRecord, run_pods: Collection[KubeObject]) -> KubeObject | None:
    """Return the pod whose outputs are the run's: the one that succeeded, else the last start."""
    started = sorted(
        filter(pod_facts.has_started, run_pods),
        key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]),
    )
    if record.state is RunState.SUCCEEDED:
        for pod in started:
            if pod_facts.terminated_state(pod).get("exitCode") == 0:
                return pod
    return started[-1] if started else None


def has_upload_ended(pod: KubeObject) -> bool:
    """Return True if the agent of a pod, whose command has ended, does nothing any more."""
    return (
        bool((_agent_status(pod).get("state") or {}).get("terminated"))
        or pod_facts.pod_phase(pod) in ("Succeeded", "Failed")
        or pod_facts.DELETED_MARK in pod
        or pod_facts.LOST_MARK in pod
    )


def _agent_status(pod: KubeObject) -> KubeObject:
    for status in pod_facts.container_statuses(pod):
        if status["name"] == job_labels.UPLOAD_CONTAINER:
            return status
    return {}


def _last_words(pod: KubeObject) -> str:
    """Return what the agent said at its end; where it was started again, what it said before."""
    status = _agent_status(pod)
    ends = ((status.get(name) or {}).get("terminated") or {} for name in ("state", "lastState"))
    message = next(filter(None, (end.get("message") for end in ends)), "")
    return pod_facts.to_one_line(str(message))[:200]


def _declares_outputs(run: Run) -> bool:
    """Return True if there are outputs that must be there."""
    for text in run.spec.outputs:
        try:
            if not output_notation.read_output(text).is_optional:
                return True
        except BadValueError:  # of another version
            continue
    return False


def _uploading(final: RunRecord, facts: OutputFacts) -> RunRecord:
    reason = f"its outputs can't be stored yet: {facts.trouble}" if facts.trouble else ""
    return replace(
        final, state=RunState.UPLOADING, reason=reason, exit_code=None, signal=None, ended_at=None
    )


def _with_sealed(final: RunRecord, sealed: SealedOutputs) -> RunRecord:
    if final.state is RunState.SUCCEEDED and sealed.failure_reason:
        final = replace(final, state=RunState.FAILED, reason=sealed.failure_reason)
    return replace(final, results=sealed.results)


def _with_unknown(final: RunRecord) -> RunRecord:
    """Return the record of a run of which no pod is there that could say what it left."""
    if final.state is RunState.SUCCEEDED and _declares_outputs(final.run):
        return _with_lost(final, "its pod is gone")
    note = "its pod was gone before anybody asked: what it left is not known"
    return replace(final, results=RunResults(problems=(note,), is_partial=True))


def _with_lost(final: RunRecord, why: str) -> RunRecord:
    """Return the record of a run whose outputs are lost: an error, where it had succeeded.

    Otherwise it stays what it is, with a line that says so.
    """
    if final.state is RunState.SUCCEEDED:
        return replace(final, state=RunState.ERROR, reason=LOST + why, exit_code=None)
    return replace(final, results=RunResults(problems=(LOST + why,), is_partial=True))
