"""The ledger: what the forge says of a SHA, kept in step with what the engine knows of its runs.

One writer, because a forge's write limits hold for all of it. What is owed is derived from the engine's records and
never stored: a record's ``reported`` note says for each SHA what was posted last. What is owed when we start, and what
a POST without an answer may have said, is in doubt: it is looked up in the ledger before it is posted (once more).
So a note may come late, and that of a pending state does: most runs need none of it, and launches go first.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from fyre import status
from fyre.engines import Engine
from fyre.engines.index import Index
from fyre.errors import TryAgainError, UserError
from fyre.forge import DeniedError, Forge
from fyre.run import Record, Repository
from fyre.state import PENDING
from fyre.status import Status

log = logging.getLogger(__name__)

BACKOFF = (1.0, 60.0)
"""Seconds to wait after a failure that may pass: the first time, and at most."""

PENDING_WORD = "pending"
"""What a note says of every state that is not final."""

LATE = 10.0
"""Seconds that a run must be pending for its note to say so; more, while there are statuses to write."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One status to write. ``key`` names the record that is told of it; "" where no engine keeps one."""

    repository: Repository
    sha: str
    status: Status
    key: str = ""
    word: str = ""  # what the record's note will say


def owed(record: Record, url: str) -> list[Owed]:
    """What a record still owes the ledger, on its own SHA and on those that share its outcome. Pure."""
    word = _word(record)
    note = read_note(record.reported)
    return [
        Owed(record.run.repository, sha, status.of(record, url, carried=sha != record.run.sha), record.run.key, word)
        for sha in (record.run.sha, *record.carried)
        if note.get(sha) != word
    ]


def _word(record: Record) -> str:
    return PENDING_WORD if record.state in PENDING else str(record.state)


def _path(url: str) -> str:
    return urlsplit(url).path


def read_note(reported: str) -> dict[str, str]:
    """SHA → ``pending`` or the final state that was posted there."""
    return dict(json.loads(reported)) if reported else {}


@dataclass
class Ledger:
    """Reads and writes the statuses of one forge. ``pace`` is the least time between two writes, in seconds."""

    forge: Forge
    engine: Engine
    index: Index
    url: Callable[[str], str]  # a run's key → its page
    pace: float = 0.0
    _touched: dict[str, None] = field(default_factory=dict)  # keys of records that may owe something, oldest first
    _wanted: dict[tuple[int, str, str], Owed] = field(default_factory=dict)
    _doubtful: set[tuple[str, str]] = field(default_factory=set)  # keys and SHAs: the POST may have been made already
    _unnoted: dict[tuple[str, str], tuple[Owed, float]] = field(default_factory=dict)  # posted, and when to note that
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with whatever the engine's records still owe."""
        self.engine.subscribe(self.touch)
        for record in self.engine.records():
            for debt in owed(record, ""):
                self._doubtful.add((debt.key, debt.sha))
                self.touch(debt.key)
        self._thread = threading.Thread(target=self._write_for_ever, name="ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; what is owed will be derived again."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def touch(self, key: str) -> None:
        """A record may have changed."""
        with self._changed:
            self._touched[key] = None
            self._changed.notify()

    def want(self, repository: Repository, sha: str, wanted: Status) -> None:
        """Owe a status for which no engine keeps a record; a later one of the same context replaces it."""
        with self._changed:
            self._wanted[repository.id, sha, wanted.context.lower()] = Owed(repository, sha, wanted)
            self._changed.notify()

    def idle(self) -> bool:
        """Whether nothing is wanted that no record remembers; what records owe is ``owed``."""
        with self._changed:
            return not self._wanted

    def read(self, repository: Repository, sha: str) -> Mapping[str, Status]:
        """Our newest status of each context (in lower case) on a SHA. Anyone can post one: only ours count."""
        me = self.forge.me()
        found: dict[str, Status] = {}
        for posted in self.forge.statuses(repository, sha):
            if posted.creator == me:
                found.setdefault(posted.status.context.lower(), posted.status)
        with self._changed:  # what is owed but not written yet counts as said
            waiting = [o for (at, of, _), o in self._wanted.items() if (at, of) == (repository.id, sha)]
        return found | {one.status.context.lower(): one.status for one in waiting}

    def _write_for_ever(self) -> None:
        wait, pause = 0.0, BACKOFF[0]
        while self._await_work(wait):
            wait = self.pace
            try:
                wrote = self._write_next()
                wait, pause = (self.pace if wrote else 0.0), BACKOFF[0]
            except TryAgainError as error:
                log.warning("the ledger waits: %s", error)
                wait, pause = pause, min(pause * 2, BACKOFF[1])
            except Exception:
                # A bug met by one status must not keep the others from being written.
                log.exception("the ledger met a bug")
                wait, pause = pause, min(pause * 2, BACKOFF[1])

    def _await_work(self, wait: float) -> bool:
        """Wait at least ``wait`` seconds, then until there is something to do; False to stop."""
        deadline = time.monotonic() + wait
        with self._changed:
            while not self._stopped and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            while not self._stopped and not self._touched and not self._wanted:
                due = min((due for _, due in self._unnoted.values()), default=None)
                if due is not None and due <= time.monotonic():
                    break
                self._changed.wait(None if due is None else due - time.monotonic())
            return not self._stopped

    def _write_next(self) -> bool:
        """Write one status, ended runs first; False when nothing was owed after all."""
        with self._changed:
            wanted = next(iter(self._wanted.items()), None)
            calm = not self._wanted and not self._touched
        if calm:
            self._note_late()
            return False
        if wanted is not None:
            self._post(wanted[1])
            with self._changed:
                if self._wanted.get(wanted[0]) is wanted[1]:
                    del self._wanted[wanted[0]]
            return True
        record = self._next_record()
        debts = self._owed(record) if record is not None else []
        silent = [debt for debt in debts if record is not None and not self._speaks(record, debt.sha)]
        debts = [debt for debt in debts if debt not in silent]
        if record is not None and record.state.final and silent and not debts:
            self.engine.annotate(record.run.key, settled=True)  # another has the say: this one owes nothing more
        for debt in debts[:1]:
            if len(debts) > 1:
                self.touch(debt.key)
            self._settle(debt)
        return bool(debts)

    def _next_record(self) -> Record | None:
        """The record to look at next: the first ended one of those touched, else the first."""
        with self._changed:
            keys = list(self._touched)
        records = [(key, self.engine.record(key)) for key in keys[:_LOOK_AHEAD]]
        chosen = next((pair for pair in records if pair[1] is not None and pair[1].state.final), records[0])
        with self._changed:
            self._touched.pop(chosen[0], None)
        return chosen[1]

    def _speaks(self, record: Record, sha: str) -> bool:
        """Whether this record has the say on a SHA: no rerun has it, nor, where it was carried to, a run of its own."""
        here = self.index.at(record.run.repository.id, sha)
        others = [r.run.attempt for r in here if r.run.context == record.run.context and r.run.key != record.run.key]
        return not others if sha != record.run.sha else all(record.run.attempt >= attempt for attempt in others)

    def _settle(self, debt: Owed) -> None:
        """Post, note that it is done; what is in doubt is looked up first."""
        about = (debt.key, debt.sha)
        try:
            if about not in self._doubtful or not self._is_said(debt):
                self._doubtful.add(about)
                self._post(debt)
            self._unnoted[about] = debt, time.monotonic() + LATE
            if debt.word != PENDING_WORD:
                self._note(debt)
            self._doubtful.discard(about)
        except Exception:  # whatever it was, it is still owed
            self.touch(debt.key)
            raise

    def _owed(self, record: Record) -> list[Owed]:
        """What a record owes beyond what was posted and is not noted yet."""
        debts = owed(record, self.url(record.run.key))
        posted = [self._unnoted.get((debt.key, debt.sha)) for debt in debts]
        return [debt for debt, said in zip(debts, posted, strict=True) if said is None or said[0].word != debt.word]

    def _note_late(self) -> None:
        """Note the oldest of what was posted and is not noted yet, if that is still how things stand."""
        debt, _ = next(iter(self._unnoted.values()))
        record = self.engine.record(debt.key)
        if record is not None and _word(record) == debt.word:
            self._note(debt)
        self._unnoted.pop((debt.key, debt.sha), None)

    def _is_said(self, debt: Owed) -> bool:
        """Whether the ledger has it from this very run, known by its page's path: words and our address may differ."""
        said, now = self.read(debt.repository, debt.sha).get(debt.status.context.lower()), debt.status
        return said is not None and said.state == now.state and _path(said.target_url) == _path(now.target_url)

    def _note(self, debt: Owed) -> None:
        """Write the record's note."""
        record = self.engine.record(debt.key)
        note = read_note(record.reported if record is not None else "")
        reported = json.dumps(note | {debt.sha: debt.word})
        settled = record is not None and record.state.final and not owed(replace(record, reported=reported), "")
        self.engine.annotate(debt.key, reported=reported, settled=settled)
        self._unnoted.pop((debt.key, debt.sha), None)

    def _post(self, debt: Owed) -> None:
        try:
            self.forge.post(debt.repository, debt.sha, debt.status)
        except DeniedError as error:  # somebody will mend the token, and then it is still owed
            raise TryAgainError(str(error)) from error
        except UserError as error:  # it will never be taken: the commit is gone, or 1,000 statuses are there
            log.warning("not posted: %s", error)


_LOOK_AHEAD = 50
"""Touched records among which an ended one is looked for: the truth about an end goes first under pressure."""
