"""Ask the forge what brought a commit: pull requests, their commits, the upstream of a fork.

Each method raises what ``GitHubClient.get_json`` raises, and ``TransientError`` for an unexpected
response.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from fyre.github import permissions
from fyre.github.client import GitHubClient
from fyre.github.errors import DeniedError, NotFoundError, UnauthenticatedError
from fyre.github.permissions import malformed_as_transient, quote_path_part
from fyre.runs.run import Repository

Remember = Callable[[Hashable, Callable[[], Any]], Any]
"""Return the answer that is remembered under a key, else that of the question."""

PULL_COMMITS_MAX = 250
"""Commits of a pull request that GitHub lists; it does not say if there are more."""


COMMITS_PER_PAGE = 100
"""Commits of one answer: the most that GitHub gives."""


@dataclass(frozen=True)
class Upstream:
    """The repository that a fork was made from."""

    name: str
    default_branch: str


@dataclass(frozen=True)
class OriginQuestions:
    """The questions about one repository; an answer is remembered for a while."""

    forge: GitHubClient
    repository: Repository
    remember: Remember
    remember_upstream: Remember
    """The same for longer: what a repository is a fork of hardly ever changes."""

    def list_pulls(self, sha: str) -> list[dict[str, Any]]:
        """Return the pull requests that brought a commit, or may bring it: one request."""
        pulls: list[dict[str, Any]] = self._ask_once(
            ("pulls of", sha), lambda: list_pulls(self.forge, self.repository, sha)
        )
        return pulls

    def list_pull_commits(self, number: int) -> list[dict[str, Any]]:
        """Return the commits of a pull request, oldest first: a request for each hundred."""
        commits: list[dict[str, Any]] = self._ask_once(
            ("commits of", number), lambda: list_pull_commits(self.forge, self.repository, number)
        )
        return commits

    def get_commit(self, sha: str) -> dict[str, Any]:
        """Return GitHub's JSON of a commit: one request."""
        description = f"commit {sha[:7]} of {self.repository.name}"
        return permissions.get_commit_data(self.forge, self.repository, sha, description)

    def get_role(self, login: str) -> str:
        """Return the role of a login in the repository: one request."""
        role: str = self._ask_once(
            ("role of", login),
            lambda: permissions.get_role(self.forge, self.repository, login),
        )
        return role

    def find_upstream_of(self, sha: str, branch: str) -> str:
        """Return the name of the upstream that a fork has this commit from, "" for none.

        It is from there if upstream's default branch has it, or its branch of that name. It takes
        no request where the repository is known to be no fork.
        """
        upstream: Upstream | None = self.remember_upstream(
            self.repository.id, lambda: get_upstream(self.forge, self.repository)
        )
        if upstream is None:
            return ""
        for upstream_branch in sorted({upstream.default_branch, branch}):
            if _has_commit(self.forge, self.repository, upstream.name, upstream_branch, sha):
                return upstream.name
        return ""

    def _ask_once(self, key: tuple[str, object], ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - of any question
        return self.remember((self.repository.id, *key), ask)


def list_pulls(forge: GitHubClient, repository: Repository, sha: str) -> list[dict[str, Any]]:
    """Return the pull requests that brought a commit, or may bring it.

    GitHub also names the one of a merge commit and of a squash. Needs ``PULL_RIGHT``.
    """
    return forge.get_all_entries(
        f"the pull requests of {sha[:7]} in {repository.name}",
        repository,
        f"/repos/{repository.name}/commits/{quote_path_part(sha)}/pulls?per_page=100",
    )


def _commits_question(repository: Repository, number: int) -> tuple[str, str]:
    """Return what is asked for, in words and as a path."""
    return (
        f"the commits of pull request #{number} of {repository.name}",
        f"/repos/{repository.name}/pulls/{number}/commits?per_page={COMMITS_PER_PAGE}",
    )


def list_pull_commits(
    forge: GitHubClient, repository: Repository, number: int
) -> list[dict[str, Any]]:
    """Return the commits of a pull request, oldest first, ``PULL_COMMITS_MAX`` at most."""
    description, path = _commits_question(repository, number)
    return forge.get_all_entries(description, repository, path)


def list_first_commits(
    forge: GitHubClient, repository: Repository, number: int
) -> list[dict[str, Any]]:
    """Return the first ``COMMITS_PER_PAGE`` commits of a pull request: exactly one request."""
    description, path = _commits_question(repository, number)
    commits: list[dict[str, Any]] = forge.get_json(description, repository, path)
    return commits


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


def get_upstream(forge: GitHubClient, repository: Repository) -> Upstream | None:
    """Return the repository that this one is a fork of, None if it is no fork."""
    description = f"the upstream of {repository.name}"
    data = forge.get_json(description, repository, f"/repos/{repository.name}")
    with malformed_as_transient(description):
        parent = data.get("parent") or {} if data.get("fork") else {}
        if not parent:
            return None
        return Upstream(str(parent["full_name"]), str(parent["default_branch"]))


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
