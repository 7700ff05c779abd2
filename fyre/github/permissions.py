"""What the forge knows of who pushed: role, teams, whether a commit's signature is good. One request each.

Each raises what ``Forge.get`` raises, and ``TryAgainError`` for an answer that makes no sense.
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
"""What GitHub calls a right → the role that has it, the greatest first."""

SIGNATURE_VALID = "valid"
"""The word for a signature that the forge has verified."""


def get_role(forge: GitHubClient, repository: Repository, login: str) -> str:
    """The most that a user may do there: ``none read triage write maintain admin``, whatever a custom role is called.

    ``user.permissions`` says it; ``permission`` itself calls maintain write and triage read.
    """
    what = f"the permission of {login} on {repository.name}"
    try:
        with _malformed_as_transient(what):
            data = forge.get_json(
                what,
                repository,
                f"/repos/{repository.name}/collaborators/{_quote_path_part(login)}/permission",
            )
            rights = (data.get("user") or {}).get("permissions") or {}
            return next(
                (role for right, role in _ROLES.items() if rights.get(right) is True),
                str(data["permission"]),
            )
    except NotFoundError:
        return "none"


def is_team_member(forge: GitHubClient, repository: Repository, team: str, login: str) -> bool:
    """Whether a user is in ``org/team``, both as in their URL; who was only invited is not. Needs ``members: read``."""
    org, _, slug = team.partition("/")
    what = f"the membership of {login} in {team}"
    try:
        with _malformed_as_transient(what):
            data = forge.get_json(
                what,
                repository,
                f"/orgs/{_quote_path_part(org)}/teams/{_quote_path_part(slug)}/memberships/{_quote_path_part(login)}",
            )
            return bool(data["state"] == "active")
    except NotFoundError:  # no member, or no such team
        return False


def get_signature_state(forge: GitHubClient, repository: Repository, sha: str) -> str:
    """``VALID`` where the forge has verified the commit's signature, else its word for why it has not.

    GitHub's words: ``unsigned unknown_key no_user bad_email unverified_email expired_key invalid`` and some more.
    """
    what = f"the signature of {sha} in {repository.name}"
    with _malformed_as_transient(what):
        # The page is of the commit's files, which nobody reads here.
        data = forge.get_json(
            what, repository, f"/repos/{repository.name}/commits/{_quote_path_part(sha)}?per_page=1"
        )
        said = data["commit"].get("verification") or {}
        reason = str(said.get("reason") or "unsigned")
        return (
            SIGNATURE_VALID
            if said.get("verified") is True
            else reason
            if reason != SIGNATURE_VALID
            else "unverified"
        )


def _quote_path_part(text: str) -> str:
    """One part of a path, whatever it holds."""
    return quote(text, safe="")


@contextmanager
def _malformed_as_transient(description: str) -> Iterator[Any]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TransientError(
            f"{description}: the forge's answer makes no sense ({type(error).__name__})"
        ) from error
