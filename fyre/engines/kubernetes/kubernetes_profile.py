"""The section ``kubernetes`` of a profile, and the namespaces of a policy. Pure.

Loads no client library: every command that reads a policy reads its profiles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from fyre.runs import policy as policies
from fyre.runs.policy import Policy
from fyre.runs.profile_file import ProfileSection
from fyre.runs.profiles import Profile
from fyre.runs.yaml_document import DocumentPath, YamlDocument

SECTION_NAME = "kubernetes"

KubernetesObject = Mapping[str, Any]
"""A piece of a Kubernetes object, as the admin wrote it: Fyre passes it on."""


@dataclass(frozen=True, slots=True)
class KubernetesProfile:
    """A profile's section for a cluster. Each ``KubernetesObject`` goes into the pod as it is."""

    namespace: str = ""  # "" for the repository's own
    # If true, resources are requests without limits: a run may use more if there is room.
    burst: bool = False
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: KubernetesObject = field(default_factory=dict)
    tolerations: tuple[KubernetesObject, ...] = ()
    volumes: tuple[KubernetesObject, ...] = ()
    volume_mounts: tuple[KubernetesObject, ...] = ()  # for the command's container
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    priority_class: str = ""
    queue: str = ""  # Kueue's local queue
    runtime_class: str = ""
    scheduler: str = ""
    # The pod's securityContext; restricted unless the admin says more.
    security_context: KubernetesObject = field(default_factory=dict)
    container_security_context: KubernetesObject = field(default_factory=dict)
    termination_grace_seconds: int = 30  # seconds between TERM and KILL
    upload_seconds: int = 600  # that outputs may take once the command has ended
    shm_size: str = ""  # of /dev/shm; "" for the 64 MB that containers have


def kubernetes_section(profile: Profile) -> KubernetesProfile:
    """Return the profile's section for clusters; the defaults if it has none."""
    section = profile.sections.get(SECTION_NAME)
    return section if isinstance(section, KubernetesProfile) else KubernetesProfile()


def select_namespace(policy: Policy, repository: str, profile: Profile) -> str:
    """Return the namespace of a run of that repository (``owner/name``)."""
    own = kubernetes_section(profile).namespace
    return own or policies.repository_namespace(policy, repository)


def all_namespaces(policy: Policy) -> tuple[str, ...]:
    """Return every namespace that a run may be in, each once."""
    profiles = (kubernetes_section(profile) for profile in (policy.profiles or {}).values())
    own = (profile.namespace for profile in profiles if profile.namespace)
    return tuple(dict.fromkeys((policy.namespace, *policy.namespaces.values(), *own)))


@cache
def profile_section() -> ProfileSection:
    """Return the schema and the parser of the section."""
    path = resources.files("fyre.engines.kubernetes") / "profile.schema.json"
    return ProfileSection(json.loads(path.read_text(encoding="utf-8")), _parse_section)


def _parse_section(section: YamlDocument) -> KubernetesProfile:
    """Return the section of a policy file. Raises ``BadYamlError``."""
    texts, values = section.texts, section.values
    _check_mounts(section)
    fields: dict[str, Any] = {
        field: texts[key] for key, field in _TEXT_KEYS.items() if key in texts
    }
    fields |= {
        field: _json_value(section, (key,), values[key])
        for key, field in _OBJECT_KEYS.items()
        if key in values
    }
    return KubernetesProfile(
        burst=values.get("burst", False),
        tolerations=tuple(values.get("tolerations", ())),
        volumes=tuple(_json_value(section, ("volumes",), values.get("volumes", []))),
        volume_mounts=tuple(
            _json_value(section, ("volumeMounts",), values.get("volumeMounts", []))
        ),
        image_pull_secrets=tuple(secret["name"] for secret in texts.get("imagePullSecrets", ())),
        termination_grace_seconds=int(values.get("terminationGracePeriodSeconds", 30)),
        upload_seconds=int(values.get("uploadSeconds", 600)),
        **fields,
    )


_TEXT_KEYS = {
    "namespace": "namespace",
    "serviceAccountName": "service_account",
    "queue": "queue",
    "priorityClassName": "priority_class",
    "runtimeClassName": "runtime_class",
    "schedulerName": "scheduler",
    "nodeSelector": "node_selector",
    "shmSize": "shm_size",
}
_OBJECT_KEYS = {
    "affinity": "affinity",
    "securityContext": "security_context",
    "containerSecurityContext": "container_security_context",
}
"""Key of the section → field of ``KubernetesProfile``: taken as text, and as YAML types it."""


def _check_mounts(section: YamlDocument) -> None:
    """Raise ``BadYamlError`` for a volume that is given twice, and for a mount without a volume."""
    names = [volume["name"] for volume in section.texts.get("volumes", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise section.error_at(
                ("volumes", index, "name"), f"{name!r} is given twice", "keep one of them"
            )
    for index, mount in enumerate(section.texts.get("volumeMounts", ())):
        if mount["name"] not in names:
            hint = f"the volumes are {', '.join(names)}" if names else "name it under volumes"
            raise section.error_at(
                ("volumeMounts", index, "name"), f"there is no volume {mount['name']!r}", hint
            )


def _json_value(section: YamlDocument, path: DocumentPath, value: Any) -> Any:  # noqa: ANN401 - a piece of a Kubernetes object
    """Return the value as JSON can hold it.

    Raises ``BadYamlError`` for YAML's infinities, bytes and sets, which JSON can't hold.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise section.error_at(
            path, f"Kubernetes does not accept it: {error}", "quote what is text"
        ) from error
