"""The local engine: each run a supervised process group on this machine, each record a folder on disk.

One watcher thread starts supervisors while there is room and hears of their changes through a pipe each; a pipe's
end means that the supervisor is gone. Those of a server that died are found by their locks and looked at in turn.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from fyre.engines import segmented_log
from fyre.engines.local import checkout, processes, run_dir, state_dir
from fyre.engines.local.fork_client import Spawner
from fyre.engines.local.run_dir import Folder
from fyre.engines.local.supervisor import LOST
from fyre.engines.local.supervisor_events import Listener
from fyre.engines.subscribers import Subscribers
from fyre.errors import UserError
from fyre.runs.run import Record, Repository, Run
from fyre.runs.state import State

log = logging.getLogger(__name__)

DAY = 86400.0
_ADOPTED_POLL = 0.1  # seconds between two looks at supervisors that another server started
_PRUNE_EVERY = 3600.0
_DEATHS = 5  # of supervisors before they start the command, after which the run is an error
_AFTER_TROUBLE = 1.0  # seconds until the watcher goes on after the machine refused it something


class LocalEngine:
    """Runs commands on this machine. Thread-safe; one at a time on a ``state`` folder."""

    name = "local"

    def __init__(
        self,
        state: Path,
        *,
        git_dir: Callable[[Repository], Path],
        jobs: int,
        history: float = 7 * DAY,  # seconds that an ended run is remembered
        grace: float = 10.0,  # seconds between TERM and KILL
        log_cap: int = 64 * 1024 * 1024,  # bytes, half of them for the head
        keep_checkouts: bool = False,
    ) -> None:
        """Find what an earlier engine left, and go on with it. Raises ``UserError`` when another one is at work."""
        self._runs, self._work = state / "runs", state / "work"
        for folder in (self._runs, self._work):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._own_lock = state_dir.lock(state / "lock")
        self._git_dir, self._jobs, self._history = git_dir, jobs, history
        self._settings = {"grace": grace, "log_cap": log_cap, "keep": keep_checkouts}
        self._mutex = threading.RLock()
        self._records: dict[str, Record] = {}
        self._queue: dict[str, None] = {}
        self._adopted: dict[
            str, None
        ] = {}  # watched by their locks: of a server before, or just gone
        self._deaths: Counter[str] = Counter()
        self._pause_until = 0.0
        self._news: deque[str] = deque()  # keys that changed in a caller's thread
        self._subscribers = Subscribers()
        self._listener = Listener()
        self._spawner = Spawner()
        self._closed = False
        self._find()
        self._thread = threading.Thread(target=self._watch, name="local engine", daemon=True)
        self._thread.start()

    def launch(self, run: Run) -> bool:
        """Write the run down and queue it. False when its key is known."""
        job = run_dir.job(
            run, self._git_dir(run.repository), self._work / run.key, **self._settings
        )
        with self._mutex:
            if run.key in self._records:
                return False
            with state_dir.written_down():
                folder = Folder.create(self._runs, run, job)
            if folder is None:
                return False
            self._records[run.key] = folder.record()
            self._queue[run.key] = None
        self._listener.wake()
        return True

    def cancel(self, key: str, by: str) -> bool:
        """End a run that has not ended; it is written down first, so that even a crash does not forget it."""
        with self._mutex:
            record = self._records.get(key)
            if record is None or record.state.final:
                return False
            folder = self._folder(key)
            with state_dir.written_down():
                folder.cancel(by)
            if key in self._queue and folder.settle(time.time()):
                del self._queue[key]
                self._adopted[key] = (
                    None  # as a rule it has ended; else a supervisor of a server before us came first
                )
                self._look(key)
            else:
                folder.signal()
        self._news.append(key)
        self._listener.wake()
        return True

    def records(self) -> Collection[Record]:
        """All runs that are remembered."""
        with self._mutex:
            places = {key: number for number, key in enumerate(self._queue)}
            return [self._placed(record, places.get(key)) for key, record in self._records.items()]

    def record(self, key: str) -> Record | None:
        """One run."""
        with self._mutex:
            record = self._records.get(key)
            if record is None or key not in self._queue:
                return record
            return self._placed(
                record, next(number for number, other in enumerate(self._queue) if other == key)
            )

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        settled: bool = False,  # noqa: ARG002 - a record here is forgotten by its age alone
    ) -> None:
        """Keep a note of the ledger's."""
        notes = {"reported": reported, "carried": carried}
        given = {name: value for name, value in notes.items() if value is not None}
        with self._mutex:
            if key in self._records:
                with state_dir.written_down():
                    self._folder(key).annotate(**given)
                self._records[key] = replace(self._records[key], **given)  # type: ignore[arg-type] # names and types are Record's

    def log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """The output; with ``follow`` until the run ends, and b"" now and then while it is silent."""
        if self.record(key) is None:
            raise UserError("there is no such run")
        return segmented_log.read(
            self._folder(key).log(), (lambda: not self._has_ended(key)) if follow else None
        )

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called on every change of a record."""
        self._subscribers.add(changed)

    def close(self) -> None:
        """Stop watching; supervisors and their runs go on."""
        if self._closed:
            return
        self._closed = True
        self._listener.wake()
        self._thread.join()
        self._spawner.close()
        self._listener.close()
        os.close(self._own_lock)

    def _find(self) -> None:
        """Take over what is on disk: ended runs, living supervisors, what was never started, what is lost."""
        now = time.time()
        for folder, run in state_dir.runs(self._runs):
            key = run.key
            may_start = not folder.settle(now)
            self._records[key] = folder.refresh(Record(run))
            if may_start:
                self._queue[key] = None
                self._look(key)
            elif not self._records[key].state.final:  # as it was read: it may have ended since
                self._adopted[key] = None
                self._listener.adopt(folder.supervisor() or 0)
        order = sorted(self._queue, key=lambda key: self._records[key].run.created_at)
        self._queue = dict.fromkeys(order)
        for left in self._work.iterdir():
            # What can't be read may be a later version's, and still running.
            if self._folder(left.name).ended() or not (self._runs / left.name).exists():
                self._clean(left.name)
        processes.end_marked(
            [key for key, record in self._records.items() if record.reason == LOST]
        )
        self._prune()

    def _watch(self) -> None:
        self._pruned = time.monotonic()
        while not self._closed:
            try:
                self._turn()
            except (
                Exception
            ):  # trouble with one run must not end the watching of all; what is due is still due
                log.exception("the local engine goes on in %s s", _AFTER_TROUBLE)
                time.sleep(_AFTER_TROUBLE)

    def _turn(self) -> None:
        """Look once at what is due."""
        self._fill()
        soon = self._adopted or self._pause_until > time.monotonic()
        self._hear(_ADOPTED_POLL if soon else 60.0)
        while self._news:
            self._subscribers.tell(self._news.popleft())
        for key in list(self._adopted):
            self._look_at_adopted(key)
        if time.monotonic() - self._pruned > _PRUNE_EVERY:
            self._pruned = time.monotonic()
            self._prune()

    def _fill(self) -> None:
        """Start queued runs while there is room."""
        while not self._closed and time.monotonic() >= self._pause_until:
            with self._mutex:
                if not self._queue or len(self._listener) + len(self._adopted) >= self._jobs:
                    return
                key = next(iter(self._queue))
                pipe = self._spawner.spawn(self._runs / key)
                del self._queue[key]
                self._records[key] = replace(self._records[key], state=State.STARTING)
                self._listener.add(pipe, key)
            self._subscribers.tell(key)

    def _hear(self, seconds: float) -> None:
        """Wait for news. Who is gone is noted first, whatever happens next: that is heard but once."""
        heard = self._listener.wait(seconds)
        self._adopted.update((key, None) for key, gone in heard if gone)
        for key, gone in heard:
            if not gone:
                self._look(key)
                self._subscribers.tell(key)

    def _look_at_adopted(self, key: str) -> None:
        before, folder = self._records[key], self._folder(key)
        with (
            self._mutex
        ):  # who looks at a lock holds it for a moment, and must not be taken for a supervisor
            alive = folder.supervisor() is not None
            if (
                alive and folder.cancelled_by()
            ):  # asked for, and perhaps not done when the server died
                folder.signal()
        if not alive:
            self._gone(key)
        self._look(key)
        if self._records[key] != before:
            self._subscribers.tell(key)

    def _gone(self, key: str) -> None:
        """A supervisor is gone. Usually it wrote an outcome; else the run is lost, cancelled, or was never started."""
        folder = self._folder(key)
        with self._mutex:
            if not folder.settle(time.time()):
                self._once_more(key, folder)
            if (
                not folder.ended()
            ):  # to be started; or one that a server before us had just forked holds the lock
                return
        self._clean(key)
        with self._mutex:
            self._adopted.pop(key, None)
            del self._deaths[key]

    def _once_more(self, key: str, folder: Folder) -> None:
        """Queue a run whose supervisor died too early; after a pause, since what killed it may last."""
        room = folder.has_room()
        self._deaths[key] += room  # a full disk is waited for, however long
        if self._deaths[key] >= _DEATHS:
            reason = f"its supervisor died {_DEATHS} times before it could start the command"
            folder.conclude(time.time(), State.ERROR, reason)
            return
        log.warning("the supervisor of %s died before it started the command: once more", key)
        self._pause_until = time.monotonic() + (
            0.01 * 4.0 ** self._deaths[key] if room else _AFTER_TROUBLE
        )
        self._queue[key] = None
        del self._adopted[key]

    def _clean(self, key: str) -> None:
        """End and remove what is left of a run that has ended, where its supervisor could not."""
        left = not self._settings["keep"] and (self._work / key).exists()
        if left or self._folder(key).lost():
            processes.end_marked([key])
        if left:
            checkout.remove(str(self._work / key))

    def _look(self, key: str) -> None:
        with self._mutex:
            if key not in self._queue:
                self._records[key] = self._folder(key).refresh(self._records[key])
            else:
                self._records[key] = replace(self._records[key], state=State.QUEUED)

    def _prune(self) -> None:
        """Forget runs that ended longer ago than ``history``."""
        before = time.time() - self._history
        with self._mutex:
            old = [
                key for key, record in self._records.items() if (record.ended_at or before) < before
            ]
            for key in old:
                state_dir.forget(self._runs / key)
                del self._records[key]

    def _placed(self, record: Record, ahead: int | None) -> Record:
        if ahead is None:
            return record
        return replace(record, reason=f"waiting for a free slot, {ahead} ahead")

    def _has_ended(self, key: str) -> bool:
        record = self._records.get(key)
        return record is None or record.state.final or self._closed

    def _folder(self, key: str) -> Folder:
        return Folder(self._runs / key)
