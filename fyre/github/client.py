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

from fyre.errors import TryAgainError
from fyre.github import errors, etag_cache, rate_limit, session
from fyre.github.errors import NotFoundError, translated
from fyre.github.rate_limit import Told
from fyre.runs.commit_status import Status
from fyre.runs.run import Commit, Repository

if TYPE_CHECKING:
    from github import Github
    from github.CheckRun import CheckRun
    from github.CommitComment import CommitComment
    from github.CommitStatus import CommitStatus
    from github.IssueComment import IssueComment
    from github.Repository import Repository as GithubRepository

W = TypeVar("W", "CommitStatus", "CommitComment", "IssueComment", "CheckRun")


@dataclass(frozen=True, slots=True)
class Posted:
    """A status as the forge has it; ``at`` is in seconds since the epoch."""

    status: Status
    creator: str
    at: float


@dataclass(frozen=True, slots=True)
class Comment:
    """A commit comment."""

    id: int
    sha: str
    author: str
    body: str


@dataclass(frozen=True, slots=True)
class Activity:
    """One update of a ref, as the activity API has it; ``at`` is in seconds since the epoch."""

    ref: str
    before: str
    after: str
    actor: str
    at: float


@dataclass(frozen=True, slots=True)
class Activities:
    """Updates of refs, oldest first. ``tag`` names the forge's answer: given back, it costs nothing to hear that there
    is nothing new, which is no entries and the same tag.
    """

    entries: tuple[Activity, ...]
    tag: str


class Forge:
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

    def learn(self, repository: Repository) -> None:
        """Have what is asked of this repository from now on go by the name that it has now: names change, ids stay."""
        self._names[repository.id] = repository.name

    def me(self) -> str:
        """The login that our statuses bear as their creator."""
        if not self._me:
            with translated("the forge's user"):
                self._me = str(self._hub().get_user().login)
        return self._me

    def is_me(self, login: str) -> bool:
        """Whether that is our login; case does not count to GitHub, nor to who typed it."""
        return login.lower() == self.me().lower()

    def repositories(self) -> list[Repository]:
        """Every repository that this token can see; asking again is free while they are the same."""
        with translated("the list of repositories"):
            return self._answers.pages(self._hub().requester, "/user/repos", self._listed)

    def repository(self, name: str) -> Repository:
        """The repository of that name, ``owner/repo``."""
        with translated(f"repository {name}"):
            found = self._hub(name).get_repo(name)
            found.complete()
            return self._record(found)

    def commit(self, repository: Repository, ref: str) -> Commit:
        """A commit by SHA, branch or tag."""
        with translated(f"commit {ref} of {repository.name}"):
            found = self._at(repository).get_commit(ref)
            found.complete()
            inner = found.commit
            parents = tuple(parent.sha for parent in found.parents)
            return Commit(
                found.sha, inner.tree.sha, parents, inner.message, _seconds(inner.committer.date)
            )

    def file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """A file as it stands in a commit; None where there is none, or a directory."""
        try:
            with translated(f"{path} of {repository.name} at {sha}"):
                found = self._at(repository).get_contents(path, ref=sha)
                return None if isinstance(found, list) else bytes(found.decoded_content)
        except NotFoundError:
            return None

    def between(self, repository: Repository, base: str, head: str) -> list[str]:
        """SHAs reachable from ``head`` and not from ``base``, oldest first; the forge lists at most 10,000."""
        with translated(f"the commits {base}...{head} of {repository.name}"):
            compared = self._at(repository).compare(base, head, comparison_commits_per_page=250)
            return [commit.sha for commit in compared.commits]

    def statuses(self, repository: Repository, sha: str) -> list[Posted]:
        """All statuses of a commit, newest first, whoever posted them."""
        with translated(f"the statuses of {sha} in {repository.name}"):
            found = self._at(repository).get_commit(sha).get_statuses()
            return [
                Posted(
                    Status(
                        one.context or "", one.state, one.description or "", one.target_url or ""
                    ),
                    one.creator.login if one.creator else "",
                    _seconds(one.created_at),
                )
                for one in found
            ]

    def post(self, repository: Repository, sha: str, status: Status) -> Told:
        """Write a commit status: exactly one POST, never repeated here. Returns what the answer says of limits.

        Raises ``FullError`` where there are too many.
        """
        with translated(f"posting {status.context} on {sha} of {repository.name}"):
            words = status.state, status.target_url or _unset(), status.description, status.context
            made = self._written(repository, lambda at: at.get_commit(sha).create_status(*words))
            return rate_limit.read(201, made.raw_headers, "", time.time())

    def check(self, repository: Repository, body: dict[str, Any]) -> Told:
        """Make a check run, which Apps alone may: exactly one POST. Returns what the answer says of limits."""
        with translated(f"a check run on {body['head_sha']} of {repository.name}"):
            made = self._written(repository, lambda at: at.create_check_run(**body))
            return rate_limit.read(201, made.raw_headers, "", time.time())

    def comments(self, repository: Repository, sha: str) -> list[Comment]:
        """The comments of a commit, oldest first."""
        with translated(f"the comments of {sha} in {repository.name}"):
            found = self._at(repository).get_commit(sha).get_comments()
            return [
                Comment(one.id, one.commit_id, one.user.login if one.user else "", one.body)
                for one in found
            ]

    def comment(self, repository: Repository, sha: str, body: str) -> Comment:
        """Write a comment on a commit."""
        with translated(f"commenting on {sha} of {repository.name}"):
            one = self._written(repository, lambda at: at.get_commit(sha).create_comment(body))
            return Comment(one.id, one.commit_id, one.user.login if one.user else "", one.body)

    def discuss(self, repository: Repository, number: int, body: str) -> Comment:
        """Write a comment in the conversation of a pull request."""
        with translated(f"commenting on pull request {number} of {repository.name}"):
            one = self._written(repository, lambda at: at.get_issue(number).create_comment(body))
            return Comment(one.id, "", one.user.login if one.user else "", one.body)

    def permission(self, repository: Repository, login: str) -> str:
        """What a user may do there: ``admin write read none``."""
        try:
            with translated(f"the permission of {login} on {repository.name}"):
                return str(self._at(repository).get_collaborator_permission(login))
        except NotFoundError:
            return "none"

    def activity(self, repository: Repository, since: float, tag: str = "") -> Activities:
        """What was pushed since then (``GET /repos/{owner}/{repo}/activity``; PyGithub has no call).

        The newest come first, so while the first page is what ``tag`` names, nothing was.
        """
        found: list[Activity] = []
        with translated(f"the activity of {repository.name}"):
            first = f"/repos/{repository.name}/activity?per_page={etag_cache.PER_PAGE}"
            answer = etag_cache.ask(self._hub(repository.name).requester, first, tag)
            if answer is None:
                return Activities((), tag)
            for entry in self._entries(repository.name, *answer[1:]):
                at = datetime.fromisoformat(entry["timestamp"]).timestamp()
                if at < since:
                    break
                actor = (entry.get("actor") or {}).get("login", "")
                found.append(Activity(entry["ref"], entry["before"], entry["after"], actor, at))
        return Activities(tuple(found[::-1]), answer[0])

    def get(self, what: str, repository: Repository, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        """What a path of the API answers, for what PyGithub has no call; ``what`` is the question, for its errors."""
        with translated(what):
            _, data = self._hub(repository.name).requester.requestJsonAndCheck("GET", path)
            return data

    def ask(
        self, what: str, repository: Repository, path: str, tag: str
    ) -> tuple[str, dict[str, Any], Any] | None:
        """The same with its tag and headers; None where it is what ``tag`` names, which costs nothing."""
        with translated(what):
            return etag_cache.ask(self._hub(repository.name).requester, path, tag)

    def entries(self, what: str, repository: Repository, path: str) -> list[dict[str, Any]]:
        """All entries of a listing."""
        with translated(what):
            headers, data = self._hub(repository.name).requester.requestJsonAndCheck("GET", path)
            return list(self._entries(repository.name, headers, data))

    def account(self, repository: Repository) -> str:  # noqa: ARG002 - an App's is another
        """Whose limits a write counts against; "" where all are one's."""
        return ""

    def remaining(self) -> int | None:
        """How many requests the primary limit has left; None without one. Asking costs none of them.

        Raises ``TryAgainError`` when the forge can't be reached, ``DeniedError`` when it does not know the token.
        """
        try:
            with translated("the forge's rate limit"):
                _, data = self._hub().requester.requestJsonAndCheck("GET", "/rate_limit")
                return int(data["resources"]["core"]["remaining"])
        except NotFoundError:  # GitHub Enterprise Server, where limits are off
            return None

    def _entries(self, name: str, headers: dict[str, Any], data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
        """The entries of a repository's listing from that page on, following ``Link: …; rel="next"``."""
        from requests.utils import parse_header_links

        while True:
            yield from data
            links = parse_header_links(headers.get("link", ""))
            url = next((link["url"] for link in links if link.get("rel") == "next"), None)
            if url is None:
                return
            headers, data = self._hub(name).requester.requestJsonAndCheck("GET", url)

    def _at(self, repository: Repository) -> GithubRepository:
        name = self._names.get(repository.id, repository.name)
        return self._hub(name).get_repo(name)

    def _written(self, repository: Repository, write: Callable[[GithubRepository], W]) -> W:
        """What was written, under the name that the repository has now.

        GitHub answers a write under an old name with a 307, which PyGithub takes for the thing that was made. Where
        another repository has the name by now, it knows no such commit.
        """
        before = self._names.get(repository.id, repository.name)
        try:
            made = write(self._at(repository))
            if "id" in made.raw_data:
                return made
            self._learn_name(repository, before)
        except _github().GithubException as error:
            if (
                not isinstance(errors.meaning("", error), NotFoundError)
                or self._learn_name(repository, before) == before
            ):
                raise
        made = write(self._at(repository))
        if "id" not in made.raw_data:
            raise TryAgainError(f"{before} was renamed, and the forge does not say to what")
        return made

    def _learn_name(self, repository: Repository, before: str) -> str:
        """Ask for a repository's name by its id, which is where GitHub's redirects lead; the old one if nobody says."""
        try:
            found = self._hub(before).get_repo(repository.id)
            found.complete()
            self.learn(self._record(found))
        except _github().GithubException:
            return before
        return self._names[repository.id]

    def _hub(self, name: str = "") -> Github:
        """This thread's connection; ``name`` is the repository that it is for, where that makes a difference."""
        del name
        if not hasattr(self._local, "hub"):
            self._local.hub = session.connect(self.url, self._token)
        hub: Github = self._local.hub
        return hub

    def _record(self, found: GithubRepository) -> Repository:
        return Repository(self.url, found.id, found.full_name, found.default_branch)

    def _listed(self, data: dict[str, Any]) -> Repository:
        return Repository(self.url, data["id"], data["full_name"], data["default_branch"])


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _github() -> Any:  # noqa: ANN401 - the library, which takes a fifth of a second to load
    import github

    return github


def _unset() -> Any:  # noqa: ANN401 - PyGithub's own marker for "leave it out"
    from github.GithubObject import NotSet

    return NotSet
