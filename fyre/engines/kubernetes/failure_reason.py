"""The verdict on a pod that ended badly, in the words of who ended it. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from fyre.engines import exit_status
from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.pod_facts import Object
from fyre.message import notation
from fyre.message.spec import Spec
from fyre.runs.run import Record
from fyre.runs.state import State
from fyre.runs.status_text import TIMED_OUT


def judged(seen: Record, job: Object, pod: Object | None, *, began: bool = False) -> Record:
    """How the run ended, by its last pod; None where the Job failed and no pod is left.

    ``began``: its command was seen to run, whatever the pod says now.
    """
    failed = pod_facts.line(pod_facts.condition(job, "Failed").get("message", ""))
    if pod is None:
        return replace(
            seen,
            state=State.ERROR,
            reason=f"no pod of it is left to ask: {failed or 'nobody says why'}",
        )
    began = began or pod_facts.started(pod)
    if pod_facts.timed_out(pod, seen.run.spec.timeout):
        if not began:  # an image that is pulled for longer than manifests.START, say
            return replace(
                seen, state=State.ERROR, reason="its pod's deadline came before the command started"
            )
        text = f"{TIMED_OUT}{notation.text_of(seen.run.spec.timeout or 0)}"
        return replace(seen, state=State.FAILED, reason=text)
    why = _taken_away(pod, job, began=began) or _never_began(seen, pod)
    if not why and not pod_facts.terminated(pod):
        said = pod_facts.line(pod["status"].get("message", "")) or failed
        why = f"its pod ended without an exit code: {said or 'nobody says why'}"
    return (
        replace(seen, state=State.ERROR, reason=why)
        if why
        else _by_exit_code(seen, pod_facts.terminated(pod))
    )


def _never_began(seen: Record, pod: Object) -> str:
    """Why the command was not started; empty when it was."""
    checkout, command = pod_facts.terminated(pod, job_labels.CHECKOUT), pod_facts.terminated(pod)
    if checkout.get("exitCode"):
        told = pod_facts.line(checkout.get("message", "")) or exit_status.ending(
            checkout["exitCode"]
        )
        return told if "checked out" in told else f"checkout failed: {told}"
    told = pod_facts.line(command.get("message", ""))
    if command.get("reason") in ("StartError", "ContainerCannotRun"):
        return f"the container can't be started: {pod_facts.short(told)}"
    return told if _is_the_wrappers(seen.run.spec, told, command.get("exitCode")) else ""


def _is_the_wrappers(spec: Spec, told: str, code: int | None) -> bool:
    """Whether ``command.sh`` would say that of this run: the command can write there too, and a status is public."""
    if told == f"setup failed: {TIMED_OUT}{notation.text_of(spec.timeout or 0)}":
        return bool(spec.setup)
    if code != job_labels.NOT_STARTED:
        return False
    workdir = f"workdir {pod_facts.line(spec.workdir or '.')} "
    if told in (
        "there is no checkout",
        workdir + "is not in this commit",
        workdir + "leads out of the checkout",
    ):
        return True
    found = re.fullmatch(r"setup failed: `(.*)` exit \d+", told)
    return found is not None and any(
        pod_facts.line(setup).startswith(found[1].rstrip("\ufffd ")) for setup in spec.setup
    )


def _taken_away(pod: Object, job: Object, *, began: bool) -> str:
    """Who ended the pod, where that was not the command's doing; empty when it was."""
    disruption, said = (
        pod_facts.condition(pod, "DisruptionTarget"),
        pod_facts.line(pod["status"].get("message", "")),
    )
    when = "" if began else " before the command started"
    if pod["status"].get("reason") == "Evicted":
        return f"evicted{when}: {said}"
    if disruption.get("status") == "True":
        what = _WORDS.get(disruption.get("reason", ""), "disrupted")
        return f"{what}{when}: {pod_facts.line(disruption.get('message', ''))}"
    if pod_facts.deleted_at(pod) is not None and pod_facts.told_to_end(pod):
        return _deleted_by(job) + when
    if pod_facts.terminated(pod).get("reason") == "ContainerStatusUnknown":
        return "lost: the node no longer knows how the command ended"
    return ""


def _deleted_by(job: Object) -> str:
    if job["spec"].get("suspend"):
        return "its Job was suspended"
    target = pod_facts.condition(
        job, "FailureTarget"
    )  # a deadline of the Job's that is not of our making
    if target.get("reason") == "DeadlineExceeded":
        return f"ended by its Job: {pod_facts.line(target.get('message', ''))}"
    return "its pod was deleted"


_WORDS = {
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "its node was tainted or lost",
    "EvictionByEvictionAPI": "evicted",
    "DeletionByPodGC": "lost with its node",
    "TerminationByKubelet": "evicted by its node",
}
"""Disruptions by their names (k8s.io/api/core/v1, pod conditions)."""


def _by_exit_code(seen: Record, terminated: Object) -> Record:
    code = terminated["exitCode"]
    if terminated.get("reason") == "OOMKilled":
        limit = dict(seen.run.spec.resources).get("memory", "")
        text = f"out of memory{f' (limit {limit})' if limit else ''}: exit {code} (SIGKILL)"
        return replace(seen, state=State.FAILED, exit_code=code, reason=text)
    verdict = exit_status.verdict(code)
    return replace(
        seen,
        state=State.FAILED,
        exit_code=code,
        signal=verdict.get("signal"),
        reason=verdict["reason"].replace(", out of memory?", ""),  # that would have been said
    )
