"""The reason why a pod ended badly, in the words of what ended it. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from fyre.engines import exit_status
from fyre.engines.kubernetes import job_labels, pod_facts
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.message import value_parsers
from fyre.message.spec import RunSpec
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import TIMED_OUT

NO_REASON = "Kubernetes gives no reason"

_OTHER_ARCHITECTURE = re.compile(
    r"exec format error|no match for platform|no matching manifest for"
    r"|no image found in (image index|manifest list) for architecture",
    re.IGNORECASE,
)
"""The kernel's words for a program of another architecture (ENOEXEC), and those of containerd,
Docker and CRI-O for an image that has none of the node's."""

_NO_SHELL = re.compile(
    r"(exec /\S*sh|standard_init_linux\.go:\d+: exec user process caused): "
    r"(exec format error|no such file or directory|permission denied|input/output error)"
)
"""The words of runc in the log of a container whose shell it can't start. The exit code is runc's,
and looks like a command's."""


def explain_failure(
    record: RunRecord, job: KubeObject, pod: KubeObject | None, *, has_begun: bool = False
) -> RunRecord:
    """Return the record with the state and the reason of a failure, by the run's last pod.

    ``pod`` is None if the Job failed and no pod is left. ``has_begun``: the command was seen to
    run, whatever the pod says now.
    """
    failed = pod_facts.to_one_line(pod_facts.get_condition(job, "Failed").get("message", ""))
    if pod is None:
        return replace(
            record,
            state=RunState.ERROR,
            reason=f"no pod is left to inspect: {failed or NO_REASON}",
        )
    has_begun = has_begun or pod_facts.has_started(pod)
    if pod_facts.has_timed_out(pod, record.run.spec.timeout):
        if not has_begun:  # pulling the image took longer than MAX_START_SECONDS, perhaps
            return replace(
                record,
                state=RunState.ERROR,
                reason="its pod's deadline came before the command started",
            )
        text = f"{TIMED_OUT}{value_parsers.format_duration(record.run.spec.timeout or 0)}"
        return replace(record, state=RunState.FAILED, reason=text)
    reason = _disruption_reason(pod, job, has_begun=has_begun) or _start_failure(record, pod)
    if not reason and not pod_facts.terminated_state(pod):
        message = pod_facts.to_one_line(pod["status"].get("message", "")) or failed
        reason = f"its pod ended without an exit code: {message or NO_REASON}"
    if reason:
        return replace(record, state=RunState.ERROR, reason=reason)
    return _exit_code_failure(record, pod_facts.terminated_state(pod))


def _start_failure(record: RunRecord, pod: KubeObject) -> str:
    """Return why the command was not started; "" if it was."""
    checkout = pod_facts.terminated_state(pod, job_labels.CHECKOUT_CONTAINER)
    if checkout.get("exitCode"):
        message = pod_facts.to_one_line(checkout.get("message", ""))
        message = message or exit_status.describe_exit(checkout["exitCode"])
        if is_other_architecture(message):
            return other_architecture(message)
        return message if "checked out" in message else f"checkout failed: {message}"
    command = pod_facts.terminated_state(pod)
    message = pod_facts.to_one_line(command.get("message", ""))
    is_unstarted = command.get("reason") in ("StartError", "ContainerCannotRun")
    if is_unstarted or _NO_SHELL.fullmatch(message):
        if is_other_architecture(message):
            return other_architecture(message)
        return f"the container can't be started: {pod_facts.shorten_error_chain(message)}"
    return message if _is_wrapper_message(record.run.spec, message, command.get("exitCode")) else ""


def is_other_architecture(message: str) -> bool:
    """Return True if a container can't run on its node, as its image has no program for that."""
    return _OTHER_ARCHITECTURE.search(message) is not None


def other_architecture(message: str, image: str = "") -> str:
    """Return the reason of a container that can't run on its node, with the runtime's words."""
    name = f"image {image}" if image else "the image"
    return f"{name} is for another architecture: {pod_facts.shorten_error_chain(message)}"


def _is_wrapper_message(spec: RunSpec, message: str, exit_code: int | None) -> bool:
    """Return True if ``command.sh`` would say that of this run.

    The command can write a message too, and a status is public.
    """
    if message == f"setup failed: {TIMED_OUT}{value_parsers.format_duration(spec.timeout or 0)}":
        return bool(spec.setup)
    if exit_code != job_labels.EXIT_NOT_STARTED:
        return False
    workdir = f"workdir {pod_facts.to_one_line(spec.workdir or '.')} "
    if message in (
        "there is no checkout",
        workdir + "is not in this commit",
        workdir + "leads out of the checkout",
    ):
        return True
    match = re.fullmatch(r"setup failed: `(.*)` exit \d+", message)
    if match is None:
        return False
    setup_start = match[1].rstrip("\ufffd ")
    return any(pod_facts.to_one_line(setup).startswith(setup_start) for setup in spec.setup)


def _disruption_reason(pod: KubeObject, job: KubeObject, *, has_begun: bool) -> str:
    """Return what ended the pod, if that was not the command's doing; else ""."""
    if pod_facts.terminated_state(pod).get("exitCode") and pod_facts.has_ended_by_itself(pod):
        return ""
    when = "" if has_begun else " before the command started"
    if pod["status"].get("reason") == "Evicted":
        message = pod_facts.to_one_line(pod["status"].get("message", ""))
        return f"evicted{when}: {message}"
    if word := disruption_word(pod):
        disruption = pod_facts.get_condition(pod, "DisruptionTarget")
        return f"{word}{when}: {pod_facts.to_one_line(disruption.get('message', ''))}"
    if pod_facts.deletion_requested_at(pod) is not None and pod_facts.ended_after_deletion(pod):
        return _deletion_reason(job) + when
    if pod_facts.terminated_state(pod).get("reason") == "ContainerStatusUnknown":
        return "lost: the node no longer knows how the command ended"
    return ""


def disruption_word(pod: KubeObject) -> str:
    """Return what is done to a pod, if Kubernetes takes it away; else ""."""
    disruption = pod_facts.get_condition(pod, "DisruptionTarget")
    if disruption.get("status") != "True":
        return ""
    return _DISRUPTION_WORDS.get(disruption.get("reason", ""), "disrupted")


def _deletion_reason(job: KubeObject) -> str:
    if job["spec"].get("suspend"):
        return "its Job was suspended"
    # A deadline of the Job that Fyre did not set.
    target = pod_facts.get_condition(job, "FailureTarget")
    if target.get("reason") == "DeadlineExceeded":
        return f"ended by its Job: {pod_facts.to_one_line(target.get('message', ''))}"
    return "its pod was deleted"


_DISRUPTION_WORDS = {
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "its node was tainted or lost",
    "EvictionByEvictionAPI": "evicted",
    "DeletionByPodGC": "lost with its node",
    "TerminationByKubelet": "evicted by its node",
}
"""Disruptions by their names (k8s.io/api/core/v1, pod conditions)."""


_KILLED = 128 + 9


def _exit_code_failure(record: RunRecord, terminated: KubeObject) -> RunRecord:
    code = terminated["exitCode"]
    if terminated.get("reason") == "OOMKilled":
        memory = dict(record.run.spec.resources).get("memory", "")
        limit = f" (limit {memory})" if memory else ""
        if code == _KILLED:
            text = f"out of memory{limit}: exit {code} (SIGKILL)"
        else:  # a child of it was killed, and the command ended by itself
            text = f"exit {code}: a process of the run was killed for memory{limit}"
        return replace(record, state=RunState.FAILED, exit_code=code, reason=text)
    verdict = exit_status.classify_exit(code)
    return replace(
        record,
        state=RunState.FAILED,
        exit_code=code,
        signal=verdict.get("signal"),
        reason=verdict["reason"].replace(", out of memory?", ""),  # Kubernetes would have said that
    )
