"""The Role that an admin applies: what it holds, and that the engine's own questions ask for all
of it.
"""

from __future__ import annotations

from fyre.engines.kubernetes import rbac
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from tests.support.cluster_profiles import cluster_profile

SUBJECT = rbac.service_account_subject("fyre", "fyre")


def rights(**how: object) -> set[tuple[str, str, str, str]]:
    return set(
        rbac.required_permissions(
            rbac.build_role("lab", **{"secret_names": (), "exec_mode": False, **how})
        )
    )  # type: ignore[arg-type]


PLAIN = {
    *(("batch", "jobs", verb, "") for verb in ("get", "list", "watch", "create", "patch")),
    *(("", "pods", verb, "") for verb in ("get", "list", "watch")),
    ("", "pods/log", "get", ""),
    ("", "events", "list", ""),
}


def test_what_is_needed_and_no_more() -> None:
    assert rights() == PLAIN


def test_pods_are_entered_from_outside_alone() -> None:
    assert rights(exec_mode=True) == PLAIN | {
        ("", "pods/exec", "create", ""),
        ("", "pods/exec", "get", ""),
    }


def test_secrets_are_read_by_name_alone() -> None:
    assert rights(secret_names={"b", "a"}) == PLAIN | {
        ("", "secrets", "get", "a"),
        ("", "secrets", "get", "b"),
    }
    assert not [right for right in rights() if right[1] == "secrets"]


def test_the_secrets_of_a_policy_are_those_with_names() -> None:
    profiles = {
        "one": Profile(secrets=("wandb",), secrets_allowed=("team-*", "tokens", "a?", "[ab]")),
        "two": cluster_profile(secrets=("wandb", "s3"), image_pull_secrets=("registry",)),
    }
    assert rbac.named_secrets(Policy(profiles=profiles)) == {"wandb", "tokens", "s3"}
    assert rbac.named_secrets(Policy()) == frozenset()


def test_a_role_and_its_binding_in_each_namespace() -> None:
    made = rbac.build_manifests(
        ["lab", "lab-gpu", "lab"], subject=SUBJECT, secret_names=(), exec_mode=False
    )
    assert [(thing["kind"], thing["metadata"]["namespace"]) for thing in made] == [
        ("Role", "lab"), ("RoleBinding", "lab"), ("Role", "lab-gpu"), ("RoleBinding", "lab-gpu"),
    ]  # fmt: skip
    assert not [thing for thing in made if thing["kind"].startswith("Cluster")]
    for role, binding in zip(made[::2], made[1::2], strict=True):
        assert binding["roleRef"] == {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": role["metadata"]["name"],
        }
        assert binding["subjects"] == [SUBJECT]
        assert role["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "fyre"
