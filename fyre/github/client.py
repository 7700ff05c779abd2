"""GitHub, or whatever speaks its REST API, by PyGithub.

Nothing here sleeps for long or sends a write twice: PyGithub's default retry does both, so ours retries reads alone,
and the ledger paces the writes. What may go wrong is in ``fyre.github.errors``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from fyre.errors import TransientError
from fyre.github import errors, etag_cache, rate_limit, session
from fyre.github.errors import NotFoundError, translate_errors
from fyre.github.rate_limit import RateLimitHeaders
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Commit, Repository

if TYPE_CHECKING:
    from github import Github
    from github.CheckRun import CheckRun
    from github.CommitComment import CommitComment
    from github.CommitStatus import CommitStatus as GithubStatus
    from github.IssueComment import IssueComment
    from github.Repository import Repository as GithubRepository

W = TypeVar("W", "GithubStatus", "CommitComment", "IssueComment", "CheckRun")


@dataclass(frozen=True, slots=True)
class PostedStatus:
    """A status as the forge has it; ``at`` is in seconds since the epoch."""

    status: CommitStatus
    creator: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Comment:
    """A commit comment."""

    id: int
    sha: str
    author: str
    body: str


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One update of a ref, as the activity API has it; ``at`` is in seconds since the epoch."""

    ref: str
    before: str
    after: str
    actor: str
    timestamp: float


@dataclass(frozen=True, slots=True)
class RefUpdates:
    """Updates of refs, oldest first. ``tag`` names the forge's answer: given back, it costs nothing to hear that there
    is nothing new, which is no entries and the same tag.
    """

    updates: tuple[RefUpdate, ...]
    etag: str


class GitHubClient:
    """One forge seen through one token. Thread-safe: each thread has its own connection."""

    def __init__(self, url: str, token: Callable[[], str], login: str = "") -> None:
        """``url`` is the API's base, such as ``https://api.github.com``; ``token`` is asked before each request.

        ``login`` is whose the token is, for one that may not ask: a workflow's is ``github-actions[bot]``'s.
        """
        self.url = url.rstrip("/")
        self._token = token
        self._local = threading.local()
        self._me = login
        self._names: dict[int, str] = {}
        self._answers = etag_cache.ETagCache()

    def update_repository_name(self, repository: Repository) -> None:
        """Have what is asked of this repository from now on go by the name that it has now: names change, ids stay."""
        self._names[repository.id] = repository.name

    def own_login(self) -> str:
        """The login that our statuses bear as their creator."""
        if not self._me:
            with translate_errors("the forge's user"):
                self._me = str(self._thread_connection().get_user().login)
        return self._me

    def is_own_login(self, login: str) -> bool:
        """Whether that is our login; case does not count to GitHub, nor to who typed it."""
        return login.lower() == self.own_login().lower()

    def list_repositories(self) -> list[Repository]:
        """Every repository that this token can see; asking again is free while they are the same."""
        with translate_errors("the list of repositories"):
            return self._answers.pages(
                self._thread_connection().requester, "/user/repos", self._repository_from_json
            )

    def get_repository(self, name: str) -> Repository:
        """The repository of that name, ``owner/repo``."""
        with translate_errors(f"repository {name}"):
            found = self._thread_connection(name).get_repo(name)
            found.complete()
            return self._repository_from_api(found)

    def get_commit(self, repository: Repository, ref: str) -> Commit:
        """A commit by SHA, branch or tag."""
        with translate_errors(f"commit {ref} of {repository.name}"):
            found = self._github_repository(repository).get_commit(ref)
            found.complete()
            inner = found.commit
            parents = tuple(parent.sha for parent in found.parents)
            return Commit(
                found.sha,
                inner.tree.sha,
                parents,
                inner.message,
                _epoch_seconds(inner.committer.date),
            )

    def get_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file as it stands in a commit; None where there is none, or a directory."""
        try:
            with translate_errors(f"{path} of {repository.name} at {sha}"):
                found = self._github_repository(repository).get_contents(path, ref=sha)
                return None if isinstance(found, list) else bytes(found.decoded_content)
        except NotFoundError:
            return None

    def commits_between(self, repository: Repository, base: str, head: str) -> list[str]:
        """SHAs reachable from ``head`` and not from ``base``, oldest first; the forge lists at most 10,000."""
        with translate_errors(f"the commits {base}...{head} of {repository.name}"):
            compared = self._github_repository(repository).compare(
                base, head, comparison_commits_per_page=250
            )
            return [commit.sha for commit in compared.commits]

    def list_statuses(self, repository: Repository, sha: str) -> list[PostedStatus]:
        """All statuses of a commit, newest first, whoever posted them."""
        with translate_errors(f"the statuses of {sha} in {repository.name}"):
            found = self._github_repository(repository).get_commit(sha).get_statuses()
            return [
                PostedStatus(
                    CommitStatus(
                        one.context or "", one.state, one.description or "", one.target_url or ""
                    ),
                    one.creator.login if one.creator else "",
                    _epoch_seconds(one.created_at),
                )
                for one in found
            ]

    def create_status(
        self, repository: Repository, sha: str, status: CommitStatus
    ) -> RateLimitHeaders:
        """Write a commit status: exactly one POST, never repeated here. Returns what the answer says of limits.

        Raises ``FullError`` where there are too many.
        """
        with translate_errors(f"posting {status.context} on {sha} of {repository.name}"):
            words = (
                status.state,
                status.target_url or _not_set(),
                status.description,
                status.context,
            )
            made = self._write_following_rename(
                repository, lambda at: at.get_commit(sha).create_status(*words)
            )
            return rate_limit.parse_rate_limit_headers(201, made.raw_headers, "", time.time())

    def create_check_run(self, repository: Repository, body: dict[str, Any]) -> RateLimitHeaders:
        """Make a check run, which Apps alone may: exactly one POST. Returns what the answer says of limits."""
        with translate_errors(f"a check run on {body['head_sha']} of {repository.name}"):
            made = self._write_following_rename(repository, lambda at: at.create_check_run(**body))
            return rate_limit.parse_rate_limit_headers(201, made.raw_headers, "", time.time())

    def list_commit_comments(self, repository: Repository, sha: str) -> list[Comment]:
        """The comments of a commit, oldest first."""
        with translate_errors(f"the comments of {sha} in {repository.name}"):
            found = self._github_repository(repository).get_commit(sha).get_comments()
            return [
                Comment(one.id, one.commit_id, one.user.login if one.user else "", one.body)
                for one in found
            ]

    def create_commit_comment(self, repository: Repository, sha: str, body: str) -> Comment:
        """Write a comment on a commit."""
        with translate_errors(f"commenting on {sha} of {repository.name}"):
            one = self._write_following_rename(
                repository, lambda at: at.get_commit(sha).create_comment(body)
            )
            return Comment(one.id, one.commit_id, one.user.login if one.user else "", one.body)

    def create_issue_comment(self, repository: Repository, number: int, body: str) -> Comment:
        """Write a comment in the conversation of a pull request."""
        with translate_errors(f"commenting on pull request {number} of {repository.name}"):
            one = self._write_following_rename(
                repository, lambda at: at.get_issue(number).create_comment(body)
            )
            return Comment(one.id, "", one.user.login if one.user else "", one.body)

    def get_permission(self, repository: Repository, login: str) -> str:
        """What a user may do there: ``admin write read none``."""
        try:
            with translate_errors(f"the permission of {login} on {repository.name}"):
                return str(self._github_repository(repository).get_collaborator_permission(login))
        except NotFoundError:
            return "none"

    def list_ref_updates(self, repository: Repository, since: float, etag: str = "") -> RefUpdates:
        """What was pushed since then (``GET /repos/{owner}/{repo}/activity``; PyGithub has no call).

        The newest come first, so while the first page is what ``tag`` names, nothing was.
        """
        found: list[RefUpdate] = []
        with translate_errors(f"the activity of {repository.name}"):
            first = f"/repos/{repository.name}/activity?per_page={etag_cache.PER_PAGE}"
            answer = etag_cache.get_if_changed(
                self._thread_connection(repository.name).requester, first, etag
            )
            if answer is None:
                return RefUpdates((), etag)
            for entry in self._follow_pages(repository.name, *answer[1:]):
                at = datetime.fromisoformat(entry["timestamp"]).timestamp()
                if at < since:
                    break
                actor = (entry.get("actor") or {}).get("login", "")
                found.append(RefUpdate(entry["ref"], entry["before"], entry["after"], actor, at))
        return RefUpdates(tuple(found[::-1]), answer[0])

    def get_json(self, description: str, repository: Repository, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        """What a path of the API answers, for what PyGithub has no call; ``what`` is the question, for its errors."""
        with translate_errors(description):
            _, data = self._thread_connection(repository.name).requester.requestJsonAndCheck(
                "GET", path
            )
            return data

    def get_json_if_changed(
        self, description: str, repository: Repository, path: str, etag: str
    ) -> tuple[str, dict[str, Any], Any] | None:
        """The same with its tag and headers; None where it is what ``tag`` names, which costs nothing."""
        with translate_errors(description):
            return etag_cache.get_if_changed(
                self._thread_connection(repository.name).requester, path, etag
            )

    def get_all_entries(
        self, description: str, repository: Repository, path: str
    ) -> list[dict[str, Any]]:
        """All entries of a listing."""
        with translate_errors(description):
            headers, data = self._thread_connection(repository.name).requester.requestJsonAndCheck(
                "GET", path
            )
            return list(self._follow_pages(repository.name, headers, data))

    def rate_limit_account(self, repository: Repository) -> str:  # noqa: ARG002 - an App's is another
        """Whose limits a write counts against; "" where all are one's."""
        return ""

    def remaining_requests(self) -> int | None:
        """How many requests the primary limit has left; None without one. Asking costs none of them.

        Raises ``TryAgainError`` when the forge can't be reached, ``DeniedError`` when it does not know the token.
        """
        try:
            with translate_errors("the forge's rate limit"):
                _, data = self._thread_connection().requester.requestJsonAndCheck(
                    "GET", "/rate_limit"
                )
                return int(data["resources"]["core"]["remaining"])
        except NotFoundError:  # GitHub Enterprise Server, where limits are off
            return None

    def _follow_pages(
        self,
        name: str,
        headers: dict[str, Any],
        data: Any,  # noqa: ANN401
    ) -> Iterator[dict[str, Any]]:
        """The entries of a repository's listing from that page on, following ``Link: …; rel="next"``."""
        from requests.utils import parse_header_links

        while True:
            yield from data
            links = parse_header_links(headers.get("link", ""))
            url = next((link["url"] for link in links if link.get("rel") == "next"), None)
            if url is None:
                return
            headers, data = self._thread_connection(name).requester.requestJsonAndCheck("GET", url)

    def _github_repository(self, repository: Repository) -> GithubRepository:
        name = self._names.get(repository.id, repository.name)
        return self._thread_connection(name).get_repo(name)

    def _write_following_rename(
        self, repository: Repository, write: Callable[[GithubRepository], W]
    ) -> W:
        """What was written, under the name that the repository has now.

        GitHub answers a write under an old name with a 307, which PyGithub takes for the thing that was made. Where
        another repository has the name by now, it knows no such commit.
        """
        before = self._names.get(repository.id, repository.name)
        try:
            made = write(self._github_repository(repository))
            if "id" in made.raw_data:
                return made
            self._fetch_current_name(repository, before)
        except _github_module().GithubException as error:
            if (
                not isinstance(errors.classify_error("", error), NotFoundError)
                or self._fetch_current_name(repository, before) == before
            ):
                raise
        made = write(self._github_repository(repository))
        if "id" not in made.raw_data:
            raise TransientError(f"{before} was renamed, and the forge does not say to what")
        return made

    def _fetch_current_name(self, repository: Repository, before: str) -> str:
        """Ask for a repository's name by its id, which is where GitHub's redirects lead; the old one if nobody says."""
        try:
            found = self._thread_connection(before).get_repo(repository.id)
            found.complete()
            self.update_repository_name(self._repository_from_api(found))
        except _github_module().GithubException:
            return before
        return self._names[repository.id]

    def _thread_connection(self, name: str = "") -> Github:
        """This thread's connection; ``name`` is the repository that it is for, where that makes a difference."""
        del name
        if not hasattr(self._local, "hub"):
            self._local.hub = session.connect_github(self.url, self._token)
        hub: Github = self._local.hub
        return hub

    def _repository_from_api(self, found: GithubRepository) -> Repository:
        return Repository(self.url, found.id, found.full_name, found.default_branch)

    def _repository_from_json(self, data: dict[str, Any]) -> Repository:
        return Repository(self.url, data["id"], data["full_name"], data["default_branch"])


def _epoch_seconds(moment: datetime) -> float:
    return moment.timestamp()


def _github_module() -> Any:  # noqa: ANN401 - the library, which takes a fifth of a second to load
    import github

    return github


def _not_set() -> Any:  # noqa: ANN401 - PyGithub's own marker for "leave it out"
    from github.GithubObject import NotSet

    return NotSet
