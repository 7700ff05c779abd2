"""What Fyre may do in a namespace: golden files for people to read, and a real API server that
agrees.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fyre.engines.kubernetes import rbac
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from tests.support.cluster_profiles import cluster_profile

GOLDEN = Path(__file__).parent / "golden"
ACCOUNT = rbac.service_account_subject("fyre", "fyre")
CASES: dict[str, dict[str, Any]] = {
    "rbac-relay": {
        "namespaces": ["runs"],
        "subject": ACCOUNT,
        "secret_names": {"wandb", "s3"},
        "exec_mode": False,
    },
    "rbac-exec": {
        "namespaces": ["a", "b", "a"],
        "subject": rbac.user_subject("ada"),
        "secret_names": (),
        "exec_mode": True,
    },
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """Compare with the golden file.

    ``python -m tests.unit.engines.kubernetes.test_rbac_manifests`` writes it anew, and a person
    reads it before it is committed.
    """
    assert rbac.build_manifests(**CASES[name]) == list(
        yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text())
    )


def test_9_30b_what_is_applied_for_one_person_takes_nothing_from_another() -> None:
    subjects = [
        *map(rbac.user_subject, ("alice", "bob", "bob@lab.example", "BOB@lab.example", "é")),
        rbac.service_account_subject("fyre", "fyre"),
    ]
    applied: dict[tuple[str, str], object] = {}
    for number, subject in enumerate(subjects):
        role, binding = rbac.build_manifests(
            ["lab"], subject=subject, secret_names=(), exec_mode=bool(number % 2)
        )
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        applied |= {(one["kind"], one["metadata"]["name"]): one for one in (role, binding)}
    assert len(applied) == 2 * len(subjects)
    assert all(re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for _, name in applied)


def test_the_secrets_are_those_that_have_a_name() -> None:
    profiles = {
        "default": Profile(
            secrets=("wandb",), secrets_allowed=("team-*", "s?", "[ab]", "huggingface")
        ),
        "gpu": cluster_profile(
            "gpu", secrets=("wandb", "license"), image_pull_secrets=("registry",)
        ),
    }
    assert rbac.named_secrets(Policy(profiles=profiles)) == {"wandb", "license", "huggingface"}
    assert rbac.named_secrets(Policy()) == frozenset()


def test_no_role_reaches_further_than_its_namespace_or_names_everything() -> None:
    for case in CASES.values():
        found = rbac.build_manifests(**case)
        assert {thing["kind"] for thing in found} == {"Role", "RoleBinding"}
        assert all(thing["metadata"]["namespace"] in case["namespaces"] for thing in found)
        rights = [
            right
            for thing in found
            if "rules" in thing
            for right in rbac.required_permissions(thing)
        ]
        assert not {word for right in rights for word in right} & {
            "*",
            "delete",
            "deletecollection",
            "update",
        }
        assert all(name for _, resource, _, name in rights if resource == "secrets")


def test_every_right_can_be_asked_for_one_by_one() -> None:
    role = rbac.build_role("runs", secret_names={"a", "b"}, exec_mode=True)
    assert set(rbac.required_permissions(role)) == {
        *(("batch", "jobs", verb, "") for verb in ("get", "list", "watch", "create", "patch")),
        *(("", "pods", verb, "") for verb in ("get", "list", "watch")),
        ("", "pods/log", "get", ""),
        ("", "events", "list", ""),
        ("", "secrets", "get", "a"),
        ("", "secrets", "get", "b"),
        ("", "pods/exec", "create", ""),
        ("", "pods/exec", "get", ""),
    }


if __name__ == "__main__":
    for name, case in CASES.items():
        (GOLDEN / f"{name}.yaml").write_text(
            yaml.safe_dump_all(rbac.build_manifests(**case), sort_keys=False)
        )
