"""What the forge says of who pushed, in every shape that GitHub's answer has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fyre.errors import TransientError
from fyre.github import permissions
from fyre.github.errors import DeniedError, NotFoundError
from tests.integration.github.test_client import SHA, Broken, broken

__all__ = ["broken"]  # a fixture


def rights(*held: str) -> dict[str, bool]:
    return {right: right in held for right in ("pull", "triage", "push", "maintain", "admin")}


ROLES: list[tuple[dict[str, Any], str]] = [
    ({"permission": "admin", "user": {"permissions": rights("pull", "push", "admin")}}, "admin"),
    (
        {
            "permission": "write",
            "user": {"permissions": rights("pull", "triage", "push", "maintain")},
        },
        "maintain",
    ),
    (
        {
            "permission": "write",
            "role_name": "ci-lead",
            "user": {"permissions": rights("pull", "push")},
        },
        "write",
    ),
    ({"permission": "read", "user": {"permissions": rights("pull", "triage")}}, "triage"),
    ({"permission": "read", "user": {"permissions": rights("pull")}}, "read"),
    ({"permission": "none", "user": {"permissions": rights()}}, "none"),
    ({"permission": "read", "user": None}, "read"),
    ({"permission": "none", "user": {"permissions": {"admin": "yes"}}}, "none"),
]


def test_role(broken: Broken) -> None:
    for said, role in ROLES:
        broken.body = json.dumps(said).encode()
        assert permissions.get_role(broken.forge(), broken.repository(), "ada") == role, said


def test_who_the_forge_does_not_know_has_no_role_and_no_team(broken: Broken) -> None:
    broken.status, broken.body = 404, b'{"message": "Not Found"}'
    assert permissions.get_role(broken.forge(), broken.repository(), "mallory") == "none"
    assert not permissions.is_team_member(broken.forge(), broken.repository(), "acme/ml", "mallory")


def test_no_login_reaches_another_path(broken: Broken) -> None:
    broken.status, broken.body = 404, b'{"message": "Not Found"}'
    permissions.get_role(broken.forge(), broken.repository(), "../../x?a=b#c")
    assert broken.seen[-1][1].endswith("/collaborators/..%2F..%2Fx%3Fa%3Db%23c/permission")


def test_an_invitation_is_no_membership(broken: Broken) -> None:
    for state, member in (("active", True), ("pending", False)):
        broken.body = json.dumps({"state": state, "role": "member"}).encode()
        assert (
            permissions.is_team_member(broken.forge(), broken.repository(), "acme/ml", "ada")
            == member
        )
    assert broken.seen[-1][1].endswith("/orgs/acme/teams/ml/memberships/ada")


SIGNATURES: list[tuple[dict[str, Any] | None, str]] = [
    ({"verified": True, "reason": "valid"}, "valid"),
    ({"verified": False, "reason": "unsigned"}, "unsigned"),
    ({"verified": False, "reason": "unknown_key"}, "unknown_key"),
    ({"verified": False, "reason": "valid"}, "unverified"),
    ({"verified": "true", "reason": "valid"}, "unverified"),
    ({"verified": False}, "unsigned"),
    (None, "unsigned"),
]


def test_only_true_is_verified(broken: Broken) -> None:
    for verification, says in SIGNATURES:
        broken.body = json.dumps({"commit": {"verification": verification}}).encode()
        assert permissions.get_signature_state(broken.forge(), broken.repository(), SHA) == says


def test_an_answer_without_sense_is_no_permission(broken: Broken) -> None:
    forge, repository = broken.forge(), broken.repository()
    questions = (
        lambda: permissions.get_role(forge, repository, "ada"),
        lambda: permissions.is_team_member(forge, repository, "acme/ml", "ada"),
        lambda: permissions.get_signature_state(forge, repository, SHA),
    )
    for broken.body in (b"null", b"[]", b"{}", b'{"commit": 3}', b'{"user": 3}', b"<html>"):
        for ask in questions:
            with pytest.raises(TransientError):
                ask()


def test_a_refusal_keeps_its_kind(broken: Broken) -> None:
    broken.status, broken.body = 403, b'{"message": "Resource not accessible by integration"}'
    with pytest.raises(DeniedError):
        permissions.is_team_member(broken.forge(), broken.repository(), "acme/ml", "ada")
    broken.status, broken.body = 404, b'{"message": "Not Found"}'
    with pytest.raises(NotFoundError):
        permissions.get_signature_state(broken.forge(), broken.repository(), SHA)
