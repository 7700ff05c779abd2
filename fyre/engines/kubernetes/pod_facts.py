"""Facts about one object as the API server tells them: a pod, a container of it, a condition. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fyre.engines.kubernetes import job_labels
from fyre.runs.status_text import TIMED_OUT

KubeObject = dict[str, Any]

DELETED_MARK = "fyreGone"
"""A mark of ours on a pod that was deleted: what it last said still counts."""

ENV_SECRETS_KEY = "fyreSecrets"
"""In a pod's spec, as we keep it: the secrets that its command has in its environment, whatever the policy says now."""


def strip_unused(obj: KubeObject) -> KubeObject:
    """The same object, without what nobody here reads: a Job's pod template holds scripts, and there are thousands."""
    obj["metadata"].pop("managedFields", None)
    spec = obj.get("spec", {})
    obj["spec"] = {
        name: spec[name]
        for name in ("suspend", "ttlSecondsAfterFinished", ENV_SECRETS_KEY)
        if name in spec
    }
    if "containers" in spec:
        obj["spec"][ENV_SECRETS_KEY] = _env_secret_names(spec["containers"])
    return obj


def _env_secret_names(containers: list[KubeObject]) -> list[str]:
    sources = [
        source
        for c in containers
        if c["name"] == job_labels.COMMAND_CONTAINER
        for source in c.get("envFrom") or []
    ]
    return list(
        dict.fromkeys(source["secretRef"]["name"] for source in sources if "secretRef" in source)
    )


def get_annotations(obj: KubeObject) -> dict[str, str]:
    """An object's annotations."""
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def has_started(pod: KubeObject) -> bool:
    """Whether the command of this pod has been started."""
    state = command_status(pod).get("state", {})
    return "running" in state or _has_command_run(state.get("terminated"))


def has_finished(pod: KubeObject) -> bool:
    """Whether nothing more comes from this pod's containers."""
    return (
        "terminated" in command_status(pod).get("state", {})
        or pod_phase(pod) in ("Succeeded", "Failed")
        or DELETED_MARK in pod
    )


def has_timed_out(pod: KubeObject, timeout: float | None) -> bool:
    """Whether the command took longer than it may: ``command.sh`` says so, or the kubelet.

    A command can write that too; it is believed where it took that long (times are whole seconds).
    """
    if pod.get("status", {}).get("reason") == "DeadlineExceeded":
        return True
    ended, begun = command_ended_at(pod), command_started_at(pod)
    took = ended - begun if ended is not None and begun is not None else 0.0
    told = str(terminated_state(pod).get("message", ""))
    return bool(timeout) and told.startswith(TIMED_OUT) and took >= (timeout or 0) - 1


def has_log_output(pod: KubeObject) -> bool:
    """Whether there is a log to be read: the command's, or that of a checkout that failed."""
    ended = (
        terminated_state(pod, job_labels.CHECKOUT_CONTAINER)
        if has_checkout_failed(pod)
        else terminated_state(pod)
    )
    # A container that never was is given an end as well when its pod goes.
    return has_started(pod) or bool(ended and ended.get("reason") != "ContainerStatusUnknown")


def ended_after_deletion(pod: KubeObject) -> bool:
    """Whether the command ended, or never began, after somebody wanted its pod away: exit code 0 may be politeness.

    Times are whole seconds; an end within the same second is taken for a consequence.
    """
    disruption = get_condition(pod, "DisruptionTarget")
    asked = (
        parse_time(disruption.get("lastTransitionTime"))
        if disruption.get("status") == "True"
        else None
    )
    last = (
        terminated_state(pod, job_labels.CHECKOUT_CONTAINER)
        if has_checkout_failed(pod)
        else terminated_state(pod)
    )
    ended = parse_time(last.get("finishedAt"))
    times = [time for time in (asked, deletion_requested_at(pod)) if time is not None]
    return bool(times) and (ended is None or ended >= min(times))


def deletion_requested_at(pod: KubeObject) -> float | None:
    """When its deletion was asked for: the API server notes when it is to be over."""
    until = parse_time(pod["metadata"].get("deletionTimestamp"))
    return (
        until - pod["metadata"].get("deletionGracePeriodSeconds", 0) if until is not None else None
    )


def has_checkout_failed(pod: KubeObject) -> bool:
    """Whether the code could not be had, so that the checkout's own output is the log."""
    return bool(terminated_state(pod, job_labels.CHECKOUT_CONTAINER).get("exitCode"))


def waits_for_code(pod: KubeObject) -> bool:
    """Return True if code can be streamed into the checkout of this pod now."""
    return is_checkout_running(pod) and DELETED_MARK not in pod


def is_checkout_running(pod: KubeObject) -> bool:
    """Whether the init container is running, and code can be streamed into it."""
    statuses = pod.get("status", {}).get("initContainerStatuses") or []
    return any(
        s["name"] == job_labels.CHECKOUT_CONTAINER and "running" in s.get("state", {})
        for s in statuses
    )


def _has_command_run(terminated: KubeObject | None) -> bool:
    if not terminated or terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return False
    return bool(parse_time(terminated.get("startedAt")))


def command_started_at(pod: KubeObject) -> float | None:
    """When the command began: whole seconds since the epoch."""
    state = command_status(pod).get("state", {})
    return parse_time((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def command_ended_at(pod: KubeObject) -> float | None:
    """When the command ended: whole seconds since the epoch; None while it has not."""
    return parse_time(terminated_state(pod).get("finishedAt"))


def nonterminal_pods(pods: Iterable[KubeObject]) -> list[KubeObject]:
    """Those that have not ended."""
    return [
        pod
        for pod in pods
        if pod_phase(pod) not in ("Succeeded", "Failed") and DELETED_MARK not in pod
    ]


def active_pods(pods: Iterable[KubeObject]) -> list[KubeObject]:
    """Those that have not ended and whose command has not: the phase comes later."""
    return [pod for pod in nonterminal_pods(pods) if not has_finished(pod)]


def pod_phase(pod: KubeObject) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", ""))


def container_statuses(pod: KubeObject) -> list[KubeObject]:
    """The statuses of all containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def command_status(pod: KubeObject) -> KubeObject:
    """The status of the command's container."""
    return next(
        (s for s in container_statuses(pod) if s["name"] == job_labels.COMMAND_CONTAINER), {}
    )


def terminated_state(
    pod: KubeObject | None, container: str = job_labels.COMMAND_CONTAINER
) -> KubeObject:
    """How a container ended; empty while it has not."""
    for status in container_statuses(pod) if pod is not None else []:
        if status["name"] == container:
            found: KubeObject = status.get("state", {}).get("terminated") or {}
            return found
    return {}


def get_condition(obj: KubeObject, kind: str) -> KubeObject:
    """One condition of an object; empty when it is not there."""
    conditions: list[KubeObject] = obj.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def requested_image(pod: KubeObject, container: str) -> str:
    """The image as it was asked for: the kubelet's own words may leave the tag out."""
    status = next(s for s in container_statuses(pod) if s["name"] == container)
    return str(status.get("image", ""))


def job_ended_at(job: KubeObject) -> float | None:
    """When a Job ended, in seconds since the epoch; None while it has not."""
    for kind in ("Complete", "Failed"):
        found = get_condition(job, kind)
        if found.get("status") == "True":
            return parse_time(found.get("lastTransitionTime"))
    return None


def is_job_finished(job: KubeObject) -> bool:
    """Whether the Job controller says that a Job has ended."""
    return any(get_condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def without_end_conditions(job: KubeObject) -> KubeObject:
    """The same Job without what its controller says of its end."""
    status = job.get("status", {})
    left = [c for c in status.get("conditions") or [] if c["type"] not in ("Complete", "Failed")]
    return {**job, "status": {**status, "conditions": left}}


def parse_time(text: str | None) -> float | None:
    """RFC 3339 as Kubernetes writes it, to seconds since the epoch; None for nothing and for the epoch itself."""
    return datetime.fromisoformat(text).timestamp() or None if text else None


def to_one_line(text: str) -> str:
    """A text as one line."""
    return " ".join(text.split())


def shorten_error_chain(message: str) -> str:
    """The last part of a chain of "A: B: C", which says most, with as much before it as fits a status."""
    parts = message.split(": ")
    kept = parts[-1]
    for part in reversed(parts[:-1]):
        if len(kept) + len(part) > 90:
            break
        kept = f"{part}: {kept}"
    return kept
