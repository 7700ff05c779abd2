"""Say on an open pull request what a merge does to its runs: in one check run that blocks nothing.

It is an App's, as only an App can write a check run, and only where ``checks`` is set. It costs two
requests when a pull request changes: one reads its commits, one writes. What happened before this
process began costs a third, once: an earlier process may have written it. Nothing is written where
there is nothing to say.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

from cachetools import LRUCache

from fyre.controller.executor import Executor
from fyre.errors import UserError
from fyre.github import origin_questions
from fyre.github.listings import parse_readable
from fyre.github.permissions import malformed_as_transient
from fyre.github.webhook import PullRequestEvent, parse_pull
from fyre.message import pull_notes
from fyre.message.pull_notes import PullText
from fyre.reporter.check_runs import CheckRunReporter
from fyre.reporter.unposted_statuses import UnpostedComment
from fyre.runs import access
from fyre.runs import policy as policies
from fyre.runs.run import Repository

log = logging.getLogger(__name__)

CHECK_NAME = "fyre"
"""The name of the check run. Those of runs are ``fyre/NAME``."""

REMEMBERED_MAX = 10_000
"""Pull requests of which it is remembered what was said; for others it is looked up."""

LATEST_CHANGES = "state=open&sort=updated&direction=desc&per_page=100"
"""The query for the open pull requests that changed last: more do not change between two sweeps."""

Note = tuple[str, str]
"""Title and text of what is said."""

SILENCE: Note = ("", "")


class PullChecks:
    """The check runs on pull requests; one thread at a time handles those of a repository."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._started_at = executor, executor.clock()
        self._handled: LRUCache[tuple[int, int], tuple[float, int]] = LRUCache(REMEMBERED_MAX)
        """By pull request: the time of the last change that was handled, and a hash of its text."""

        self._notes: LRUCache[tuple[int, int, str], Note] = LRUCache(REMEMBERED_MAX)
        """The notes that were posted, by head."""

        self._lock = threading.Lock()
        self._polled: dict[int, tuple[str, float]] = {}
        """By the repository's id: the ETag of its list, and the time of the newest change."""

    def handle(self, event: PullRequestEvent) -> None:
        """Say what there is to say of a pull request, if we may. Raises ``TransientError``."""
        check_runs = self._executor.reporter.check_runs
        if check_runs is None or self._is_old_news(event):
            return
        try:
            note = self._read_note(event)
            earlier = self._find_earlier(check_runs, event, note)
        except UserError as error:
            log.info("nothing is said on pull request #%s: %s", event.number, error)
            return
        if earlier[0] and self._may_be_outdated(event):
            note = earlier
        elif earlier[0] and not note[0]:
            note = pull_notes.NOTHING_LEFT
        with self._lock:
            self._handled[event.repository.id, event.number] = event.updated_at, _text_hash(event)
            self._notes[_head_of(event)] = note
        if note != earlier:
            self._queue_note(check_runs, event, note)

    def poll_pulls(self, repository: Repository, since: float) -> list[PullRequestEvent]:
        """Return the open pull requests that have changed since a time (seconds since the epoch).

        It is for changes of which no webhook came, and free while nothing has changed. Raises
        ``TransientError``.
        """
        if self._executor.reporter.check_runs is None:
            return []
        etag, polled_since = self._polled.get(repository.id, ("", since))
        try:
            pulls, etag = self._list_changed(repository, etag)
        except UserError as error:
            log.info("pull requests of %s are not swept: %s", repository.name, error)
            return []
        newest = max((pull.updated_at for pull in pulls), default=polled_since)
        self._polled[repository.id] = etag, max(polled_since, newest)
        return [pull for pull in pulls if pull.updated_at >= polled_since]

    def _list_changed(
        self, repository: Repository, etag: str
    ) -> tuple[list[PullRequestEvent], str]:
        """Return the open pull requests that changed last, none where no one has since ``etag``."""
        path = f"/repos/{repository.name}/pulls?{LATEST_CHANGES}"
        subject = f"the pull requests of {repository.name}"
        response = self._executor.forge.get_json_if_changed(subject, repository, path, etag)
        if response is None:
            return [], etag
        with malformed_as_transient(subject):
            pulls = list(parse_readable(subject, response[2], partial(parse_pull, repository)))
        return [pull for pull in pulls if isinstance(pull, PullRequestEvent)], response[0]

    def _is_old_news(self, event: PullRequestEvent) -> bool:
        """Return True if this state of a pull request was handled, or a later one."""
        with self._lock:
            handled = self._handled.get((event.repository.id, event.number))
        if handled is None:
            return False
        updated_at, text_hash = handled
        return event.updated_at < updated_at or _text_hash(event) == text_hash

    def _read_note(self, event: PullRequestEvent) -> Note:
        """Return what there is to say, for which one request reads the commits."""
        policy = policies.for_repository(self._executor.policy, event.repository.name)
        if not access.may_launch(policy, f"refs/heads/{event.base}"):
            return SILENCE
        forge, repository = self._executor.forge, event.repository
        commits = origin_questions.list_first_commits(forge, repository, event.number)
        with malformed_as_transient(f"the commits of pull request #{event.number}"):
            messages = [(str(one["sha"]), str(one["commit"]["message"])) for one in commits]
        return pull_notes.render_notes(
            PullText(
                event.title,
                event.body,
                messages,
                waits_after_merge=event.is_fork and not policy.merged_forks,
                takes_squash=event.takes_squash,
                is_cut=len(messages) >= origin_questions.COMMITS_PER_PAGE,
            )
        )

    def _find_earlier(
        self, check_runs: CheckRunReporter, event: PullRequestEvent, note: Note
    ) -> Note:
        """Return what is said on the head already; it is looked up where that is not known."""
        with self._lock:
            said = self._notes.get(_head_of(event))
        if said is not None:
            return said
        if event.has_new_head and not (note[0] and self._may_be_outdated(event)):
            return SILENCE
        return find_note(check_runs, event)

    def _may_be_outdated(self, event: PullRequestEvent) -> bool:
        """Return True if an earlier process may have heard of this, and of what came after it."""
        return event.has_new_head and event.updated_at < self._started_at

    def _queue_note(
        self, check_runs: CheckRunReporter, event: PullRequestEvent, note: Note
    ) -> None:
        writer = _NoteWriter(check_runs, event, note)
        self._executor.reporter.queue_comment(
            UnpostedComment(
                event.repository, f"pull {event.number}", "", writer.write, is_optional=True
            )
        )


@dataclass
class _NoteWriter:
    """A note that is written once: after a failed try it is first looked for."""

    check_runs: CheckRunReporter
    event: PullRequestEvent
    note: Note
    tried: bool = False

    def write(self) -> None:
        if self.tried and find_note(self.check_runs, self.event) == self.note:
            return
        self.tried = True
        self.check_runs.post(self.event.repository, note_body(self.event, self.note))


def note_body(event: PullRequestEvent, note: Note) -> dict[str, Any]:
    """Return the check run of a note, in the form of GitHub's API. Pure."""
    return {
        "name": CHECK_NAME,
        "head_sha": event.head_sha,
        "external_id": _external_id(event),
        "status": "completed",
        "conclusion": "neutral",
        "output": {"title": note[0], "summary": note[1]},
    }


def find_note(check_runs: CheckRunReporter, event: PullRequestEvent) -> Note:
    """Return what our newest check run on the head of a pull request says."""
    own = check_runs.list_own(event.repository, event.head_sha, CHECK_NAME)
    notes = [check for check in own if check["external_id"] == _external_id(event)]
    if not notes:
        return SILENCE
    output = max(notes, key=_check_number)["output"]
    return str(output["title"]), str(output["summary"])


def _check_number(check: dict[str, Any]) -> int:
    return int(check["id"])


def _external_id(event: PullRequestEvent) -> str:
    return f"pull {event.number}"


def _head_of(event: PullRequestEvent) -> tuple[int, int, str]:
    return event.repository.id, event.number, event.head_sha


def _text_hash(event: PullRequestEvent) -> int:
    """Return a hash of all that a note depends on, besides the commits below the head."""
    return hash((event.head_sha, event.base, event.title, event.body, event.takes_squash))
