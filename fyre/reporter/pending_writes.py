"""What the ledger owes: derived from records, and from the note in each that says what was posted of it. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from fyre.runs import commit_status
from fyre.runs.commit_status import CommitStatus
from fyre.runs.posted_states import posted_states
from fyre.runs.run import Repository, RunRecord
from fyre.runs.state import PENDING_STATES

log = logging.getLogger(__name__)

CONTEXT_NEARLY_FULL = 900
"""Statuses of one commit and context from which on only ends are posted, with a warning: GitHub takes 1,000."""

CHECK_RUN = "check run"
"""Under this a note says for which end a check run was made; it is a turn's third part as well."""

COMMENT = "saying"
"""The third part of the turn of what is no status."""

PENDING_WORD = "pending"
"""What a note says of every state that is not final."""


@dataclass(frozen=True, slots=True)
class UnpostedStatus:
    """One status to write. ``key`` names the record that is told of it; "" where no engine keeps one."""

    repository: Repository
    sha: str
    status: CommitStatus
    run_key: str = ""
    state_word: str = ""  # what the record's note will say


@dataclass(frozen=True, slots=True)
class UnpostedComment:
    """What is no status and has its turn as well, such as an answer to a comment. ``write`` is one request."""

    repository: Repository
    in_reply_to: str  # what it is about, once in a repository
    body: str
    send: Callable[[], object]


def unposted_statuses(record: RunRecord, page_url: str) -> list[UnpostedStatus]:
    """What a record still owes the ledger, on its own SHA and on those that share its outcome. Pure."""
    word = state_word_of(record)
    note = posted_states(record.reported)
    return [
        UnpostedStatus(
            record.run.repository,
            sha,
            commit_status.status_from_record(record, page_url, carried=sha != record.run.sha),
            record.run.key,
            word,
        )
        for sha in (record.run.sha, *record.carried)
        if note.get(sha) != word
    ]


def state_word_of(record: RunRecord) -> str:
    """What a note says of a record's state."""
    return PENDING_WORD if record.state in PENDING_STATES else str(record.state)


def should_skip_pending(unposted: UnpostedStatus, record: RunRecord | None) -> bool:
    """Whether a status that is not final is left out, as its context fills up: each attempt posts two at most."""
    crowded = record is not None and record.run.attempt * 2 >= CONTEXT_NEARLY_FULL
    if crowded:
        log.warning(
            "%s on %s may soon be full: 1,000 statuses are taken",
            unposted.status.context,
            unposted.sha,
        )
    return crowded and unposted.state_word == PENDING_WORD
