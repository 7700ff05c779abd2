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
from fyre.engines.local.fork_client import ForkServerClient
from fyre.engines.local.run_dir import RunDirectory
from fyre.engines.local.supervisor import LOST_REASON
from fyre.engines.local.supervisor_events import SupervisorEvents
from fyre.engines.subscribers import Subscribers
from fyre.errors import UserError
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState

log = logging.getLogger(__name__)

DAY = 86400.0
_ADOPTED_POLL_INTERVAL = 0.1  # seconds between two looks at supervisors that another server started
_PRUNE_INTERVAL = 3600.0
_MAX_EARLY_DEATHS = (
    5  # of supervisors before they start the command, after which the run is an error
)
_ERROR_PAUSE = 1.0  # seconds until the watcher goes on after the machine refused it something


class LocalEngine:
    """Runs commands on this machine. Thread-safe; one at a time on a ``state`` folder."""

    name = "local"

    def __init__(
        self,
        state: Path,
        *,
        find_git_dir: Callable[[Repository], Path],
        jobs: int,
        history: float = 7 * DAY,  # seconds that an ended run is remembered
        grace: float = 10.0,  # seconds between TERM and KILL
        log_max_bytes: int = 64 * 1024 * 1024,  # bytes, half of them for the head
        keep_checkouts: bool = False,
    ) -> None:
        """Find what an earlier engine left, and go on with it. Raises ``UserError`` when another one is at work."""
        self._runs_dir, self._work_dir = state / "runs", state / "work"
        for folder in (self._runs_dir, self._work_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state_lock = state_dir.lock_state(state / "lock")
        self._find_git_dir, self._jobs, self._history = find_git_dir, jobs, history
        self._job_settings = {"grace": grace, "log_cap": log_max_bytes, "keep": keep_checkouts}
        self._mutex = threading.RLock()
        self._records: dict[str, RunRecord] = {}
        self._queue: dict[str, None] = {}
        self._adopted: dict[
            str, None
        ] = {}  # watched by their locks: of a server before, or just gone
        self._early_deaths: Counter[str] = Counter()
        self._pause_until = 0.0
        self._changed_keys: deque[str] = deque()  # keys that changed in a caller's thread
        self._subscribers = Subscribers()
        self._supervisor_events = SupervisorEvents()
        self._fork_client = ForkServerClient()
        self._closed = False
        self._recover_runs()
        self._thread = threading.Thread(target=self._watch_loop, name="local engine", daemon=True)
        self._thread.start()

    def launch(self, run: Run) -> bool:
        """Write the run down and queue it. False when its key is known."""
        job = run_dir.build_supervisor_job(
            run, self._find_git_dir(run.repository), self._work_dir / run.key, **self._job_settings
        )
        with self._mutex:
            if run.key in self._records:
                return False
            with state_dir.disk_errors_as_transient():
                folder = RunDirectory.create_for_run(self._runs_dir, run, job)
            if folder is None:
                return False
            self._records[run.key] = folder.read_record()
            self._queue[run.key] = None
        self._supervisor_events.wake_up()
        return True

    def cancel(self, key: str, requested_by: str) -> bool:
        """End a run that has not ended; it is written down first, so that even a crash does not forget it."""
        with self._mutex:
            record = self._records.get(key)
            if record is None or record.state.is_final:
                return False
            folder = self._run_directory(key)
            with state_dir.disk_errors_as_transient():
                folder.request_cancel(requested_by)
            if key in self._queue and folder.conclude_without_supervisor(time.time()):
                del self._queue[key]
                self._adopted[key] = (
                    None  # as a rule it has ended; else a supervisor of a server before us came first
                )
                self._reload_record(key)
            else:
                folder.signal_supervisor()
        self._changed_keys.append(key)
        self._supervisor_events.wake_up()
        return True

    def list_records(self) -> Collection[RunRecord]:
        """All runs that are remembered."""
        with self._mutex:
            places = {key: number for number, key in enumerate(self._queue)}
            return [
                self._with_queue_position(record, places.get(key))
                for key, record in self._records.items()
            ]

    def get_record(self, key: str) -> RunRecord | None:
        """One run."""
        with self._mutex:
            record = self._records.get(key)
            if record is None or key not in self._queue:
                return record
            return self._with_queue_position(
                record, next(number for number, other in enumerate(self._queue) if other == key)
            )

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,  # noqa: ARG002 - a record here is forgotten by its age alone
    ) -> None:
        """Keep a note of the ledger's."""
        notes = {"reported": reported, "carried": carried}
        given = {name: value for name, value in notes.items() if value is not None}
        with self._mutex:
            if key in self._records:
                with state_dir.disk_errors_as_transient():
                    self._run_directory(key).write_notes(**given)
                self._records[key] = replace(self._records[key], **given)  # type: ignore[arg-type] # names and types are Record's

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """The output; with ``follow`` until the run ends, and b"" now and then while it is silent."""
        if self.get_record(key) is None:
            raise UserError("there is no such run")
        return segmented_log.read_segments(
            self._run_directory(key).log_path(),
            (lambda: not self._is_log_complete(key)) if follow else None,
        )

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Have ``changed(key)`` called on every change of a record."""
        self._subscribers.add_callback(on_change)

    def close(self) -> None:
        """Stop watching; supervisors and their runs go on."""
        if self._closed:
            return
        self._closed = True
        self._supervisor_events.wake_up()
        self._thread.join()
        self._fork_client.close()
        self._supervisor_events.close()
        os.close(self._state_lock)

    def _recover_runs(self) -> None:
        """Take over what is on disk: ended runs, living supervisors, what was never started, what is lost."""
        now = time.time()
        for folder, run in state_dir.load_runs(self._runs_dir):
            key = run.key
            may_start = not folder.conclude_without_supervisor(now)
            self._records[key] = folder.updated_record(RunRecord(run))
            if may_start:
                self._queue[key] = None
                self._reload_record(key)
            elif not self._records[key].state.is_final:  # as it was read: it may have ended since
                self._adopted[key] = None
                self._supervisor_events.watch_process(folder.supervisor_pid() or 0)
        order = sorted(self._queue, key=lambda key: self._records[key].run.created_at)
        self._queue = dict.fromkeys(order)
        for left in self._work_dir.iterdir():
            # What can't be read may be a later version's, and still running.
            if (
                self._run_directory(left.name).has_outcome()
                or not (self._runs_dir / left.name).exists()
            ):
                self._clean_up_run(left.name)
        processes.kill_processes_of_runs(
            [key for key, record in self._records.items() if record.reason == LOST_REASON]
        )
        self._prune_history()

    def _watch_loop(self) -> None:
        self._pruned_at = time.monotonic()
        while not self._closed:
            try:
                self._do_due_work()
            except (
                Exception
            ):  # trouble with one run must not end the watching of all; what is due is still due
                log.exception("the local engine goes on in %s s", _ERROR_PAUSE)
                time.sleep(_ERROR_PAUSE)

    def _do_due_work(self) -> None:
        """Look once at what is due."""
        self._start_queued()
        soon = self._adopted or self._pause_until > time.monotonic()
        self._handle_events(_ADOPTED_POLL_INTERVAL if soon else 60.0)
        while self._changed_keys:
            self._subscribers.notify_all(self._changed_keys.popleft())
        for key in list(self._adopted):
            self._check_adopted(key)
        if time.monotonic() - self._pruned_at > _PRUNE_INTERVAL:
            self._pruned_at = time.monotonic()
            self._prune_history()

    def _start_queued(self) -> None:
        """Start queued runs while there is room."""
        while not self._closed and time.monotonic() >= self._pause_until:
            with self._mutex:
                if (
                    not self._queue
                    or len(self._supervisor_events) + len(self._adopted) >= self._jobs
                ):
                    return
                key = next(iter(self._queue))
                pipe = self._fork_client.fork_supervisor(self._runs_dir / key)
                del self._queue[key]
                self._records[key] = replace(self._records[key], state=RunState.STARTING)
                self._supervisor_events.watch_pipe(pipe, key)
            self._subscribers.notify_all(key)

    def _handle_events(self, seconds: float) -> None:
        """Wait for news. Who is gone is noted first, whatever happens next: that is heard but once."""
        heard = self._supervisor_events.wait_for_events(seconds)
        self._adopted.update((key, None) for key, gone in heard if gone)
        for key, gone in heard:
            if not gone:
                self._reload_record(key)
                self._subscribers.notify_all(key)

    def _check_adopted(self, key: str) -> None:
        before, folder = self._records[key], self._run_directory(key)
        with (
            self._mutex
        ):  # who looks at a lock holds it for a moment, and must not be taken for a supervisor
            alive = folder.supervisor_pid() is not None
            if (
                alive and folder.cancelled_by()
            ):  # asked for, and perhaps not done when the server died
                folder.signal_supervisor()
        if not alive:
            self._on_supervisor_exit(key)
        self._reload_record(key)
        if self._records[key] != before:
            self._subscribers.notify_all(key)

    def _on_supervisor_exit(self, key: str) -> None:
        """A supervisor is gone. Usually it wrote an outcome; else the run is lost, cancelled, or was never started."""
        folder = self._run_directory(key)
        with self._mutex:
            if not folder.conclude_without_supervisor(time.time()):
                self._requeue_run(key, folder)
            if (
                not folder.has_outcome()
            ):  # to be started; or one that a server before us had just forked holds the lock
                return
        self._clean_up_run(key)
        with self._mutex:
            self._adopted.pop(key, None)
            del self._early_deaths[key]

    def _requeue_run(self, key: str, directory: RunDirectory) -> None:
        """Queue a run whose supervisor died too early; after a pause, since what killed it may last."""
        room = directory.has_disk_space()
        self._early_deaths[key] += room  # a full disk is waited for, however long
        if self._early_deaths[key] >= _MAX_EARLY_DEATHS:
            reason = (
                f"its supervisor died {_MAX_EARLY_DEATHS} times before it could start the command"
            )
            directory.write_outcome(time.time(), RunState.ERROR, reason)
            return
        log.warning("the supervisor of %s died before it started the command: once more", key)
        self._pause_until = time.monotonic() + (
            0.01 * 4.0 ** self._early_deaths[key] if room else _ERROR_PAUSE
        )
        self._queue[key] = None
        del self._adopted[key]

    def _clean_up_run(self, key: str) -> None:
        """End and remove what is left of a run that has ended, where its supervisor could not."""
        left = not self._job_settings["keep"] and (self._work_dir / key).exists()
        if left or self._run_directory(key).is_lost():
            processes.kill_processes_of_runs([key])
        if left:
            checkout.remove_tree(str(self._work_dir / key))

    def _reload_record(self, key: str) -> None:
        with self._mutex:
            if key not in self._queue:
                self._records[key] = self._run_directory(key).updated_record(self._records[key])
            else:
                self._records[key] = replace(self._records[key], state=RunState.QUEUED)

    def _prune_history(self) -> None:
        """Forget runs that ended longer ago than ``history``."""
        before = time.time() - self._history
        with self._mutex:
            old = [
                key for key, record in self._records.items() if (record.ended_at or before) < before
            ]
            for key in old:
                state_dir.delete_run(self._runs_dir / key)
                del self._records[key]

    def _with_queue_position(self, record: RunRecord, position: int | None) -> RunRecord:
        if position is None:
            return record
        return replace(record, reason=f"waiting for a free slot, {position} ahead")

    def _is_log_complete(self, key: str) -> bool:
        record = self._records.get(key)
        return record is None or record.state.is_final or self._closed

    def _run_directory(self, key: str) -> RunDirectory:
        return RunDirectory(self._runs_dir / key)
