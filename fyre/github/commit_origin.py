"""Ask the forge who wrote a pushed commit's message: somebody who may push, or somebody else.

It is decided by the pull request that brought the commit, by the upstream of a fork, and by a
signature that the forge has verified. Never by an e-mail address, which anybody may write into a
commit. Each function raises what ``GitHubClient.get_json`` raises, and ``TransientError`` for an
unexpected response.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fyre.github.client import GitHubClient
from fyre.github.errors import DeniedError, NotFoundError, UnauthenticatedError
from fyre.github.permissions import (
    get_commit_data,
    get_role,
    malformed_as_transient,
    quote_path_part,
)
from fyre.runs.access import CommitOrigin, may_write
from fyre.runs.run import Repository

PULL_RIGHT = "pull requests: read"
"""The right to ask which pull requests brought a commit."""

FORGE_LOGIN = "web-flow"
"""Login of the committer of whatever GitHub commits for a person, and signs with its own key:
merges, squashes, edits in the browser. Its signature says nothing of who wrote the text."""

AskRole = Callable[[str], str]
"""Return the role of a login in the repository, as ``get_role`` does."""


@dataclass(frozen=True)
class Upstream:
    """The repository that a fork was made from."""

    name: str
    default_branch: str


AskUpstream = Callable[[], Upstream | None]
"""Return the upstream of the repository, as ``get_upstream`` does."""


def find_origin(
    forge: GitHubClient,
    repository: Repository,
    sha: str,
    actor: str,
    branch: str,
    *,
    ask_upstream: AskUpstream,
    is_without_pulls: Callable[[], bool],
) -> CommitOrigin:
    """Return the origin of a commit that ``actor`` has pushed to ``branch`` (``main``).

    ``is_without_pulls`` says if no pull request can have brought it, as ``has_no_pulls`` does.
    """

    def role_of(login: str) -> str:
        return get_role(forge, repository, login)

    try:
        pulls = [] if is_without_pulls() else list_pulls(forge, repository, sha)
        source = _name_if_synced(forge, repository, ask_upstream(), sha, branch)
    except UnauthenticatedError:
        raise
    except DeniedError:
        return _origin_by_author(_get_commit(forge, repository, sha), actor)
    with malformed_as_transient(f"the pull requests of {sha[:7]} in {repository.name}"):
        writer = find_outside_writer(pulls, actor, role_of) or source
    if not writer or _is_signed_by_writer(_get_commit(forge, repository, sha), role_of):
        return CommitOrigin()
    return CommitOrigin(writer)


def list_pulls(forge: GitHubClient, repository: Repository, sha: str) -> list[dict[str, Any]]:
    """Return the pull requests that brought a commit, or may bring it.

    GitHub also names the one of a merge commit and of a squash. Needs ``PULL_RIGHT``.
    """
    return forge.get_all_entries(
        f"the pull requests of {sha[:7]} in {repository.name}",
        repository,
        f"/repos/{repository.name}/commits/{quote_path_part(sha)}/pulls?per_page=100",
    )


def has_no_pulls(forge: GitHubClient, repository: Repository) -> bool:
    """Return True if a repository has never had a pull request, False where that is not told."""
    description = f"the pull requests of {repository.name}"
    path = f"/repos/{repository.name}/pulls?state=all&per_page=1"
    try:
        return bool(forge.get_json(description, repository, path) == [])
    except UnauthenticatedError:
        raise
    except DeniedError:
        return False


def find_outside_writer(pulls: list[dict[str, Any]], actor: str, role_of: AskRole) -> str:
    """Return who opened a pull request that brings other people's text; "" if none does.

    That is one from another repository, whoever opened it, and one that somebody opened who may not
    write: its title and its description become a part of a merge's message.
    """
    for pull in pulls:
        opener = str((pull.get("user") or {}).get("login") or "a deleted account")
        if not pull["merged_at"] and pull["state"] != "open":
            continue
        if is_from_fork(pull):
            return opener
        if pull["merged_at"] and opener != actor and not may_write(role_of(opener)):
            return opener
    return ""


def is_from_fork(pull: dict[str, Any]) -> bool:
    """Return True if a pull request's head is in another repository, also in a deleted one."""
    head = pull["head"].get("repo")
    return head is None or head["id"] != pull["base"]["repo"]["id"]


def get_upstream(forge: GitHubClient, repository: Repository) -> Upstream | None:
    """Return the repository that this one is a fork of, None if it is no fork."""
    description = f"the upstream of {repository.name}"
    data = forge.get_json(description, repository, f"/repos/{repository.name}")
    with malformed_as_transient(description):
        parent = data.get("parent") or {} if data.get("fork") else {}
        if not parent:
            return None
        return Upstream(str(parent["full_name"]), str(parent["default_branch"]))


def _name_if_synced(
    forge: GitHubClient, repository: Repository, upstream: Upstream | None, sha: str, branch: str
) -> str:
    """Return the name of the upstream that a fork has this commit from, "" for none.

    It is from there if upstream's default branch has it, or its branch of that name.
    """
    if upstream is None:
        return ""
    for upstream_branch in sorted({upstream.default_branch, branch}):
        if _has_commit(forge, repository, upstream.name, upstream_branch, sha):
            return upstream.name
    return ""


def _has_commit(
    forge: GitHubClient, repository: Repository, upstream: str, branch: str, sha: str
) -> bool:
    """Return True if a branch of upstream has a commit; False if we are shown no such branch."""
    description = f"branch {branch} of {upstream}"
    path = (
        f"/repos/{upstream}/compare/{quote_path_part(branch)}...{quote_path_part(sha)}?per_page=1"
    )
    try:
        data = forge.get_json(description, repository, path)
    except NotFoundError:
        return False
    with malformed_as_transient(description):
        return int(data["ahead_by"]) == 0


def _get_commit(forge: GitHubClient, repository: Repository, sha: str) -> dict[str, Any]:
    description = f"commit {sha[:7]} of {repository.name}"
    return get_commit_data(forge, repository, sha, description)


def _is_signed_by_writer(commit: dict[str, Any], role_of: AskRole) -> bool:
    """Return True if the forge has verified that a person who may write has signed a commit."""
    with malformed_as_transient("a commit's signature"):
        verified = (commit["commit"].get("verification") or {}).get("verified") is True
        signer = str((commit.get("committer") or {}).get("login") or "")
    return verified and signer not in ("", FORGE_LOGIN) and may_write(role_of(signer))


def _origin_by_author(commit: dict[str, Any], actor: str) -> CommitOrigin:
    """Return the origin of a commit as far as the commit itself tells it.

    A merge that the forge committed may hold a title that somebody else wrote.
    """
    with malformed_as_transient("a commit's author"):
        author = (commit.get("author") or {}).get("login") or commit["commit"]["author"]["name"]
        committer = (commit.get("committer") or {}).get("login")
        merged_by_forge = committer == FORGE_LOGIN and len(commit["parents"]) > 1
    if author == actor and not merged_by_forge:
        return CommitOrigin()
    return CommitOrigin("somebody else" if author == actor else str(author), PULL_RIGHT)
