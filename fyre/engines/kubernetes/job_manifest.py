"""A run and its profile as the Job that runs it: pure functions, plain dicts.

The Job's name is made of the run's key, so that creating it twice means "already launched". What
Kubernetes would expand (``$(VAR)`` in arguments and values) is escaped; whatever a person wrote
reaches a process as an argument or a variable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fyre.engines.environment import run_environment
from fyre.engines.kubernetes import job_deadlines, job_labels, job_tries
from fyre.engines.kubernetes.container_parts import (
    env_entries,
    escape_expansion,
    own_resources,
    restricted_security,
)
from fyre.engines.kubernetes.kubernetes_profile import KubernetesProfile, kubernetes_section
from fyre.engines.kubernetes.outputs import agent_container
from fyre.engines.kubernetes.outputs.agent_container import UploadTarget
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.errors import UserError
from fyre.message import value_parsers
from fyre.runs import run as runs
from fyre.runs.profiles import Profile
from fyre.runs.run import Run

MAX_RUN_ANNOTATION_BYTES = 256 * 1024 - 16 * 1024
"""Bytes of the run's own annotation.

Kubernetes takes 256 KiB in all (k8s.io/apimachinery validation), and the notes of the status
reporter need some.
"""

DEFAULT_USER_ID = 1000
"""The user of the command if neither the profile nor the image names one.

Restricted Pod Security demands a user who is not root.
"""


@dataclass(frozen=True, slots=True)
class JobContext:
    """All that a Job needs beside the run and its profile."""

    instance: str
    namespace: str
    checkout_image: str
    relay_url: str = ""  # of the repository; "" where the code is streamed in by exec
    relay_key: str = ""
    origin_url: str = ""  # remote.origin.url, for people who look at the checkout
    upload: UploadTarget | None = None  # None where outputs are not kept


def build_job(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """Return the Job of a run. Raises ``UserError`` when it can't be one."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_labels.job_name(context.instance, run.key),
            "namespace": context.namespace,
            "labels": {**run_labels(run, context.instance), **_queue_label(profile)},
            "annotations": {
                job_labels.RUN_ANNOTATION: _run_annotation(run),
                **_upload_annotation(profile, context),
            },
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": run.spec.retries or 0,
            **job_tries.index_fields(run.spec.retries or 0),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _pod_failure_rules()},
            "template": {
                "metadata": {"labels": run_labels(run, context.instance)},
                "spec": _pod_spec(run, profile, context),
            },
        },
    }


def run_labels(run: Run, instance: str) -> dict[str, str]:
    """Return the labels by which a Job and its pods can be found."""
    return {
        **job_labels.MANAGED_LABELS,
        job_labels.INSTANCE_LABEL: instance,
        job_labels.KEY_LABEL: run.key,
        job_labels.FYRE_PREFIX + "repository": str(run.repository.id),
        job_labels.FYRE_PREFIX + "sha": run.sha[:63],
        job_labels.FYRE_PREFIX + "name": run.name,
    }


def choose_image(run: Run, profile: Profile) -> str:
    """Return the image that the command runs in. Raises ``UserError`` when nobody named one."""
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
            "the run holds bytes that are no UTF-8, which a Job can't hold",
            hint="commit a script, and run that",
        ) from error
    if size > MAX_RUN_ANNOTATION_BYTES:
        raise UserError(
            f"command and environment take {size:,} bytes, "
            f"a Job holds at most {MAX_RUN_ANNOTATION_BYTES:,}",
            hint="commit a script, and run that",
        )
    return text


def _pod_failure_rules() -> list[KubeObject]:
    """Return what a failed pod means for the Job.

    A command that ran counts against its retries; one that never started does not.
    """
    return [
        _exit_code_rule(
            "FailJob", job_labels.CHECKOUT_CONTAINER, "In", job_labels.EXIT_NO_CHECKOUT
        ),
        _exit_code_rule("FailJob", job_labels.COMMAND_CONTAINER, "In", job_labels.EXIT_NOT_STARTED),
        _exit_code_rule("Count", job_labels.COMMAND_CONTAINER, "NotIn", 0),
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        # Deleted before it had a node, as a person or a descheduler does.
        {"action": "Ignore", "onPodConditions": [{"type": "PodScheduled", "status": "False"}]},
    ]


def _exit_code_rule(action: str, container: str, operator: str, code: int) -> KubeObject:
    exit_codes = {"containerName": container, "operator": operator, "values": [code]}
    return {"action": action, "onExitCodes": exit_codes}


def _upload_annotation(profile: Profile, context: JobContext) -> dict[str, str]:
    seconds = str(kubernetes_section(profile).upload_seconds)
    return {job_labels.UPLOAD_ANNOTATION: seconds} if context.upload else {}


def _queue_label(profile: Profile) -> dict[str, str]:
    queue = kubernetes_section(profile).queue
    return {job_labels.KUEUE_QUEUE_LABEL: queue} if queue else {}


def _pod_spec(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """Return the pod's spec; keys whose value is empty are left out."""
    section = kubernetes_section(profile)
    spec: KubeObject = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _pod_grace(section, context),
        "activeDeadlineSeconds": job_deadlines.pod_deadline(
            run.spec, section.upload_seconds if context.upload else 0
        ),
        "automountServiceAccountToken": bool(section.service_account),
        "serviceAccountName": section.service_account,
        "enableServiceLinks": False,
        # So the command is not process 1: signals work on it as anywhere, orphans are reaped, and
        # all processes end with the pod.
        "shareProcessNamespace": True,
        "nodeSelector": dict(section.node_selector),
        "affinity": section.affinity,
        "tolerations": list(section.tolerations),
        "priorityClassName": section.priority_class,
        "runtimeClassName": section.runtime_class,
        "schedulerName": section.scheduler,
        "imagePullSecrets": [{"name": name} for name in section.image_pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": DEFAULT_USER_ID,
            "runAsGroup": DEFAULT_USER_ID,
            "fsGroup": DEFAULT_USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
            **section.security_context,
        },
        "initContainers": [
            _checkout_container(run, profile, context),
            *_upload_containers(run, profile, context),
        ],
        "containers": [_command_container(run, profile, context)],
        "volumes": [
            {"name": "fyre-work", "emptyDir": {}},
            {"name": "fyre-home", "emptyDir": {}},
            {"name": "fyre-checkout", "emptyDir": {}},
            *({"name": name, "emptyDir": {}} for name in _upload_volumes(context)),
            *_shm_volumes(section),
            *section.volumes,
        ],
    }
    return {key: value for key, value in spec.items() if value not in ("", None, {}, [])}


def _pod_grace(section: KubernetesProfile, context: JobContext) -> int:
    """Return the seconds from TERM to KILL: of the command, and then of the upload."""
    grace = section.termination_grace_seconds
    if context.upload is None:
        return grace
    return agent_container.termination_grace(grace, section.upload_seconds)


def _upload_volumes(context: JobContext) -> tuple[str, ...]:
    return agent_container.VOLUMES if context.upload else ()


def _upload_containers(run: Run, profile: Profile, context: JobContext) -> list[KubeObject]:
    """Return the sidecar that uploads outputs, if there is one.

    It has the command's user: it reads all that the command wrote, and may do no more than that.
    """
    if context.upload is None:
        return []
    section = kubernetes_section(profile)
    own_user = {
        name: section.container_security_context[name]
        for name in ("runAsUser", "runAsGroup", "runAsNonRoot")
        if name in section.container_security_context
    }
    limits = _command_resources(run, profile)["limits"]
    container = agent_container.build_container(
        context.upload, run.spec.outputs, section.upload_seconds, limits
    )
    return [{**container, "securityContext": container["securityContext"] | own_user}]


_SHM_VOLUME = "fyre-shm"


def _shm_volumes(section: KubernetesProfile) -> list[KubeObject]:
    """Return the volume for shared memory; without one, containers have 64 MB of it."""
    if not section.shm_size:
        return []
    return [{"name": _SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": section.shm_size}}]


_CHECKOUT_REQUESTS = {"cpu": "100m", "memory": "128Mi"}


def _checkout_container(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """Return the init container.

    It alone holds the key to the code, and is gone when the command starts.
    """
    options = profile.checkout
    if not context.relay_url and (options.submodules or options.lfs):
        wanted = "submodules" if options.submodules else "files of Git LFS"
        raise UserError(
            f"profile {profile.name} asks for {wanted}, which pods can only fetch from the relay",
            hint="start the receiver with --relay (fyre serve: relay), at an address for pods",
        )
    variables = {
        "HOME": "/tmp",  # noqa: S108 - a volume of its own
        "FYRE_SHA": run.sha,
        "FYRE_TOP": job_labels.WORK_DIR,
        "FYRE_URL": context.relay_url,
        "FYRE_KEY": context.relay_key,
        "FYRE_ORIGIN": context.origin_url,
        "FYRE_DEPTH": str(options.depth),
        "FYRE_SUBMODULES": options.submodules,
        "FYRE_LFS": "1" if options.lfs else "",
        "FYRE_SPARSE": "\n".join(options.sparse),
        "FYRE_TIMEOUT": job_deadlines.checkout_timeout(run.spec, with_lfs=options.lfs),
        "FYRE_UMASK": "022" if _has_one_user(profile) else "0",
    }
    return {
        "name": job_labels.CHECKOUT_CONTAINER,
        "image": options.image or context.checkout_image or choose_image(run, profile),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", escape_expansion(load_script("checkout.sh")), "checkout"],
        "env": env_entries(variables.items()),
        "resources": own_resources(_CHECKOUT_REQUESTS, _command_resources(run, profile)["limits"]),
        # An image for another architecture has nothing but its output to say so.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted_security() | {"readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "fyre-work", "mountPath": job_labels.WORK_DIR},
            {"name": "fyre-checkout", "mountPath": "/tmp"},  # noqa: S108 - a volume of its own
        ],
    }


def _has_one_user(profile: Profile) -> bool:
    """Return True if the checkout's files belong to the command's user.

    Then they get the modes that git has of them: some programs refuse a file that others may write.
    """
    section = kubernetes_section(profile)
    pod_user = section.security_context.get("runAsUser", DEFAULT_USER_ID)
    return pod_user is not None and "runAsUser" not in section.container_security_context


def _command_container(run: Run, profile: Profile, context: JobContext) -> KubeObject:
    """Return the container of the user's image; it needs nothing but ``sh``."""
    spec, section = run.spec, kubernetes_section(profile)
    wrapper_variables = {
        "FYRE_TOP": job_labels.WORK_DIR,
        "FYRE_WORKDIR": spec.workdir or ".",
        "FYRE_TIMEOUT": str(spec.timeout) if spec.timeout else "",
        "FYRE_TIMEOUT_TEXT": value_parsers.format_duration(spec.timeout or 0),
        "FYRE_GRACE": str(section.termination_grace_seconds),
        **(agent_container.command_variables() if context.upload else {}),
    }
    variables = {
        **_HOME_VARIABLES,
        **dict(profile.env),
        **run_environment(run),
        **dict(spec.env),
        **wrapper_variables,
    }
    secrets = dict.fromkeys((*profile.secrets, *spec.secrets))
    image = choose_image(run, profile)
    resources = _command_resources(run, profile)
    script = escape_expansion(load_script("command.sh"))
    container: KubeObject = {
        "name": job_labels.COMMAND_CONTAINER,
        "image": image,
        "imagePullPolicy": "Always" if _has_moving_tag(image) else "IfNotPresent",
        "command": [
            "sh",
            "-c",
            script,
            "fyre",
            *map(escape_expansion, (spec.command, *spec.setup)),
        ],
        "env": [
            *env_entries(variables.items()),
            *job_tries.failure_count_entries(spec.retries or 0),
        ],
        "envFrom": [{"secretRef": {"name": name}} for name in secrets],
        "resources": resources if resources["requests"] else {},
        "securityContext": restricted_security() | dict(section.container_security_context),
        "volumeMounts": [
            {"name": "fyre-work", "mountPath": job_labels.WORK_DIR},
            {"name": "fyre-home", "mountPath": job_labels.HOME_DIR},
            *(agent_container.VOLUME_MOUNTS if context.upload else ()),
            *({"name": _SHM_VOLUME, "mountPath": "/dev/shm"} for _ in _shm_volumes(section)),  # noqa: S108 - a volume of its own
            *section.volume_mounts,
        ],
        # As of the checkout; what a command writes never gets there (``command.sh``).
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {key: value for key, value in container.items() if value not in ({}, [])}


_HOME_VARIABLES = {
    "HOME": job_labels.HOME_DIR,
    # The checkout may belong to another user than the command's: git must be told that this is
    # intended. The file is for git 2.32 to 2.37, which reads it nowhere else; the variables are
    # for a git that knows no such file.
    "GIT_CONFIG_SYSTEM": f"{job_labels.WORK_DIR}/.git/fyre/gitconfig",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": job_labels.WORK_DIR,
}


def _has_moving_tag(image: str) -> bool:
    """Return True if the same name may mean another image tomorrow, as ``latest`` does."""
    return "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")


def _command_resources(run: Run, profile: Profile) -> KubeObject:
    """Return requests and limits.

    They are the same, unless the profile lets a run use what happens to be free.
    """
    requested = {**dict(profile.resources), **dict(run.spec.resources)}
    # The limit of an extended resource can't be more than its request.
    extended = {name: quantity for name, quantity in requested.items() if "/" in name}
    burst = kubernetes_section(profile).burst
    return {"requests": requested, "limits": extended if burst else dict(requested)}


@cache
def load_script(name: str) -> str:
    """Return a script without its comments: it is part of every Job."""
    text = (resources.files("fyre.engines.kubernetes") / name).read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(line for line in lines if line.strip()) + "\n"
