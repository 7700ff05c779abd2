"""Facts about one object as the API server tells them: a pod, a container of it, a condition. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fyre.engines.kubernetes import job_labels
from fyre.runs.status_text import TIMED_OUT

Object = dict[str, Any]

GONE = "fyreGone"
"""A mark of ours on a pod that was deleted: what it last said still counts."""

SECRETS = "fyreSecrets"
"""In a pod's spec, as we keep it: the secrets that its command has in its environment, whatever the policy says now."""


def trimmed(thing: Object) -> Object:
    """The same object, without what nobody here reads: a Job's pod template holds scripts, and there are thousands."""
    thing["metadata"].pop("managedFields", None)
    spec = thing.get("spec", {})
    thing["spec"] = {
        name: spec[name] for name in ("suspend", "ttlSecondsAfterFinished", SECRETS) if name in spec
    }
    if "containers" in spec:
        thing["spec"][SECRETS] = _secrets(spec["containers"])
    return thing


def _secrets(containers: list[Object]) -> list[str]:
    sources = [
        source
        for c in containers
        if c["name"] == job_labels.COMMAND
        for source in c.get("envFrom") or []
    ]
    return list(
        dict.fromkeys(source["secretRef"]["name"] for source in sources if "secretRef" in source)
    )


def notes(thing: Object) -> dict[str, str]:
    """An object's annotations."""
    found: dict[str, str] = thing["metadata"].get("annotations") or {}
    return found


def started(pod: Object) -> bool:
    """Whether the command of this pod has been started."""
    state = command(pod).get("state", {})
    return "running" in state or _has_run(state.get("terminated"))


def finished(pod: Object) -> bool:
    """Whether nothing more comes from this pod's containers."""
    return (
        "terminated" in command(pod).get("state", {})
        or phase(pod) in ("Succeeded", "Failed")
        or GONE in pod
    )


def timed_out(pod: Object, timeout: float | None) -> bool:
    """Whether the command took longer than it may: ``command.sh`` says so, or the kubelet.

    A command can write that too; it is believed where it took that long (times are whole seconds).
    """
    if pod.get("status", {}).get("reason") == "DeadlineExceeded":
        return True
    ended, begun = ended_at(pod), started_at(pod)
    took = ended - begun if ended is not None and begun is not None else 0.0
    told = str(terminated(pod).get("message", ""))
    return bool(timeout) and told.startswith(TIMED_OUT) and took >= (timeout or 0) - 1


def has_output(pod: Object) -> bool:
    """Whether there is a log to be read: the command's, or that of a checkout that failed."""
    ended = terminated(pod, job_labels.CHECKOUT) if checkout_failed(pod) else terminated(pod)
    # A container that never was is given an end as well when its pod goes.
    return started(pod) or bool(ended and ended.get("reason") != "ContainerStatusUnknown")


def told_to_end(pod: Object) -> bool:
    """Whether the command ended, or never began, after somebody wanted its pod away: exit code 0 may be politeness.

    Times are whole seconds; an end within the same second is taken for a consequence.
    """
    disruption = condition(pod, "DisruptionTarget")
    asked = (
        seconds(disruption.get("lastTransitionTime"))
        if disruption.get("status") == "True"
        else None
    )
    last = terminated(pod, job_labels.CHECKOUT) if checkout_failed(pod) else terminated(pod)
    ended = seconds(last.get("finishedAt"))
    times = [time for time in (asked, deleted_at(pod)) if time is not None]
    return bool(times) and (ended is None or ended >= min(times))


def deleted_at(pod: Object) -> float | None:
    """When its deletion was asked for: the API server notes when it is to be over."""
    until = seconds(pod["metadata"].get("deletionTimestamp"))
    return (
        until - pod["metadata"].get("deletionGracePeriodSeconds", 0) if until is not None else None
    )


def checkout_failed(pod: Object) -> bool:
    """Whether the code could not be had, so that the checkout's own output is the log."""
    return bool(terminated(pod, job_labels.CHECKOUT).get("exitCode"))


def checkout_waits(pod: Object) -> bool:
    """Whether the init container is running, and code can be streamed into it."""
    statuses = pod.get("status", {}).get("initContainerStatuses") or []
    return any(
        s["name"] == job_labels.CHECKOUT and "running" in s.get("state", {}) for s in statuses
    )


def _has_run(terminated: Object | None) -> bool:
    if not terminated or terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return False
    return bool(seconds(terminated.get("startedAt")))


def started_at(pod: Object) -> float | None:
    """When the command began: whole seconds since the epoch."""
    state = command(pod).get("state", {})
    return seconds((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def ended_at(pod: Object) -> float | None:
    """When the command ended: whole seconds since the epoch; None while it has not."""
    return seconds(terminated(pod).get("finishedAt"))


def living(pods: Iterable[Object]) -> list[Object]:
    """Those that have not ended."""
    return [pod for pod in pods if phase(pod) not in ("Succeeded", "Failed") and GONE not in pod]


def active(pods: Iterable[Object]) -> list[Object]:
    """Those that have not ended and whose command has not: the phase comes later."""
    return [pod for pod in living(pods) if not finished(pod)]


def phase(pod: Object) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", ""))


def containers(pod: Object) -> list[Object]:
    """The statuses of all containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def command(pod: Object) -> Object:
    """The status of the command's container."""
    return next((s for s in containers(pod) if s["name"] == job_labels.COMMAND), {})


def terminated(pod: Object | None, container: str = job_labels.COMMAND) -> Object:
    """How a container ended; empty while it has not."""
    for status in containers(pod) if pod is not None else []:
        if status["name"] == container:
            found: Object = status.get("state", {}).get("terminated") or {}
            return found
    return {}


def condition(thing: Object, kind: str) -> Object:
    """One condition of an object; empty when it is not there."""
    conditions: list[Object] = thing.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def image(pod: Object, container: str) -> str:
    """The image as it was asked for: the kubelet's own words may leave the tag out."""
    status = next(s for s in containers(pod) if s["name"] == container)
    return str(status.get("image", ""))


def job_ended_at(job: Object) -> float | None:
    """When a Job ended, in seconds since the epoch; None while it has not."""
    for kind in ("Complete", "Failed"):
        found = condition(job, kind)
        if found.get("status") == "True":
            return seconds(found.get("lastTransitionTime"))
    return None


def is_over(job: Object) -> bool:
    """Whether the Job controller says that a Job has ended."""
    return any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def undecided(job: Object) -> Object:
    """The same Job without what its controller says of its end."""
    status = job.get("status", {})
    left = [c for c in status.get("conditions") or [] if c["type"] not in ("Complete", "Failed")]
    return {**job, "status": {**status, "conditions": left}}


def seconds(text: str | None) -> float | None:
    """RFC 3339 as Kubernetes writes it, to seconds since the epoch; None for nothing and for the epoch itself."""
    return datetime.fromisoformat(text).timestamp() or None if text else None


def line(text: str) -> str:
    """A text as one line."""
    return " ".join(text.split())


def short(message: str) -> str:
    """The last part of a chain of "A: B: C", which says most, with as much before it as fits a status."""
    parts = message.split(": ")
    kept = parts[-1]
    for part in reversed(parts[:-1]):
        if len(kept) + len(part) > 90:
            break
        kept = f"{part}: {kept}"
    return kept
