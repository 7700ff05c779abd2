"""REST client of GitHub, or of any server with its API, on PyGithub.

Nothing here sleeps for long or sends a write twice: PyGithub's default retry does both, so ours
retries reads alone, and the status reporter paces the writes. The errors are in
``fyre.github.errors``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from fyre.errors import TransientError
from fyre.github import errors, etag_cache, listings, rate_limit
from fyre.github.errors import NotFoundError, translate_errors
from fyre.github.rate_limit import RateLimitHeaders
from fyre.github.rest_client import RestClient
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Commit, Repository

if TYPE_CHECKING:
    from github.CheckRun import CheckRun
    from github.CommitComment import CommitComment
    from github.CommitStatus import CommitStatus as GithubStatus
    from github.IssueComment import IssueComment
    from github.Repository import Repository as GithubRepository

log = logging.getLogger(__name__)

W = TypeVar("W", "GithubStatus", "CommitComment", "IssueComment", "CheckRun")


@dataclass(frozen=True, slots=True)
class PostedStatus:
    """A status as the forge has it. ``created_at`` is in seconds since the epoch."""

    status: CommitStatus
    creator: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a commit, or in the conversation of a pull request."""

    id: int
    sha: str
    author: str
    body: str
    created_at: float = 0.0  # seconds since the epoch; read in pull requests alone


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One update of a ref, as the activity API has it.

    ``timestamp`` is in seconds since the epoch.
    """

    ref: str
    before: str
    after: str
    actor: str
    timestamp: float


@dataclass(frozen=True, slots=True)
class RefUpdates:
    """Updates of refs, oldest first.

    ``etag`` names the forge's response: given back, it costs nothing to learn that there is nothing
    new, which is no updates and the same ETag.
    """

    updates: tuple[RefUpdate, ...]
    etag: str


class GitHubClient(RestClient):
    """One forge seen through one token. Thread-safe: each thread has its own connection."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        login: str = "",
        renew: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Set up a client for the API at ``url``, such as ``https://api.github.com``.

        ``token`` is called before each request, ``renew`` with one that was refused: it returns
        True if there is another. ``login`` is the token's user, for a token that may not ask: a
        workflow's is that of ``github-actions[bot]``.
        """
        super().__init__(url, token, renew)
        self._login = login
        self._current_names: dict[int, str] = {}
        self._etag_cache = etag_cache.ETagCache()

    def update_repository_name(self, repository: Repository) -> None:
        """Use the name that this repository has now in all later requests.

        Names change, ids stay.
        """
        self._current_names[repository.id] = repository.name

    def with_current_name(self, repository: Repository) -> Repository:
        """Return a repository of which a record was kept, under the name that it has now."""
        name = self._current_names.get(repository.id, repository.name)
        return replace(repository, name=name)

    def own_login(self) -> str:
        """Return the login that our statuses have as their creator."""
        if not self._login:
            with translate_errors("the forge's user"):
                self._login = str(self._thread_connection().get_user().login)
        return self._login

    def is_own_login(self, login: str) -> bool:
        """Return True if that is our login.

        Case does not count: not to GitHub, and not to people who type a login.
        """
        return login.lower() == self.own_login().lower()

    def list_repositories(self) -> list[Repository]:
        """Return every repository that this token can see.

        Asking again is free while they are the same.
        """
        with translate_errors("the list of repositories"):
            return self._etag_cache.list_cached(
                self._thread_connection().requester, "/user/repos", self._repository_from_json
            )

    def get_repository(self, name: str) -> Repository:
        """Return the repository of that name, ``owner/repo``."""
        with translate_errors(f"repository {name}"):
            github_repository = self._thread_connection(name).get_repo(name)
            github_repository.complete()
            return self._repository_from_api(github_repository)

    def get_commit(self, repository: Repository, ref: str) -> Commit:
        """Return a commit by SHA, branch or tag."""
        with translate_errors(f"commit {ref} of {repository.name}"):
            commit = self._github_repository(repository).get_commit(ref)
            commit.complete()
            git_commit = commit.commit
            parents = tuple(parent.sha for parent in commit.parents)
            return Commit(
                commit.sha,
                git_commit.tree.sha,
                parents,
                git_commit.message,
                _epoch_seconds(git_commit.committer.date),
            )

    def get_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """Return a file as it stands in a commit; None if there is none, or a directory."""
        try:
            with translate_errors(f"{path} of {repository.name} at {sha[:7]}"):
                contents = self._github_repository(repository).get_contents(path, ref=sha)
                return None if isinstance(contents, list) else bytes(contents.decoded_content)
        except NotFoundError:
            return None

    def commits_between(self, repository: Repository, base: str, head: str) -> list[str]:
        """Return the SHAs reachable from ``head`` and not from ``base``, oldest first.

        The forge lists at most 10,000.
        """
        with translate_errors(f"the commits {base}...{head} of {repository.name}"):
            comparison = self._github_repository(repository).compare(
                base, head, comparison_commits_per_page=250
            )
            commits = listings.read_pages(
                comparison.commits, lambda commit: commit.sha, listings.LISTING_SECONDS
            )
            return [commit.sha for commit in commits]

    def list_statuses(self, repository: Repository, sha: str) -> list[PostedStatus]:
        """Return all statuses of a commit, newest first, whoever posted them."""
        with translate_errors(f"the statuses of {sha[:7]} in {repository.name}"):
            statuses = self._github_repository(repository).get_commit(sha).get_statuses()
            return [
                PostedStatus(
                    CommitStatus(
                        status.context or "",
                        status.state,
                        status.description or "",
                        status.target_url or "",
                    ),
                    status.creator.login if status.creator else "",
                    _epoch_seconds(status.created_at),
                )
                for status in listings.read_pages(statuses, lambda status: status.id)
            ]

    def create_status(
        self, repository: Repository, sha: str, status: CommitStatus
    ) -> RateLimitHeaders:
        """Create a commit status: exactly one POST, never repeated here.

        Returns what the response says of limits. Raises ``StatusLimitError`` if there are too many.
        """
        with translate_errors(f"posting {status.context} on {sha[:7]} of {repository.name}"):
            status_fields = (
                status.state,
                status.target_url or _not_set(),
                status.description,
                status.context,
            )
            created = self._write_following_rename(
                repository,
                lambda github_repository: github_repository.get_commit(sha).create_status(
                    *status_fields
                ),
            )
            return rate_limit.parse_rate_limit_headers(201, created.raw_headers, "", time.time())

    def create_check_run(self, repository: Repository, body: dict[str, Any]) -> RateLimitHeaders:
        """Create a check run, which only Apps may: exactly one POST.

        Returns what the response says of limits.
        """
        with translate_errors(f"a check run on {body['head_sha'][:7]} of {repository.name}"):
            created = self._write_following_rename(
                repository, lambda github_repository: github_repository.create_check_run(**body)
            )
            return rate_limit.parse_rate_limit_headers(201, created.raw_headers, "", time.time())

    def list_commit_comments(self, repository: Repository, sha: str) -> list[Comment]:
        """Return the comments of a commit, oldest first."""
        with translate_errors(f"the comments of {sha[:7]} in {repository.name}"):
            comments = self._github_repository(repository).get_commit(sha).get_comments()
            return [
                Comment(
                    comment.id,
                    comment.commit_id,
                    comment.user.login if comment.user else "",
                    comment.body,
                )
                for comment in listings.read_pages(comments, lambda comment: comment.id)
            ]

    def create_commit_comment(self, repository: Repository, sha: str, body: str) -> Comment:
        """Create a comment on a commit."""
        with translate_errors(f"commenting on {sha[:7]} of {repository.name}"):
            comment = self._write_following_rename(
                repository,
                lambda github_repository: github_repository.get_commit(sha).create_comment(body),
            )
            return Comment(
                comment.id,
                comment.commit_id,
                comment.user.login if comment.user else "",
                comment.body,
            )

    def create_issue_comment(self, repository: Repository, number: int, body: str) -> Comment:
        """Create a comment in the conversation of a pull request."""
        with translate_errors(f"commenting on pull request {number} of {repository.name}"):
            comment = self._write_following_rename(
                repository,
                lambda github_repository: github_repository.get_issue(number).create_comment(body),
            )
            return Comment(comment.id, "", comment.user.login if comment.user else "", comment.body)

    def get_permission(self, repository: Repository, login: str) -> str:
        """Return what a user may do in a repository: ``admin write read none``."""
        try:
            with translate_errors(f"the permission of {login} on {repository.name}"):
                return str(self._github_repository(repository).get_collaborator_permission(login))
        except NotFoundError:
            return "none"

    def list_ref_updates(self, repository: Repository, since: float, etag: str = "") -> RefUpdates:
        """Return what was pushed since then.

        This is ``GET /repos/{owner}/{repo}/activity``, for which PyGithub has no call. The newest
        come first, so while the first page is the one that ``etag`` names, nothing was pushed.
        """
        updates: list[RefUpdate] = []
        subject = f"the activity of {repository.name}"
        first_page = f"/repos/{repository.name}/activity?per_page={etag_cache.PER_PAGE}"
        with translate_errors(subject):
            response = etag_cache.get_if_changed(
                self._thread_connection(repository.name).requester, first_page, etag
            )
            if response is None:
                return RefUpdates((), etag)
            entries = self._follow_pages(repository.name, first_page, *response[1:])
            try:
                for update in listings.parse_readable(subject, entries, _parse_ref_update):
                    if update.timestamp < since:
                        break
                    updates.append(update)
            except listings.EndlessListingError as error:
                log.warning("%s is read up to here: %s", subject, error)
        return RefUpdates(tuple(dict.fromkeys(updates[::-1])), response[0])

    def newest_updates_of(self, repository: Repository, ref: str) -> list[RefUpdate]:
        """Return the newest 100 updates of one ref, the newest first."""
        description = f"the activity of {ref} in {repository.name}"
        path = f"/repos/{repository.name}/activity?ref={quote(ref, safe='')}&per_page=100"
        with translate_errors(description):
            return [
                _parse_ref_update(entry) for entry in self.get_json(description, repository, path)
            ]

    def rate_limit_account(self, repository: Repository) -> str:  # noqa: ARG002 - an App's is another
        """Return the account whose limits a write counts against; "" if all share them."""
        return ""

    def _github_repository(self, repository: Repository) -> GithubRepository:
        """Return PyGithub's repository, under the name that it has now."""
        name = self.with_current_name(repository).name
        return self._thread_connection(name).get_repo(name)

    def _write_following_rename(
        self, repository: Repository, write: Callable[[GithubRepository], W]
    ) -> W:
        """Write under the name that the repository has now, and return what was created.

        GitHub answers a write under an old name with a 307, which PyGithub takes for the thing that
        was made. If another repository has the name by now, it knows no such commit.
        """
        old_name = self._current_names.get(repository.id, repository.name)
        try:
            created = write(self._github_repository(repository))
            if "id" in created.raw_data:
                return created
            self._fetch_current_name(repository, old_name)
        except _github_module().GithubException as error:
            if (
                not isinstance(errors.classify_error("", error), NotFoundError)
                or self._fetch_current_name(repository, old_name) == old_name
            ):
                raise
        created = write(self._github_repository(repository))
        if "id" not in created.raw_data:
            raise TransientError(f"{old_name} was renamed, and the forge does not say to what")
        return created

    def _fetch_current_name(self, repository: Repository, old_name: str) -> str:
        """Return a repository's name, asked for by its id, which is where GitHub's redirects lead.

        If that fails, it is the old name.
        """
        try:
            github_repository = self._thread_connection(old_name).get_repo(repository.id)
            github_repository.complete()
            self.update_repository_name(self._repository_from_api(github_repository))
        except _github_module().GithubException:
            return old_name
        return self._current_names[repository.id]

    def _repository_from_api(self, github_repository: GithubRepository) -> Repository:
        """Return our record of PyGithub's repository."""
        return Repository(
            self.url,
            github_repository.id,
            github_repository.full_name,
            github_repository.default_branch,
        )

    def _repository_from_json(self, data: dict[str, Any]) -> Repository:
        """Return our record of a repository in a listing."""
        return Repository(self.url, data["id"], data["full_name"], data["default_branch"])


def _parse_ref_update(entry: dict[str, Any]) -> RefUpdate:
    """Return one entry of the activity API."""
    timestamp = datetime.fromisoformat(entry["timestamp"]).timestamp()
    actor = (entry.get("actor") or {}).get("login", "")
    return RefUpdate(entry["ref"], entry["before"], entry["after"], actor, timestamp)


def _epoch_seconds(moment: datetime) -> float:
    """Return a time in seconds since the epoch."""
    return moment.timestamp()


def _github_module() -> Any:  # noqa: ANN401 - imported lazily
    """Return the library, which takes a fifth of a second to load."""
    import github

    return github


def _not_set() -> Any:  # noqa: ANN401 - imported lazily
    """Return PyGithub's own marker for "leave it out"."""
    from github.GithubObject import NotSet

    return NotSet
