"""What the forge knows of who pushed: role, teams, whether a commit's signature is good. One request each.

Each raises what ``Forge.get`` raises, and ``TryAgainError`` for an answer that makes no sense.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from fyre.errors import TryAgainError
from fyre.github.client import Forge
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

VALID = "valid"
"""The word for a signature that the forge has verified."""


def role(forge: Forge, repository: Repository, login: str) -> str:
    """The most that a user may do there: ``none read triage write maintain admin``, whatever a custom role is called.

    ``user.permissions`` says it; ``permission`` itself calls maintain write and triage read.
    """
    what = f"the permission of {login} on {repository.name}"
    try:
        with _sense(what):
            data = forge.get(
                what,
                repository,
                f"/repos/{repository.name}/collaborators/{_part(login)}/permission",
            )
            rights = (data.get("user") or {}).get("permissions") or {}
            return next(
                (role for right, role in _ROLES.items() if rights.get(right) is True),
                str(data["permission"]),
            )
    except NotFoundError:
        return "none"


def in_team(forge: Forge, repository: Repository, team: str, login: str) -> bool:
    """Whether a user is in ``org/team``, both as in their URL; who was only invited is not. Needs ``members: read``."""
    org, _, slug = team.partition("/")
    what = f"the membership of {login} in {team}"
    try:
        with _sense(what):
            data = forge.get(
                what,
                repository,
                f"/orgs/{_part(org)}/teams/{_part(slug)}/memberships/{_part(login)}",
            )
            return bool(data["state"] == "active")
    except NotFoundError:  # no member, or no such team
        return False


def signature(forge: Forge, repository: Repository, sha: str) -> str:
    """``VALID`` where the forge has verified the commit's signature, else its word for why it has not.

    GitHub's words: ``unsigned unknown_key no_user bad_email unverified_email expired_key invalid`` and some more.
    """
    what = f"the signature of {sha} in {repository.name}"
    with _sense(what):
        # The page is of the commit's files, which nobody reads here.
        data = forge.get(
            what, repository, f"/repos/{repository.name}/commits/{_part(sha)}?per_page=1"
        )
        said = data["commit"].get("verification") or {}
        reason = str(said.get("reason") or "unsigned")
        return (
            VALID if said.get("verified") is True else reason if reason != VALID else "unverified"
        )


def _part(text: str) -> str:
    """One part of a path, whatever it holds."""
    return quote(text, safe="")


@contextmanager
def _sense(what: str) -> Iterator[Any]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TryAgainError(
            f"{what}: the forge's answer makes no sense ({type(error).__name__})"
        ) from error
