"""What Fyre may do in a namespace: one Role and its binding, with what is needed and no more. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.pod_facts import Object
from fyre.runs.policy import Policy
from fyre.runs.profiles import Plain

NAME = "fyre"


def manifests(
    namespaces: Collection[str], *, subject: Plain, secrets: Collection[str], exec_mode: bool
) -> list[Object]:
    """A Role and a RoleBinding in each namespace; ``subject`` is who Fyre is (``account`` or ``user``)."""
    return [
        thing
        for namespace in dict.fromkeys(namespaces)
        for thing in (
            role(namespace, secrets=secrets, exec_mode=exec_mode),
            binding(namespace, subject),
        )
    ]


def account(namespace: str, name: str) -> Object:
    """The subject that a service account is."""
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def user(name: str) -> Object:
    """The subject that a person is, by the name that the API server knows."""
    return {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def role(namespace: str, *, secrets: Collection[str], exec_mode: bool) -> Object:
    """The Role. Secrets are read, to strike them out of logs, and only those that a profile names."""
    rules = [
        _rule("batch", "jobs", "get", "list", "watch", "create", "patch"),
        _rule("", "pods", "get", "list", "watch"),
        _rule("", "pods/log", "get"),
        _rule("", "events", "list"),
    ]
    if secrets:
        rules.append(_rule("", "secrets", "get") | {"resourceNames": sorted(set(secrets))})
    if exec_mode:  # from outside the cluster the code is streamed in; pods can't come and fetch it
        rules.append(_rule("", "pods/exec", "create", "get"))
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": NAME, "namespace": namespace, "labels": dict(job_labels.MANAGED)},
        "rules": rules,
    }


def binding(namespace: str, subject: Plain) -> Object:
    """Gives the Role to somebody."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": NAME, "namespace": namespace, "labels": dict(job_labels.MANAGED)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [dict(subject)],
    }


def secrets(policy: Policy) -> frozenset[str]:
    """The secrets that runs of this policy may be given by name; a glob can't be put into a Role."""
    profiles = (policy.profiles or {}).values()
    named = {name for profile in profiles for name in (*profile.secrets, *profile.secrets_allowed)}
    return frozenset(name for name in named if not set(name) & set("*?["))


def needed(role: Object) -> Iterator[tuple[str, str, str, str]]:
    """Group, resource, verb and name of each single right of a Role, to be asked for one by one."""
    for rule in role["rules"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield rule["apiGroups"][0], resource, verb, name


def left_over(found: Iterable[Object]) -> Iterator[Object]:
    """Just enough of objects of ours for `kubectl delete -f`, with a word on each Job's run."""
    for thing in found:
        about = thing["metadata"]
        yield {
            "apiVersion": thing["apiVersion"],
            "kind": thing["kind"],
            "metadata": {
                key: about[key] for key in ("name", "namespace", "labels") if key in about
            },
        }


def _rule(group: str, resource: str, *verbs: str) -> Object:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
