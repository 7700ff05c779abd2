"""From a run and its profile to the Job that runs it: one pure function, plain dicts.

The Job's name is made of the run's key, so that creating it twice is "already launched". What Kubernetes would expand
(``$(VAR)`` in arguments and values) is escaped; whatever a person wrote reaches a process as an argument or a variable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fyre.engines.environment import run_environment
from fyre.engines.kubernetes import job_labels
from fyre.errors import UserError
from fyre.message import notation
from fyre.message.spec import RunSpec
from fyre.runs import run as runs
from fyre.runs.profiles import Profile
from fyre.runs.run import Run

KubeObject = dict[str, Any]
"""A Kubernetes object as plain data."""

MAX_START_SECONDS = 3600
"""Seconds between a pod's start and the command's: images of many gigabytes. The pod's own deadline is this and the
timeout; the exact one is kept inside, by ``command.sh``, so that neither a pull nor the checkout counts."""

MAX_RUN_ANNOTATION_BYTES = 256 * 1024 - 16 * 1024
"""Bytes of the run's own annotation: Kubernetes takes 256 KiB in all (k8s.io/apimachinery validation), the ledger's
notes need some."""

DEFAULT_USER_ID = 1000
"""Who runs where neither the profile nor the image says: restricted Pod Security asks for somebody who is not root."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """Where a run goes, beside what its profile says."""

    instance: str  # which Fyre's
    namespace: str
    checkout_image: str
    relay_url: str = ""  # of the repository; "" where the code is streamed in by exec
    relay_key: str = ""
    origin_url: str = ""  # remote.origin.url for whoever looks later


def build_job(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """The Job of a run. Raises ``UserError`` when it can't be one."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_labels.job_name(context.instance, run.key),
            "namespace": context.namespace,
            "labels": {**run_labels(run, context.instance), **_queue_label(profile)},
            "annotations": {job_labels.RUN_ANNOTATION: _run_annotation(run)},
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": run.spec.retries or 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _pod_failure_rules()},
            "template": {
                "metadata": {"labels": run_labels(run, context.instance)},
                "spec": _pod_spec(run, profile, context),
            },
        },
    }


def run_labels(run: Run, instance: str) -> dict[str, str]:
    """What a Job and its pods can be found by."""
    return {
        **job_labels.MANAGED_LABELS,
        job_labels.INSTANCE_LABEL: instance,
        job_labels.KEY_LABEL: run.key,
        job_labels.FYRE_PREFIX + "repository": str(run.repository.id),
        job_labels.FYRE_PREFIX + "sha": run.sha[:63],
        job_labels.FYRE_PREFIX + "name": run.name,
    }


def escape_expansion(text: str) -> str:
    """The text as Kubernetes must be given it to hand it on unchanged: it expands ``$(VAR)`` and takes ``$$`` for $."""
    return text.replace("$", "$$")


def choose_image(run: Run, profile: Profile) -> str:
    """The image that the command runs in. Raises ``UserError`` when nobody named one."""
    image = run.spec.image or profile.image
    if not image:
        raise UserError(
            "no image: neither the run nor its profile names one", hint="Fyre-Image: python:3.12"
        )
    return image


def _run_annotation(run: Run) -> str:
    try:
        text = json.dumps(runs.to_json(run), separators=(",", ":"), ensure_ascii=False)
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UserError(
            "it holds bytes that are no UTF-8, which a Job can't hold",
            hint="commit a script, and run that",
        ) from error
    if size > MAX_RUN_ANNOTATION_BYTES:
        raise UserError(
            f"command and environment take {size:,} bytes, a Job holds at most {MAX_RUN_ANNOTATION_BYTES:,}",
            hint="commit a script, and run that",
        )
    return text


def _pod_failure_rules() -> list[KubeObject]:
    """What a failed pod means: a command that ran counts against its retries, one that never started does not."""
    return [
        {
            "action": "FailJob",
            "onExitCodes": _exit_code_rule(
                job_labels.CHECKOUT_CONTAINER, "In", job_labels.EXIT_NO_CHECKOUT
            ),
        },
        {
            "action": "FailJob",
            "onExitCodes": _exit_code_rule(
                job_labels.COMMAND_CONTAINER, "In", job_labels.EXIT_NOT_STARTED
            ),
        },
        {
            "action": "Count",
            "onExitCodes": _exit_code_rule(job_labels.COMMAND_CONTAINER, "NotIn", 0),
        },
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _exit_code_rule(container: str, operator: str, code: int) -> KubeObject:
    return {"containerName": container, "operator": operator, "values": [code]}


def _queue_label(profile: Profile) -> dict[str, str]:
    return {"kueue.x-k8s.io/queue-name": profile.queue} if profile.queue else {}


def _pod_spec(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """The pod's spec; keys whose value is empty are left out."""
    spec: KubeObject = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": profile.termination_grace_seconds,
        "activeDeadlineSeconds": _pod_deadline(run.spec),
        "automountServiceAccountToken": bool(profile.service_account),
        "serviceAccountName": profile.service_account,
        "enableServiceLinks": False,
        # The command is not process 1: signals work on it as anywhere, orphans are reaped, and all end with it.
        "shareProcessNamespace": True,
        "nodeSelector": dict(profile.node_selector),
        "affinity": profile.affinity,
        "tolerations": list(profile.tolerations),
        "priorityClassName": profile.priority_class,
        "runtimeClassName": profile.runtime_class,
        "schedulerName": profile.scheduler,
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": DEFAULT_USER_ID,
            "runAsGroup": DEFAULT_USER_ID,
            "fsGroup": DEFAULT_USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
            **profile.security_context,
        },
        "initContainers": [_checkout_container(run, profile, context)],
        "containers": [_command_container(run, profile)],
        "volumes": [
            {"name": "fyre-work", "emptyDir": {}},
            {"name": "fyre-home", "emptyDir": {}},
            {"name": "fyre-checkout", "emptyDir": {}},
            *profile.volumes,
        ],
    }
    return {key: value for key, value in spec.items() if value not in ("", None, {}, [])}


def _pod_deadline(spec: RunSpec) -> int | None:
    """Seconds for the pod; each command of the setup has the same timeout. Kubernetes takes 31 bits."""
    return (
        min(spec.timeout * (1 + len(spec.setup)) + MAX_START_SECONDS, 2**31 - 1)
        if spec.timeout
        else None
    )


def _checkout_container(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """The init container: it alone holds the key to the code, and is gone when the command starts."""
    how = profile.checkout
    told = {
        "HOME": "/tmp",  # noqa: S108 - a volume of its own
        "FYRE_SHA": run.sha,
        "FYRE_TOP": job_labels.WORK_DIR,
        "FYRE_URL": context.relay_url,
        "FYRE_KEY": context.relay_key,
        "FYRE_ORIGIN": context.origin_url,
        "FYRE_DEPTH": str(how.depth),
        "FYRE_SUBMODULES": how.submodules,
        "FYRE_LFS": "1" if how.lfs else "",
        "FYRE_SPARSE": "\n".join(how.sparse),
    }
    small = {"cpu": "100m", "memory": "128Mi"}
    return {
        "name": job_labels.CHECKOUT_CONTAINER,
        "image": how.image or context.checkout_image or choose_image(run, profile),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", escape_expansion(load_script("checkout.sh")), "checkout"],
        "env": _env_entries(told.items()),
        "resources": {"requests": small},
        "securityContext": _restricted_security() | {"readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "fyre-work", "mountPath": job_labels.WORK_DIR},
            {"name": "fyre-checkout", "mountPath": "/tmp"},  # noqa: S108 - a volume of its own
        ],
    }


def _command_container(run: Run, profile: Profile) -> KubeObject:
    """The container of the user's image; it needs nothing but ``sh``."""
    spec = run.spec
    timeout = str(spec.timeout) if spec.timeout else ""
    told = {
        "FYRE_TOP": job_labels.WORK_DIR,
        "FYRE_WORKDIR": spec.workdir or ".",
        "FYRE_TIMEOUT": timeout,
        "FYRE_TIMEOUT_TEXT": notation.format_duration(spec.timeout or 0),
        "FYRE_GRACE": str(profile.termination_grace_seconds),
    }
    own = {**_HOME_VARIABLES, **dict(profile.env), **run_environment(run), **dict(spec.env), **told}
    secrets = dict.fromkeys((*profile.secrets, *spec.secrets))
    image = choose_image(run, profile)
    container: KubeObject = {
        "name": job_labels.COMMAND_CONTAINER,
        "image": image,
        "imagePullPolicy": "Always" if _has_moving_tag(image) else "IfNotPresent",
        "command": ["sh", "-c", escape_expansion(load_script("command.sh")), "fyre", escape_expansion(spec.command),
                    *(escape_expansion(setup) for setup in spec.setup)],
        "env": _env_entries(own.items()),
        "envFrom": [{"secretRef": {"name": name}} for name in secrets],
        "resources": _resource_requirements({**dict(profile.resources), **dict(spec.resources)}, burst=profile.burst),
        "securityContext": _restricted_security() | dict(profile.container_security_context),
        "volumeMounts": [
            {"name": "fyre-work", "mountPath": job_labels.WORK_DIR},
            {"name": "fyre-home", "mountPath": job_labels.HOME_DIR},
            *profile.volume_mounts,
        ],
        "terminationMessagePolicy": "File",
    }  # fmt: skip
    return {key: value for key, value in container.items() if value not in ({}, [])}


_HOME_VARIABLES = {
    "HOME": job_labels.HOME_DIR,
    # The checkout may belong to another user than the command's: git asks to be told that this is meant.
    # By a file for git 2.32 to 2.37, which hears of it no other way; by variables for a git that knows no such file.
    "GIT_CONFIG_SYSTEM": f"{job_labels.WORK_DIR}/.git/fyre/gitconfig",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": job_labels.WORK_DIR,
}


def _has_moving_tag(image: str) -> bool:
    """Whether the same words may mean another image tomorrow, as ``latest`` does."""
    return "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")


def _restricted_security() -> KubeObject:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _resource_requirements(requested: Mapping[str, str], *, burst: bool) -> KubeObject:
    """Requests and limits are the same, unless the profile lets a run use what happens to be free."""
    if not requested:
        return {}
    extended = {
        name: quantity for name, quantity in requested.items() if "/" in name
    }  # can't be more than requested
    return {"requests": dict(requested), "limits": extended if burst else dict(requested)}


def _env_entries(pairs: Iterable[tuple[str, str]]) -> list[KubeObject]:
    return [{"name": name, "value": escape_expansion(value)} for name, value in pairs]


@cache
def load_script(name: str) -> str:
    """A script of ours without its comments: it is part of every Job."""
    text = (resources.files("fyre.engines.kubernetes") / name).read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(line for line in lines if line.strip()) + "\n"
