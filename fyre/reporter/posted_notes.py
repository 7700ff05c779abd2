"""Note in run records which statuses were posted, so that none is posted twice.

The note of a final state is saved at once. That of a pending state is saved late, since most runs
end before it is due and need none, and a launch goes before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

from fyre.engines.protocol import Engine
from fyre.reporter.unposted_statuses import (
    PENDING_WORDS,
    StatusPost,
    is_said_by,
    state_word_of,
    unposted_statuses,
)
from fyre.runs.posted_states import check_posted_states, with_posted_state
from fyre.runs.run import RunRecord
from fyre.stored_form import UnreadableError, warn_once

log = logging.getLogger(__name__)

NOTE_DELAY = 60.0
"""Seconds that a run must be pending for its note to say so; more, while there are statuses to
write. Most have ended by then and need no such note, which is a request each. What is not noted
when the process starts is looked up on the forge once."""


class PostedNotes:
    """The notes of posted statuses, saved or not yet. Only the writing thread changes them."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock
        self._unsaved: dict[tuple[str, str], tuple[StatusPost, float]] = {}
        """By run key and SHA, the oldest first: what was posted, and when to note it."""

    def next_due(self) -> float:
        """Return when the next note is to be saved, on the clock; infinity where none waits."""
        return min((due for _, due in list(self._unsaved.values())), default=math.inf)

    def is_posted(self, status: StatusPost) -> bool:
        """Return True if that very status was posted and is not noted yet."""
        waiting = self._unsaved.get((status.run_key, status.sha))
        return waiting is not None and is_said_by(waiting[0].state_word, status.state_word)

    def add(self, posted: StatusPost) -> None:
        """Remember that a status was posted, and save it when it is due."""
        self._unsaved[posted.run_key, posted.sha] = posted, self._clock() + NOTE_DELAY

    def save(self, posted: StatusPost) -> RunRecord | None:
        """Save a note; return the record with it where nothing of a run that ended is left to post.

        The record is marked so, too.
        """
        record = self._engine.get_record(posted.run_key)
        reported = with_posted_state(
            record.reported if record is not None else "", posted.sha, posted.state_word
        )
        noted = None if record is None else replace(record, reported=reported)
        is_complete = (
            noted is not None and noted.state.is_final and not unposted_statuses(noted, "")
        )
        self._engine.annotate(posted.run_key, reported=reported, end_posted=is_complete)
        self._unsaved.pop((posted.run_key, posted.sha), None)
        return noted if is_complete else None

    def pop_oldest(self) -> StatusPost:
        """Remove and return the status that was posted first and is not noted yet."""
        key = next(iter(self._unsaved))
        posted, _ = self._unsaved.pop(key)
        return posted

    def is_current(self, posted: StatusPost) -> bool:
        """Return True if the run is still in the state that was posted."""
        record = self._engine.get_record(posted.run_key)
        return record is not None and is_said_by(posted.state_word, state_word_of(record))


def is_final_word(posted: StatusPost) -> bool:
    """Return True if a status reports the end of a run."""
    return posted.state_word not in PENDING_WORDS


def warn_if_unreadable(record: RunRecord) -> None:
    """Log that a record's note can't be read.

    It counts as empty, and what was posted is looked up on the forge.
    """
    try:
        check_posted_states(record.reported)
    except UnreadableError as error:
        warn_once(f"what was posted of run {record.run.key}", str(error))
