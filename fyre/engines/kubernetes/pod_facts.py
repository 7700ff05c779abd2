"""Facts about one object as the API server reports it: a pod, a container of it, a condition.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fyre.engines.kubernetes import job_labels
from fyre.runs.status_text import NOT_CHECKED_OUT, TIMED_OUT

KubeObject = dict[str, Any]
"""A Kubernetes object as plain data."""

DELETED_MARK = "fyreGone"
"""Our mark on a pod that was deleted: its last state still counts."""

DELETION_MARK = "fyreDeletionRequested"
"""Our mark on a pod that is being deleted: the time of the request, as it was first known."""

LOST_MARK = "fyreLost"
"""Our mark on a pod that should be gone, and whose node reports nothing of it."""

ENV_SECRETS_KEY = "fyreSecrets"
"""Our key in a pod's spec: the secrets that its command has in its environment.

They are those of the pod, whatever the policy says now.
"""


RELAY_KEY = "fyreRelayKey"
"""Our key in the spec of a Job without a signature: the token of its checkout, if it has one."""

_MISSING_MAX = 300  # characters: more fits no status

_KEPT_SPEC_KEYS = ("suspend", "ttlSecondsAfterFinished", ENV_SECRETS_KEY, RELAY_KEY)


def strip_unused(obj: KubeObject) -> KubeObject:
    """Return the same object without what is not used.

    A Job's pod template holds scripts, and there are thousands of Jobs.
    """
    obj["metadata"].pop("managedFields", None)
    spec = obj.get("spec", {})
    obj["spec"] = {name: spec[name] for name in _KEPT_SPEC_KEYS if name in spec}
    if "containers" in spec:
        obj["spec"][ENV_SECRETS_KEY] = _env_secret_names(spec["containers"])
    if "template" in spec and job_labels.SIGNATURE_ANNOTATION not in get_annotations(obj):
        obj["spec"][RELAY_KEY] = _relay_token(spec["template"].get("spec") or {})
    return obj


def _relay_token(pod_spec: KubeObject) -> str:
    """Return the token with which a pod's checkout fetches its code; "" if it has none."""
    variables = (
        variable
        for container in pod_spec.get("initContainers") or []
        if container["name"] == job_labels.CHECKOUT_CONTAINER
        for variable in container.get("env") or []
    )
    tokens = (variable.get("value", "") for variable in variables if variable["name"] == "FYRE_KEY")
    return next(tokens, "")


def _env_secret_names(containers: list[KubeObject]) -> list[str]:
    sources = [
        source
        for container in containers
        if container["name"] == job_labels.COMMAND_CONTAINER
        for source in container.get("envFrom") or []
    ]
    names = (source["secretRef"]["name"] for source in sources if "secretRef" in source)
    return list(dict.fromkeys(names))


def get_annotations(obj: KubeObject) -> dict[str, str]:
    """Return an object's annotations."""
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    return annotations


def has_started(pod: KubeObject) -> bool:
    """Return True if the command of this pod has been started."""
    state = command_status(pod).get("state", {})
    return "running" in state or _has_command_run(state.get("terminated"))


def has_finished(pod: KubeObject) -> bool:
    """Return True if nothing more comes from this pod's containers."""
    return (
        "terminated" in command_status(pod).get("state", {})
        or pod_phase(pod) in ("Succeeded", "Failed")
        or DELETED_MARK in pod
        or LOST_MARK in pod
    )


def is_node_silent(pod: KubeObject) -> bool:
    """Return True if the control plane no longer hears of the pod's node.

    Of such a pod it sets the one condition; the other is the kubelet's, as it was.
    """
    ready, containers = get_condition(pod, "Ready"), get_condition(pod, "ContainersReady")
    return ready.get("status") == "False" and containers.get("status") == "True"


def gone_by(pod: KubeObject) -> float | None:
    """Return when a pod that is being deleted should be gone; None for others."""
    return parse_time(pod["metadata"].get("deletionTimestamp"))


def has_timed_out(pod: KubeObject, timeout: float | None) -> bool:
    """Return True if the command took longer than it may: ``command.sh`` says so, or the kubelet.

    A command can write that too; it is believed if it took that long (times are whole seconds).
    """
    if pod.get("status", {}).get("reason") == "DeadlineExceeded":
        return True
    ended, begun = command_ended_at(pod), command_started_at(pod)
    duration = ended - begun if ended is not None and begun is not None else 0.0
    message = str(terminated_state(pod).get("message", ""))
    return bool(timeout) and message.startswith(TIMED_OUT) and duration >= (timeout or 0) - 1


def has_log_output(pod: KubeObject) -> bool:
    """Return True if there is a log to read: the command's, or that of a checkout that failed."""
    last = _last_terminated_state(pod)
    # A container that never existed also gets an end when its pod goes.
    return has_started(pod) or bool(last and last.get("reason") != "ContainerStatusUnknown")


def _last_terminated_state(pod: KubeObject) -> KubeObject:
    """Return how the checkout ended if it failed, else how the command ended."""
    failed = has_checkout_failed(pod)
    return terminated_state(
        pod, job_labels.CHECKOUT_CONTAINER if failed else job_labels.COMMAND_CONTAINER
    )


def ended_after_deletion(pod: KubeObject) -> bool:
    """Return True if the command ended, or never began, after its pod was to be removed.

    Then exit code 0 may only mean that it obeyed. Times are whole seconds; an end within the same
    second counts as a consequence.
    """
    requests = [deletion_requested_at(pod)]
    disruption = get_condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        requests.append(parse_time(disruption.get("lastTransitionTime")))
    times = [time for time in requests if time is not None]
    ended = parse_time(_last_terminated_state(pod).get("finishedAt"))
    return bool(times) and (ended is None or ended >= min(times))


def remember_deletion(pod: KubeObject, earlier: KubeObject) -> None:
    """Mark a pod with the time of its deletion's request, if an earlier version had it."""
    requested_at = deletion_requested_at(earlier)
    if requested_at is not None:
        pod[DELETION_MARK] = requested_at


def deletion_requested_at(pod: KubeObject) -> float | None:
    """Return the time of the request to delete a pod, None if there was none.

    The API server notes when the deletion is to be complete. At its end the grace period is set to
    0, and that time is kept: so the time that is known from before is believed.
    """
    if DELETION_MARK in pod:
        return float(pod[DELETION_MARK])
    deadline = parse_time(pod["metadata"].get("deletionTimestamp"))
    if deadline is None:
        return None
    grace: float = pod["metadata"].get("deletionGracePeriodSeconds", 0)
    return deadline - grace


def has_ended_by_itself(pod: KubeObject) -> bool:
    """Return True if ``command.sh`` says that the command ended, and was never told to."""
    message = str(terminated_state(pod).get("message", ""))
    return message.endswith(job_labels.ENDED_BY_ITSELF)


def has_marked_log(pod: KubeObject) -> bool:
    """Return True if the last line of the command's log is its end mark, as ``command.sh`` says."""
    message = str(terminated_state(pod).get("message", ""))
    return message.endswith((job_labels.ENDED_BY_ITSELF, job_labels.TOLD_TO_END))


def has_checkout_failed(pod: KubeObject) -> bool:
    """Return True if the checkout failed; then its own output is the log."""
    return bool(terminated_state(pod, job_labels.CHECKOUT_CONTAINER).get("exitCode"))


def missing_code(pod: KubeObject) -> str:
    """Return what the checkout left out, as ``checkout.sh`` says; "" if it left out nothing."""
    checkout = terminated_state(pod, job_labels.CHECKOUT_CONTAINER)
    message = to_one_line(str(checkout.get("message", "")))
    is_told = checkout.get("exitCode") == 0 and message.startswith(NOT_CHECKED_OUT)
    return message.removeprefix(NOT_CHECKED_OUT)[:_MISSING_MAX] if is_told else ""


def waits_for_code(pod: KubeObject) -> bool:
    """Return True if code can be streamed into the checkout of this pod now."""
    return is_checkout_running(pod) and DELETED_MARK not in pod


def is_checkout_running(pod: KubeObject) -> bool:
    """Return True if the init container is running."""
    statuses = pod.get("status", {}).get("initContainerStatuses") or []
    return any(
        status["name"] == job_labels.CHECKOUT_CONTAINER and "running" in status.get("state", {})
        for status in statuses
    )


def _has_command_run(terminated: KubeObject | None) -> bool:
    if not terminated or terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return False
    return bool(parse_time(terminated.get("startedAt")))


def command_started_at(pod: KubeObject) -> float | None:
    """Return when the command began: whole seconds since the epoch."""
    state = command_status(pod).get("state", {})
    return parse_time((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def command_ended_at(pod: KubeObject) -> float | None:
    """Return when the command ended: whole seconds since the epoch; None while it has not."""
    return parse_time(terminated_state(pod).get("finishedAt"))


def is_held_by_sidecar(pod: KubeObject) -> bool:
    """Return True if the command has ended, and a container that is not ours keeps the pod."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    others = [status for status in statuses if status["name"] != job_labels.COMMAND_CONTAINER]
    has_ended = command_ended_at(pod) is not None
    return has_ended and any("running" in status.get("state", {}) for status in others)


def nonterminal_pods(pods: Iterable[KubeObject]) -> list[KubeObject]:
    """Return the pods that have not ended."""
    return [
        pod
        for pod in pods
        if pod_phase(pod) not in ("Succeeded", "Failed") and DELETED_MARK not in pod
    ]


def active_pods(pods: Iterable[KubeObject]) -> list[KubeObject]:
    """Return the pods that have not ended and whose command has not: the phase comes later."""
    return [pod for pod in nonterminal_pods(pods) if not has_finished(pod)]


def pod_phase(pod: KubeObject) -> str:
    """Return Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", ""))


def container_statuses(pod: KubeObject) -> list[KubeObject]:
    """Return the statuses of all containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def command_status(pod: KubeObject) -> KubeObject:
    """Return the status of the command's container."""
    statuses = container_statuses(pod)
    return next(
        (status for status in statuses if status["name"] == job_labels.COMMAND_CONTAINER), {}
    )


def terminated_state(
    pod: KubeObject | None, container: str = job_labels.COMMAND_CONTAINER
) -> KubeObject:
    """Return how a container ended; empty while it has not."""
    for status in container_statuses(pod) if pod is not None else []:
        if status["name"] == container:
            state: KubeObject = status.get("state", {}).get("terminated") or {}
            return state
    return {}


def get_condition(obj: KubeObject, kind: str) -> KubeObject:
    """Return one condition of an object; empty if there is none of that type."""
    conditions: list[KubeObject] = obj.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def requested_image(pod: KubeObject, container: str) -> str:
    """Return the image as it was requested: the kubelet's own messages may omit the tag."""
    status = next(status for status in container_statuses(pod) if status["name"] == container)
    return str(status.get("image", ""))


def job_ended_at(job: KubeObject) -> float | None:
    """Return when a Job ended, in seconds since the epoch; None while it has not."""
    for kind in ("Complete", "Failed"):
        condition = get_condition(job, kind)
        if condition.get("status") == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def is_job_finished(job: KubeObject) -> bool:
    """Return True if the Job controller says that a Job has ended."""
    return any(get_condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def without_end_conditions(job: KubeObject) -> KubeObject:
    """Return the same Job without what its controller says of its end."""
    status = job.get("status", {})
    conditions = [
        condition
        for condition in status.get("conditions") or []
        if condition["type"] not in ("Complete", "Failed")
    ]
    return {**job, "status": {**status, "conditions": conditions}}


def parse_time(text: str | None) -> float | None:
    """Return a time of Kubernetes (RFC 3339) in seconds since the epoch.

    Return None for no text, and for the epoch itself.
    """
    return datetime.fromisoformat(text).timestamp() or None if text else None


def to_one_line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())


def denial_text(message: str) -> str:
    """Return why the API server let something not in, without who says so; "" for other messages.

    The names before that would leave no room for it in a status.
    """
    for introduction in ("denied request: ", "denied the request: ", "is forbidden: "):
        _, separator, rest = message.partition(introduction)
        if separator:
            return rest
    return ""


def shorten_error_chain(message: str) -> str:
    """Return the last part of a chain of "A: B: C", which says most.

    As much as fits a status stands before it.
    """
    parts = message.split(": ")
    kept = parts[-1]
    for part in reversed(parts[:-1]):
        if len(kept) + len(part) > 90:
            break
        kept = f"{part}: {kept}"
    return kept
