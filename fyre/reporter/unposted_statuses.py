"""Derive what is still to be posted from run records and their notes of what was. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from fyre.runs import commit_status
from fyre.runs.commit_status import CommitStatus
from fyre.runs.posted_states import posted_states
from fyre.runs.run import Repository, RunRecord
from fyre.runs.state import PENDING_STATES, RunState

log = logging.getLogger(__name__)

CONTEXT_NEARLY_FULL = 900
"""Statuses of one commit and context from which on only final states are posted, with a warning:
GitHub accepts 1,000."""

CHECK_RUN = "check run"
"""The key in a note under which it says for which end a check run was made."""

PENDING_WORD = "pending"
"""The word in a note for every state that is not final, but that below."""

TROUBLE_WORD = "uploading"
"""The word in a note for a run whose outputs can't be stored yet.

It is posted once of a run, however often that begins and ends."""

PENDING_WORDS = (PENDING_WORD, TROUBLE_WORD)


@dataclass(frozen=True, slots=True)
class StatusPost:
    """One status and where it stands, posted or still to be posted.

    ``run_key`` names the record in which it is noted; "" where no engine keeps one.
    """

    repository: Repository
    sha: str
    status: CommitStatus
    run_key: str = ""
    state_word: str = ""  # what the record's note will say


@dataclass(frozen=True, slots=True)
class UnpostedComment:
    """A comment to post, such as a reply. ``send`` posts it with one request.

    A note on a pull request counts as one, though it is shown as a check run.
    """

    repository: Repository
    in_reply_to: str  # the key of the comment that it answers; one in a repository
    body: str
    send: Callable[[], object]
    queued_at: float = 0.0  # on the clock of the writes; the reporter sets it
    is_optional: bool = False  # true if it gives way to every status


def unposted_statuses(record: RunRecord, page_url: str) -> list[StatusPost]:
    """Return the statuses of a run that are still to be posted.

    They stand on the run's own SHA and on those that share its outcome. Pure.
    """
    note = posted_states(record.reported)
    return [
        status_post_of(record, sha, page_url)
        for sha in (record.run.sha, *record.carried)
        if not _is_noted(record, note.get(sha, ""))
    ]


def status_post_of(record: RunRecord, sha: str, page_url: str) -> StatusPost:
    """Return the status of a run on its own SHA, or on one that shares its outcome. Pure."""
    is_shared = sha != record.run.sha
    status = commit_status.status_from_record(record, page_url, carried=is_shared)
    return StatusPost(record.run.repository, sha, status, record.run.key, state_word_of(record))


def _is_noted(record: RunRecord, noted_word: str) -> bool:
    """Return True if nothing is left to post where a note says this word, "" for nothing.

    Where the outcome can't be read, any end that was posted stands: a version that could read the
    outcome has posted it.
    """
    if record.is_outcome_unreadable and noted_word not in ("", *PENDING_WORDS):
        return True
    return is_said_by(noted_word, state_word_of(record))


def is_said_by(posted_word: str, word: str) -> bool:
    """Return True if nothing is to be posted for a word after what was posted for another."""
    return posted_word == word or (posted_word, word) == (TROUBLE_WORD, PENDING_WORD)


def state_word_of(record: RunRecord) -> str:
    """Return the word that a note uses for a record's state."""
    if record.state is RunState.UPLOADING and record.reason:
        return TROUBLE_WORD
    return PENDING_WORD if record.state in PENDING_STATES else str(record.state)


def should_skip_pending(unposted: StatusPost, record: RunRecord | None) -> bool:
    """Return True for a pending status whose context is close to GitHub's limit of 1,000.

    Each attempt posts two statuses at most, and rarely a third about its outputs, so the attempt's
    number says how full it is.
    """
    is_nearly_full = record is not None and record.run.attempt * 2 >= CONTEXT_NEARLY_FULL
    if is_nearly_full:
        log.warning(
            "%s on %s may soon be full: GitHub accepts 1,000 statuses",
            unposted.status.context,
            unposted.sha,
        )
    return is_nearly_full and unposted.state_word in PENDING_WORDS
