"""Find other people's text in a commit that merged a pull request of the repository itself.

GitHub names one pull request for a squash or a rebased commit: the last one. The text may be of a
commit inside it, which another pull request brought there, from a fork perhaps. So the commits
inside are looked at, and what brought them, as deep as pull requests were merged into each other.
What is looked for is the text that asks for runs: a commit that holds none of it is not asked
about. A commit that somebody has picked or rebased by hand and pushed is that person's own: no pull
request has brought it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fyre.github.errors import DeniedError, UnauthenticatedError
from fyre.github.origin_questions import PULL_COMMITS_MAX, OriginQuestions
from fyre.message import request_lines
from fyre.runs.access import may_write

QUESTIONS_MAX = 50
"""Questions about pull requests inside of others, and their commits, for one pushed commit."""

FORGE_LOGIN = "web-flow"
"""Login of the committer of whatever GitHub commits for a person, and signs with its own key:
merges, squashes, edits in the browser. Its signature says nothing of who wrote the text."""

AskRole = Callable[[str], str]
"""Return the role of a login in the repository, as ``get_role`` does."""

PullJson = dict[str, Any]
CommitJson = dict[str, Any]


class UnclearOriginError(Exception):
    """It can't be found out who wrote the text. ``args[0]`` says why, for a status."""


class NestedPulls:
    """The pull requests inside those that brought one pushed commit, asked for within a bound."""

    def __init__(self, questions: OriginQuestions, message: str, actor: str, branch: str) -> None:
        self._questions, self._actor, self._branch = questions, actor, branch
        self._wanted = request_lines.requesting_lines(message)
        self._questions_left = QUESTIONS_MAX
        self._writers: dict[int, str] = {}
        """By a pull request's number: who wrote the text in it, "" for somebody who may push."""

    def find_writer(self, sha: str, pulls: list[PullJson]) -> str:
        """Return the writer of the text of a commit that these pull requests brought.

        "" is somebody who may push. Raises ``UnclearOriginError``.
        """
        merged = (pull for pull in pulls if pull["merged_at"])
        writers = (self._writer_in_pull(sha, int(pull["number"])) for pull in merged)
        return next(filter(None, writers), "")

    def _writer_in_pull(self, sha: str, number: int) -> str:
        commits = self._list_commits(number)
        if any(commit["sha"] == sha for commit in commits):
            return ""  # it was not made by the merge: its text is its own
        if number not in self._writers:
            self._writers[number] = ""  # a pull request inside of itself says nothing more
            self._writers[number] = self._writer_among(commits, number)
        return self._writers[number]

    def _writer_among(self, commits: list[CommitJson], number: int) -> str:
        """Return the writer of the text, of which these commits hold a part.

        One commit that asks for all of it, by somebody who may push, is enough: then that person
        wrote it, whoever wrote the same.
        """
        is_cut = len(commits) >= PULL_COMMITS_MAX
        holders, outsider = self._find_holders(commits, is_cut=is_cut), ""
        for asks_all, commit in holders:
            if not asks_all and (outsider or is_cut):
                break
            writer = self._writer_of(commit)
            if asks_all and not writer:
                return ""
            outsider = outsider or writer
        if is_cut and not outsider:
            reason = f"pull request #{number} has {PULL_COMMITS_MAX} commits or more"
            raise UnclearOriginError(reason)
        if not holders:
            self._raise_if_mixed(commits, number)
        return outsider

    def _find_holders(
        self, commits: list[CommitJson], *, is_cut: bool
    ) -> list[tuple[bool, CommitJson]]:
        """Return the commits that hold a part of the text, and True for those that ask for all.

        They come first, and the newest: a squash keeps the last one's. Who only quotes it does not
        ask for it.
        """
        parts = [
            (request_lines.held_lines(_message_of(commit), self._wanted), commit)
            for commit in reversed(commits)
        ]
        held = self._wanted if is_cut else frozenset().union(*(lines for lines, _ in parts))
        holders = [
            (request_lines.requesting_lines(_message_of(commit)) >= held, commit)
            for lines, commit in parts
            if lines
        ]
        return sorted(holders, key=lambda holder: not holder[0])

    def _raise_if_mixed(self, commits: list[CommitJson], number: int) -> None:
        """Refuse a text that no commit holds, where somebody else asks for runs among them.

        Whoever merged it has written it, or has changed a text of that person.
        """
        for commit in reversed(commits):
            if request_lines.mentions_run(_message_of(commit)):
                writer = self._writer_of(commit)
                if writer:
                    reason = f"pull request #{number} also has runs of {writer}"
                    raise UnclearOriginError(reason)

    def _writer_of(self, commit: CommitJson) -> str:
        """Return the writer of the text of a commit inside a pull request."""
        if is_signed_by_writer(commit, self._questions.get_role):
            return ""
        sha = str(commit["sha"])
        pulls = self._ask(lambda: self._questions.list_pulls(sha), f"what brought {sha[:7]}")
        writer = find_outside_writer(pulls, self._actor, self._questions.get_role)
        writer = writer or self._questions.find_upstream_of(sha, self._branch)
        return writer or self.find_writer(sha, pulls)

    def _list_commits(self, number: int) -> list[CommitJson]:
        what = f"the commits of pull request #{number}"
        return self._ask(lambda: self._questions.list_pull_commits(number), what)

    def _ask(self, ask: Callable[[], list[dict[str, Any]]], what: str) -> list[dict[str, Any]]:
        """Ask one of the questions that are left. Raises ``UnclearOriginError`` without one."""
        if not self._questions_left:
            raise UnclearOriginError(f"it takes more than {QUESTIONS_MAX} questions to the forge")
        self._questions_left -= 1
        try:
            return ask()
        except UnauthenticatedError:
            raise
        except DeniedError as error:
            raise UnclearOriginError(f"the forge does not show {what}") from error


def find_outside_writer(pulls: list[PullJson], actor: str, role_of: AskRole) -> str:
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


def is_from_fork(pull: PullJson) -> bool:
    """Return True if a pull request's head is in another repository, also in a deleted one."""
    head = pull["head"].get("repo")
    return head is None or head["id"] != pull["base"]["repo"]["id"]


def is_signed_by_writer(commit: CommitJson, role_of: AskRole) -> bool:
    """Return True if the forge has verified that a person who may write has signed a commit."""
    verified = (commit["commit"].get("verification") or {}).get("verified") is True
    signer = str((commit.get("committer") or {}).get("login") or "")
    return verified and signer not in ("", FORGE_LOGIN) and may_write(role_of(signer))


def _message_of(commit: CommitJson) -> str:
    return str(commit["commit"]["message"])
