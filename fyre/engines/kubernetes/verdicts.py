"""The verdict on a pod that ended badly, in the words of who ended it. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from fyre import units
from fyre.engines import endings
from fyre.engines.kubernetes import names, pods
from fyre.engines.kubernetes.pods import Object
from fyre.run import Record
from fyre.spec import Spec
from fyre.state import State
from fyre.status_text import TIMED_OUT


def judged(seen: Record, job: Object, pod: Object | None, *, began: bool = False) -> Record:
    """How the run ended, by its last pod; None where the Job failed and no pod is left.

    ``began``: its command was seen to run, whatever the pod says now.
    """
    failed = pods.line(pods.condition(job, "Failed").get("message", ""))
    if pod is None:
        return replace(seen, state=State.ERROR, reason=f"no pod of it is left to ask: {failed or 'nobody says why'}")
    began = began or pods.started(pod)
    if pods.timed_out(pod, seen.run.spec.timeout):
        if not began:  # an image that is pulled for longer than manifests.START, say
            return replace(seen, state=State.ERROR, reason="its pod's deadline came before the command started")
        text = f"{TIMED_OUT}{units.text_of(seen.run.spec.timeout or 0)}"
        return replace(seen, state=State.FAILED, reason=text)
    why = _taken_away(pod, job, began=began) or _never_began(seen, pod)
    if not why and not pods.terminated(pod):
        said = pods.line(pod["status"].get("message", "")) or failed
        why = f"its pod ended without an exit code: {said or 'nobody says why'}"
    return replace(seen, state=State.ERROR, reason=why) if why else _by_exit_code(seen, pods.terminated(pod))


def _never_began(seen: Record, pod: Object) -> str:
    """Why the command was not started; empty when it was."""
    checkout, command = pods.terminated(pod, names.CHECKOUT), pods.terminated(pod)
    if checkout.get("exitCode"):
        told = pods.line(checkout.get("message", "")) or endings.ending(checkout["exitCode"])
        return told if "checked out" in told else f"checkout failed: {told}"
    told = pods.line(command.get("message", ""))
    if command.get("reason") in ("StartError", "ContainerCannotRun"):
        return f"the container can't be started: {pods.short(told)}"
    return told if _is_the_wrappers(seen.run.spec, told, command.get("exitCode")) else ""


def _is_the_wrappers(spec: Spec, told: str, code: int | None) -> bool:
    """Whether ``command.sh`` would say that of this run: the command can write there too, and a status is public."""
    if told == f"setup failed: {TIMED_OUT}{units.text_of(spec.timeout or 0)}":
        return bool(spec.setup)
    if code != names.NOT_STARTED:
        return False
    workdir = f"workdir {pods.line(spec.workdir or '.')} "
    if told in ("there is no checkout", workdir + "is not in this commit", workdir + "leads out of the checkout"):
        return True
    found = re.fullmatch(r"setup failed: `(.*)` exit \d+", told)
    return found is not None and any(pods.line(setup).startswith(found[1].rstrip("\ufffd ")) for setup in spec.setup)


def _taken_away(pod: Object, job: Object, *, began: bool) -> str:
    """Who ended the pod, where that was not the command's doing; empty when it was."""
    disruption, said = pods.condition(pod, "DisruptionTarget"), pods.line(pod["status"].get("message", ""))
    when = "" if began else " before the command started"
    if pod["status"].get("reason") == "Evicted":
        return f"evicted{when}: {said}"
    if disruption.get("status") == "True":
        what = _WORDS.get(disruption.get("reason", ""), "disrupted")
        return f"{what}{when}: {pods.line(disruption.get('message', ''))}"
    if pods.deleted_at(pod) is not None and pods.told_to_end(pod):
        return _deleted_by(job) + when
    if pods.terminated(pod).get("reason") == "ContainerStatusUnknown":
        return "lost: the node no longer knows how the command ended"
    return ""


def _deleted_by(job: Object) -> str:
    if job["spec"].get("suspend"):
        return "its Job was suspended"
    target = pods.condition(job, "FailureTarget")  # a deadline of the Job's that is not of our making
    if target.get("reason") == "DeadlineExceeded":
        return f"ended by its Job: {pods.line(target.get('message', ''))}"
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
    verdict = endings.verdict(code)
    return replace(
        seen,
        state=State.FAILED,
        exit_code=code,
        signal=verdict.get("signal"),
        reason=verdict["reason"].replace(", out of memory?", ""),  # that would have been said
    )
