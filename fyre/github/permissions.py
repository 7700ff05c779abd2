"""Ask the forge for the role and teams of a user, and for a commit's signature. One request each.

Each function raises what ``GitHubClient.get_json`` raises, and ``TransientError`` for an unexpected
response.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from fyre.errors import TransientError
from fyre.github.client import GitHubClient
from fyre.github.errors import NotFoundError
from fyre.runs.run import Repository

_ROLES = {
    "admin": "admin",
    "maintain": "maintain",
    "push": "write",
    "triage": "triage",
    "pull": "read",
}
"""GitHub's name of a right → the role that has it, the greatest first."""

SIGNATURE_VALID = "valid"
"""The word for a signature that the forge has verified."""


def get_role(forge: GitHubClient, repository: Repository, login: str) -> str:
    """Return the role of a user in a repository: ``none read triage write maintain admin``.

    It is the greatest that the user has, whatever a custom role is called. ``user.permissions``
    says it; ``permission`` itself calls maintain write and triage read.
    """
    description = f"the permission of {login} on {repository.name}"
    try:
        with malformed_as_transient(description):
            data = forge.get_json(
                description,
                repository,
                f"/repos/{repository.name}/collaborators/{quote_path_part(login)}/permission",
            )
            rights = (data.get("user") or {}).get("permissions") or {}
            return next(
                (role for right, role in _ROLES.items() if rights.get(right) is True),
                str(data["permission"]),
            )
    except NotFoundError:
        return "none"


def is_team_member(forge: GitHubClient, repository: Repository, team: str, login: str) -> bool:
    """Return True if a user is in ``org/team``, both as in their URL. Needs ``members: read``.

    A user who was only invited is not.
    """
    org, _, slug = team.partition("/")
    description = f"the membership of {login} in {team}"
    try:
        with malformed_as_transient(description):
            data = forge.get_json(
                description,
                repository,
                f"/orgs/{quote_path_part(org)}/teams/{quote_path_part(slug)}/memberships/{quote_path_part(login)}",
            )
            return bool(data["state"] == "active")
    except NotFoundError:  # no member, or no such team
        return False


def get_signature_state(forge: GitHubClient, repository: Repository, sha: str) -> str:
    """Return ``SIGNATURE_VALID`` if the forge has verified the commit's signature, else its reason.

    GitHub's words: ``unsigned unknown_key no_user bad_email unverified_email expired_key invalid``
    and some more.
    """
    description = f"the signature of {sha[:7]} in {repository.name}"
    with malformed_as_transient(description):
        data = get_commit_data(forge, repository, sha, description)
        verification = data["commit"].get("verification") or {}
        reason = str(verification.get("reason") or "unsigned")
        return (
            SIGNATURE_VALID
            if verification.get("verified") is True
            else reason
            if reason != SIGNATURE_VALID
            else "unverified"
        )


def get_commit_data(
    forge: GitHubClient, repository: Repository, sha: str, description: str
) -> dict[str, Any]:
    """Return GitHub's JSON of a commit, with a page of one of its files.

    ``description`` names the question in errors.
    """
    path = f"/repos/{repository.name}/commits/{quote_path_part(sha)}?per_page=1"
    data: dict[str, Any] = forge.get_json(description, repository, path)
    return data


def quote_path_part(text: str) -> str:
    """Return the text as one part of a path, whatever it holds."""
    return quote(text, safe="")


@contextmanager
def malformed_as_transient(description: str) -> Iterator[Any]:
    """Turn the errors that a response of an unexpected form causes into ``TransientError``."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TransientError(f"{description}: unexpected answer from the forge") from error
