"""The rights of Fyre in a namespace: one Role and its binding, with what is needed and no more.

Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.kubernetes_profile import KubernetesObject
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.runs.policy import Policy

ROLE_NAME = "fyre"


def build_manifests(
    namespaces: Collection[str],
    *,
    subject: KubernetesObject,
    secret_names: Collection[str],
    exec_mode: bool,
) -> list[KubeObject]:
    """Return a Role and a RoleBinding for each namespace.

    ``subject`` is the account of Fyre: see ``service_account_subject`` and ``user_subject``.
    """
    return [
        manifest
        for namespace in dict.fromkeys(namespaces)
        for manifest in (
            build_role(
                namespace, secret_names=secret_names, exec_mode=exec_mode, name=role_name(subject)
            ),
            build_role_binding(namespace, subject),
        )
    ]


def service_account_subject(namespace: str, name: str) -> KubeObject:
    """Return the subject of a service account."""
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def user_subject(name: str) -> KubeObject:
    """Return the subject of a person, by the name that the API server knows."""
    return {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def role_name(subject: KubernetesObject) -> str:
    """Return the name of a subject's Role and RoleBinding.

    Each person has their own, so that what is applied for one takes nothing from another.
    """
    if subject["kind"] != "User":
        return ROLE_NAME
    user = str(subject["name"])
    words = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:40].strip("-")
    return f"{ROLE_NAME}-{words or 'user'}-{hashlib.sha256(user.encode()).hexdigest()[:6]}"


def build_role(
    namespace: str, *, secret_names: Collection[str], exec_mode: bool, name: str = ROLE_NAME
) -> KubeObject:
    """Return the Role.

    Only secrets that a profile names are read, to strike them out of logs.
    """
    rules = [
        _policy_rule("batch", "jobs", "get", "list", "watch", "create", "patch"),
        _policy_rule("", "pods", "get", "list", "watch"),
        _policy_rule("", "pods/log", "get"),
        _policy_rule("", "events", "list"),
    ]
    if secret_names:
        rules.append(
            _policy_rule("", "secrets", "get") | {"resourceNames": sorted(set(secret_names))}
        )
    if exec_mode:  # a receiver outside the cluster streams the code in: pods can't reach it
        rules.append(_policy_rule("", "pods/exec", "create", "get"))
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(job_labels.MANAGED_LABELS),
        },
        "rules": rules,
    }


def build_role_binding(namespace: str, subject: KubernetesObject) -> KubeObject:
    """Return the RoleBinding that gives the Role to a subject."""
    name = role_name(subject)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(job_labels.MANAGED_LABELS),
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [dict(subject)],
    }


def named_secrets(policy: Policy) -> frozenset[str]:
    """Return the secrets that runs of this policy may be given by name.

    A glob can't be put into a Role.
    """
    profiles = (policy.profiles or {}).values()
    names = {name for profile in profiles for name in (*profile.secrets, *profile.secrets_allowed)}
    return frozenset(name for name in names if not set(name) & set("*?["))


def required_permissions(role: KubeObject) -> Iterator[tuple[str, str, str, str]]:
    """Yield group, resource, verb and name of each single right of a Role.

    Each of them can be asked for by itself.
    """
    for rule in role["rules"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield rule["apiGroups"][0], resource, verb, name


def cleanup_manifests(objects: Iterable[KubeObject]) -> Iterator[KubeObject]:
    """Yield just enough of our objects for ``kubectl delete -f``, with the labels that name their
    run.
    """
    for obj in objects:
        metadata = obj["metadata"]
        yield {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {
                key: metadata[key] for key in ("name", "namespace", "labels") if key in metadata
            },
        }


def _policy_rule(group: str, resource: str, *verbs: str) -> KubeObject:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
