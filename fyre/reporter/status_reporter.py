"""The ledger: what the forge says of a SHA, kept in step with what the engine knows of its runs.

One writer, because a forge's write limits hold for all of an account; ``fyre.reporter.write_queue`` says whose turn it is. What is
owed is derived from the engine's records and never stored: a record's ``reported`` note says for each SHA what was
posted last. What is owed when we start, and what a POST without an answer may have said, is in doubt: it is looked up
in the ledger before it is posted (once more). So a note may come late, and that of a pending state does: most runs need
none of it, and launches go first.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from fyre.backoff import Backoff
from fyre.engines.protocol import Engine
from fyre.engines.run_index import Index
from fyre.errors import TryAgainError, UserError
from fyre.github.client import Forge
from fyre.github.errors import MENDABLE, FullError, HiddenError, LimitedError, NotFoundError
from fyre.github.rate_limit import Told
from fyre.reporter.check_runs import CheckRuns
from fyre.reporter.pending_writes import (
    CHECK,
    CROWDED,
    PENDING_WORD,
    SAYING,
    Owed,
    Saying,
    owed,
    superfluous,
    word_of,
)
from fyre.reporter.write_queue import Ident, Rank, Turns
from fyre.runs.commit_status import Status
from fyre.runs.posted_states import check_posted_states, posted_states, with_posted_state
from fyre.runs.run import Record, Repository
from fyre.stored_form import UnreadableError, warn_once

log = logging.getLogger(__name__)

BACKOFF = Backoff(1.0, 60.0)
"""How long a repository is left alone after a failure that may pass."""

MENDED = Backoff(1.0, 600.0)
"""The same where somebody has to mend something first: repositories that stay so are to cost next to nothing."""

LATE = 60.0
"""Seconds that a run must be pending for its note to say so; more, while there are statuses to write. Most have ended
by then and need none, which is a request each; what is not noted when we start is looked up once.
"""


@dataclass
class Ledger:
    """Reads and writes the statuses of one forge; ``turns`` paces the writes, and no read waits for them."""

    forge: Forge
    engine: Engine
    index: Index
    url: Callable[[str], str]  # a run's key → its page
    checks: CheckRuns | None = None  # for an App, beside the statuses
    turns: Turns = field(default_factory=Turns)
    _wanted: dict[tuple[int, str, str], Owed] = field(default_factory=dict)
    _sayings: dict[tuple[int, str, str], Saying] = field(default_factory=dict)
    _doubtful: set[tuple[str, str]] = field(
        default_factory=set
    )  # keys and SHAs: the POST may have been made already
    _unnoted: dict[tuple[str, str], tuple[Owed, float]] = field(
        default_factory=dict
    )  # posted, and when to note that
    _troubles: dict[int, str] = field(
        default_factory=dict
    )  # by the repository's id: what was said of it
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with whatever the engine's records still owe."""
        self.engine.subscribe(self.touch)
        for record in self.engine.records():
            _warn_of_unreadable(record)
            debts = owed(record, "")
            self._doubtful.update((debt.key, debt.sha) for debt in debts)
            if debts or not record.state.final:
                self.touch(record.run.key)
            elif self.checks:
                self._doubtful.add((record.run.key, CHECK))
                self._beside(record)
        self._thread = threading.Thread(target=self._write_for_ever, name="ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; what is owed will be derived again."""
        self.turns.stop()
        if self._thread is not None:
            self._thread.join()

    def touch(self, key: str) -> None:
        """A record may have changed."""
        record = self.engine.record(key)
        if record is None:
            self.turns.forget(key)
        else:
            self._put(Rank.ENDED if record.state.final else Rank.LIVE, key, record.run.repository)

    def want(self, repository: Repository, sha: str, wanted: Status) -> None:
        """Owe a status for which no engine keeps a record; a later one of the same context replaces it."""
        ident = repository.id, sha, wanted.context.lower()
        with self._mutex:
            self._wanted[ident] = Owed(repository, sha, wanted)
        self._put(Rank.WANTED, ident, repository)

    def unwant(self, repository: Repository, sha: str, context: str) -> None:
        """Owe no such status any more: a run has the say there now, whose end might be written before it."""
        with self._mutex:
            self._wanted.pop((repository.id, sha, context.lower()), None)

    def say(self, saying: Saying) -> None:
        """Owe what is no status; it is forgotten when we stop, and whoever owes it can tell from the forge."""
        ident = saying.repository.id, saying.name, SAYING
        with self._mutex:
            self._sayings[ident] = saying
        self._put(Rank.WANTED, ident, saying.repository)

    def unsaid(self, repository: Repository) -> list[str]:
        """The texts that are still to be said in a repository."""
        with self._mutex:
            return [
                one.body for one in self._sayings.values() if one.repository.id == repository.id
            ]

    def idle(self) -> bool:
        """Whether nothing is wanted that no record remembers; what records owe is ``owed``."""
        with self._mutex:
            return not self._wanted and not self._sayings

    def owes(self, record: Record) -> bool:
        """Whether a status of this run is still to be written, where it has the say; of an end, to be noted as well."""
        debts = owed(record, "")
        debts = debts if record.state.final else self._unsaid(debts)
        return any(self._speaks(record, debt.sha) for debt in debts)

    def read(self, repository: Repository, sha: str) -> Mapping[str, Status]:
        """Our newest status of each context (in lower case) on a SHA. Anyone can post one: only ours count."""
        found: dict[str, Status] = {}
        everything = self.forge.statuses(repository, sha)
        for context, count in Counter(
            posted.status.context.lower() for posted in everything
        ).items():
            if count >= CROWDED:
                log.warning(
                    "%s on %s of %s has %d statuses; 1,000 are taken",
                    context,
                    sha,
                    repository.name,
                    count,
                )
        for posted in everything:
            if self.forge.is_me(posted.creator):
                found.setdefault(posted.status.context.lower(), posted.status)
        with self._mutex:  # what is owed but not written yet counts as said
            waiting = [
                o for (at, of, _), o in self._wanted.items() if (at, of) == (repository.id, sha)
            ]
        return found | {one.status.context.lower(): one.status for one in waiting}

    def _put(self, rank: Rank, ident: Ident, repository: Repository) -> None:
        self.turns.put(rank, ident, repository.id, self.forge.account(repository))

    def _write_for_ever(self) -> None:
        while not self.turns.stopped:
            due = min((due for _, due in self._unnoted.values()), default=math.inf)
            turn = self.turns.next(due)
            if turn is not None:
                self._take(*turn)
            elif not self.turns.stopped:
                self._note_late()

    def _take(self, ident: Ident, repository: int) -> None:
        """Write one status; what fails waits, and is still owed."""
        try:
            if isinstance(ident, str):
                self._write_record(ident)
            elif ident[2] == CHECK:
                self._write_check(ident)
            elif ident[2] == SAYING:
                self._write_saying(ident)
            else:
                self._write_wanted(ident)
        except Exception as error:
            # Whatever it was, it is still owed; a bug met by one status must not keep the others from being written.
            self._again(ident, repository, error)

    def _again(self, ident: Ident, repository: int, error: Exception) -> None:
        """Have what failed wait: for a limit with all others, else with those of its repository alone."""
        if isinstance(ident, str):
            self.touch(ident)
        else:
            self.turns.put(Rank.LIVE if ident[2] == CHECK else Rank.WANTED, ident, repository)
        if isinstance(error, LimitedError):
            self._hear(error.told)
            log.warning(
                "the ledger waits %.0f s: %s", self.turns.pace.next_at() - self.turns.clock(), error
            )
            return
        self.turns.rest(repository, MENDED if isinstance(error, MENDABLE) else BACKOFF)
        if not isinstance(error, TryAgainError | UserError):
            log.error("the ledger met a bug", exc_info=error)
            return
        why = str(error).partition(": ")[2]  # what comes before is about this status alone
        if self._troubles.get(repository) != why:  # said once, however long it lasts
            log.warning("statuses wait, and are tried again: %s", error)
        self._troubles[repository] = why

    def _write_wanted(self, ident: tuple[int, str, str]) -> None:
        with self._mutex:
            wanted = self._wanted.get(ident)
        if (
            wanted is None
        ):  # replaced while it was posted, and that was posted too; or a run has the say by now
            return
        self._post(wanted)
        with self._mutex:
            if self._wanted.get(ident) is wanted:
                del self._wanted[ident]

    def _write_saying(self, ident: tuple[int, str, str]) -> None:
        """Say it once; where we may not, it stays unsaid."""
        with self._mutex:
            saying = self._sayings.get(ident)
        if saying is None:
            return
        try:
            saying.write()
        except UserError as error:
            log.warning("not said: %s", error)
        finally:
            self.turns.pace = self.turns.pace.wrote(self.turns.clock())
        with self._mutex:
            del self._sayings[ident]

    def _beside(self, record: Record) -> None:
        """Have a check run made of a run whose end is posted: when there is room, as with all that can be missed."""
        if (
            self.checks
            and self.checks.fits(record)
            and posted_states(record.reported).get(CHECK) != word_of(record)
        ):
            self._put(
                Rank.LIVE, (record.run.repository.id, record.run.key, CHECK), record.run.repository
            )

    def _write_check(self, ident: tuple[int, str, str]) -> None:
        """Make a check run, unless there is one, and note that."""
        self.turns.forget(ident)  # nothing comes after it
        key, about, record = ident[1], ident[1:], self.engine.record(ident[1])
        if (
            self.checks is None
            or record is None
            or posted_states(record.reported).get(CHECK) == word_of(record)
        ):
            return
        if about not in self._doubtful or not self.checks.is_there(record):
            self._doubtful.add((key, CHECK))
            try:
                told = self.checks.write(record, self.url(key))
            finally:
                self.turns.pace = self.turns.pace.wrote(self.turns.clock())
            if told is not None:
                self._hear(told)
        self.engine.annotate(
            key, reported=with_posted_state(record.reported, CHECK, word_of(record))
        )
        self._doubtful.discard((key, CHECK))

    def _write_record(self, key: str) -> None:
        """Write one status that a record owes, if it does."""
        record = self.engine.record(key)
        debts = self._owed(record) if record is not None else []
        silent = [
            debt for debt in debts if record is not None and not self._speaks(record, debt.sha)
        ]
        debts = [debt for debt in debts if debt not in silent and not superfluous(debt, record)]
        if record is not None and record.state.final and silent and not debts:
            self.engine.annotate(
                record.run.key, settled=True
            )  # another has the say: this one owes nothing more
        for debt in debts[:1]:
            if len(debts) > 1:
                self.touch(debt.key)
            self._settle(debt)

    def _speaks(self, record: Record, sha: str) -> bool:
        """Whether this record has the say on a SHA: no rerun has it, nor, where it was carried to, a run of its own."""
        here = self.index.at(record.run.repository.id, sha)
        others = [
            r.run.attempt
            for r in here
            if r.run.context == record.run.context and r.run.key != record.run.key
        ]
        return (
            not others
            if sha != record.run.sha
            else all(record.run.attempt >= attempt for attempt in others)
        )

    def _settle(self, debt: Owed) -> None:
        """Post, note that it is done; what is in doubt is looked up first."""
        about = (debt.key, debt.sha)
        try:
            if about not in self._doubtful or not self._is_said(debt):
                self._doubtful.add(about)
                self._post(debt)
            self._unnoted[about] = debt, self.turns.clock() + LATE
            if debt.word != PENDING_WORD:
                self._note(debt)
            self._doubtful.discard(about)
        except LimitedError:
            self._doubtful.discard(about)  # nobody took it
            raise

    def _owed(self, record: Record) -> list[Owed]:
        """What a record owes beyond what was posted and is not noted yet."""
        return self._unsaid(owed(record, self.url(record.run.key)))

    def _unsaid(self, debts: list[Owed]) -> list[Owed]:
        posted = [self._unnoted.get((debt.key, debt.sha)) for debt in debts]
        return [
            debt
            for debt, said in zip(debts, posted, strict=True)
            if said is None or said[0].word != debt.word
        ]

    def _note_late(self) -> None:
        """Note the oldest of what was posted and is not noted yet, if that is still how things stand."""
        about, (debt, _) = next(iter(self._unnoted.items()))
        record = self.engine.record(debt.key)
        del self._unnoted[about]
        try:
            if record is not None and word_of(record) == debt.word:
                self._note(debt)
        except (
            Exception
        ):  # whatever it was: what was posted was posted, and is noted after the others
            log.exception("noted later")
            self._unnoted[about] = debt, self.turns.clock() + LATE

    def _is_said(self, debt: Owed) -> bool:
        """Whether the ledger has it from this very run, known by its page's path: words and our address may differ."""
        try:
            said, now = (
                self.read(debt.repository, debt.sha).get(debt.status.context.lower()),
                debt.status,
            )
        except HiddenError:
            raise
        except NotFoundError:  # the commit is gone, which the POST will hear as well
            return False
        return (
            said is not None
            and said.state == now.state
            and _path(said.target_url) == _path(now.target_url)
        )

    def _note(self, debt: Owed) -> None:
        """Write the record's note."""
        record = self.engine.record(debt.key)
        reported = with_posted_state(
            record.reported if record is not None else "", debt.sha, debt.word
        )
        settled = (
            record is not None
            and record.state.final
            and not owed(replace(record, reported=reported), "")
        )
        self.engine.annotate(debt.key, reported=reported, settled=settled)
        self._unnoted.pop((debt.key, debt.sha), None)
        if settled and record is not None:
            self._beside(replace(record, reported=reported))

    def _post(self, debt: Owed) -> None:
        try:
            told = self.forge.post(debt.repository, debt.sha, debt.status)
        except (
            MENDABLE
        ):  # somebody will mend the token or show the repository, and then it is still owed
            raise
        except (
            FullError
        ) as error:  # a pending status may stand there for ever: somebody should know
            log.error("given up: %s; push a new commit instead", error)  # noqa: TRY400 - a line says it
        except UserError as error:  # it will never be taken: the commit is gone
            log.warning("not posted: %s", error)
        else:
            self._hear(told)
        finally:
            self.turns.pace = self.turns.pace.wrote(self.turns.clock())
        self.turns.wake(debt.repository.id)
        if before := self._troubles.pop(debt.repository.id, ""):
            log.info("statuses of %s are taken again, after: %s", debt.repository.name, before)

    def _hear(self, told: Told) -> None:
        """Have the pace know what an answer said; somebody is told before nothing is left."""
        now, pace = self.turns.clock(), self.turns.pace
        if told.low and pace.low_until <= now:
            left = told.remaining, told.limit, told.reset or 0
            log.warning("%s of %s requests are left for %.0f s: only ends are posted", *left)
        self.turns.pace = pace.heard(now, told)


def _warn_of_unreadable(record: Record) -> None:
    """Log that what was posted of a run can't be read: it counts as nothing, and is looked up on the forge."""
    try:
        check_posted_states(record.reported)
    except UnreadableError as error:
        warn_once(f"what was posted of run {record.run.key}", str(error))


def _path(url: str) -> str:
    return urlsplit(url).path
