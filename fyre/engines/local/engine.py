"""The local engine: each run a supervised process group, each record a directory on disk.

One watcher thread starts supervisors while there is room, and hears of their changes through one
pipe each; the end of a pipe means that the supervisor is gone. Supervisors of a server that died
are found by their locks, and checked in turn.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from fyre.artifacts.artifact_store import ArtifactStore
from fyre.engines import run_log
from fyre.engines.local import run_dir, state_dir
from fyre.engines.local.cut_short_runs import CutShortRuns
from fyre.engines.local.early_deaths import EarlyDeaths
from fyre.engines.local.fork_client import ForkServerClient
from fyre.engines.local.held_runs import HeldRuns
from fyre.engines.local.job_problems import JobProblems
from fyre.engines.local.launch_queue import LaunchQueue
from fyre.engines.local.output_sealer import EndedRun, OutputSealer
from fyre.engines.local.run_cleanup import RunCleanup
from fyre.engines.local.run_dir import RunDirectory
from fyre.engines.local.supervisor_events import SupervisorEvents
from fyre.engines.local.supervisor_guard import CHECK_INTERVAL, SupervisorGuard
from fyre.engines.run_log import RunLog
from fyre.engines.segment_reader import SegmentedLogReader
from fyre.engines.subscribers import Subscribers
from fyre.errors import TransientError, UserError
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import RunQuery, select_records
from fyre.runs.state import RunState

log = logging.getLogger(__name__)

DAY = 86400.0
_ADOPTED_POLL_INTERVAL = 0.1  # seconds between two checks of another server's supervisors
_PRUNE_INTERVAL = 3600.0
_ERROR_PAUSE = 1.0  # seconds until the watcher goes on after an error of the machine


class LocalEngine:
    """Runs commands on this machine. Thread-safe; only one at a time uses a ``state`` directory."""

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
        artifacts: ArtifactStore | None = None,  # None: one in ``state``
        own_python: bool = False,  # runs see the Python environment that Fyre itself is in
        command_umask: int = -1,  # of checkouts and commands; -1: that of this process
    ) -> None:
        """Take over what an earlier engine left. Raises ``UserError`` while that one runs."""
        self._runs_dir, self._work_dir = state / "runs", state / "work"
        for directory in (self._runs_dir, self._work_dir):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state_lock = state_dir.lock_state(state / "lock")
        self._cut_short_runs = CutShortRuns(state / "cut-short")
        self._held = HeldRuns(state / "held", self._runs_dir, self._cut_short_runs)
        self._find_git_dir, self._jobs, self._history = find_git_dir, jobs, history
        self._cleanup = RunCleanup(self._runs_dir, self._work_dir, keep_checkouts=keep_checkouts)
        self._job_settings = {"grace": grace, "log_cap": log_max_bytes, "keep": keep_checkouts}
        self._mutex = threading.RLock()
        self._records: dict[str, RunRecord] = {}
        self._queue = LaunchQueue()
        # Watched by their locks: supervisors of an earlier server, and those that just ended.
        self._adopted: dict[str, None] = {}
        self._early_deaths, self._job_problems = EarlyDeaths(), JobProblems()
        self._changed_keys: deque[str] = deque()  # changed in a caller's thread
        self._subscribers, self._supervisor_events = Subscribers(), SupervisorEvents()
        self._fork_client = ForkServerClient(
            state / "bin", own_python=own_python, command_umask=command_umask
        )
        self._guard = SupervisorGuard(grace, self._supervisor_events, self._fork_client)
        self.artifacts = artifacts or ArtifactStore(state / "artifacts")
        self._sealer = OutputSealer(self.artifacts, self._on_sealed)
        self._closed = False
        self._recover_runs()
        self._thread = threading.Thread(target=self._watch_loop, name="local engine", daemon=True)
        self._thread.start()

    def launch(self, run: Run, *, hold: bool = False, reason: str = "") -> bool:
        """Write the run down and queue it, or hold it. Return False if its key is known."""
        job = run_dir.build_supervisor_job(
            run, self._find_git_dir(run.repository), self._work_dir / run.key, **self._job_settings
        )
        with self._mutex:
            if run.key in self._records or self._held.has_directory(run.key):
                return False
            with state_dir.disk_errors_as_transient():
                directory = (
                    self._held.create_directory(run, job, reason)
                    if hold
                    else RunDirectory.create_for_run(self._runs_dir, run, job)
                )
            if directory is None:
                return False
            self._cut_short_runs.discard(run.key)
            self._records[run.key] = directory.read_record()
            if hold:
                self._reload_record(run.key)
            else:
                self._queue.add(run.key)
        self._supervisor_events.wake_up()
        return True

    def release(self, key: str) -> bool:
        """Queue a held run; a crash finds it held or queued. Return False if it is not held."""
        with self._mutex:
            if key not in self._held:
                return False
            released = not self._leave_held(key)
            if released and self._job_problems.check_job(self._run_directory(key)):
                self._queue.add(key)
            self._reload_record(key)
        self._changed_keys.append(key)
        self._supervisor_events.wake_up()
        return released

    def cancel(self, key: str, requested_by: str) -> bool:
        """End a run that has not ended; write that down first, so that a crash can't forget it."""
        with self._mutex:
            record, directory = self._records.get(key), self._run_directory(key)
            if record is None or record.state.is_final or directory.has_ended():
                return False
            with state_dir.disk_errors_as_transient():
                directory.request_cancel(requested_by)
            if key in self._held:
                self._leave_held(key)
                self._reload_record(key)
            elif key in self._queue and directory.conclude_without_supervisor(time.time()):
                self._queue.remove(key)
                # Usually it has ended; else an earlier server's supervisor was faster.
                self._adopted[key] = None
                self._reload_record(key)
            else:
                directory.signal_supervisor(self._supervisor_events.pids().get(key))
                self._reload_record(key)
        self._changed_keys.append(key)
        self._supervisor_events.wake_up()
        return True

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the remembered runs that a query selects, each with its place in the queue."""
        with self._mutex:
            records = list(self._records.values())
        selected = select_records(records, query)
        with self._mutex:
            return self._queue.mark_records(selected)

    def get_record(self, key: str) -> RunRecord | None:
        """Return one run, with its place in the queue."""
        with self._mutex:
            record = self._records.get(key)
            return self._queue.mark_records([record])[0] if record else None

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,  # noqa: ARG002 - this engine forgets records by age alone
    ) -> None:
        """Store notes of the status reporter."""
        notes = {"reported": reported, "carried": carried}
        changed_notes = {name: value for name, value in notes.items() if value is not None}
        with self._mutex:
            if key in self._records:
                with state_dir.note_errors_as_transient(key):
                    self._run_directory(key).write_notes(**changed_notes)
                self._records[key] = replace(self._records[key], **changed_notes)  # type: ignore[arg-type]

    def cut_short_keys(self) -> frozenset[str]:
        """Return the keys of the runs that a power loss took before they started."""
        return self._cut_short_runs.keys()

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the output; with ``follow`` until the run ends."""
        return run_log.read_bytes(self.open_log(key), follow=follow)

    def open_log(self, key: str) -> RunLog:
        """Return the log of a run."""
        if self.get_record(key) is None:
            raise UserError("there is no such run")
        # A held run has no log until it is there.
        path = RunDirectory(self._runs_dir / key).log_path()
        return SegmentedLogReader(path, partial(self._is_log_complete, key))

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Have ``on_change(key)`` called on every change of a record."""
        self._subscribers.add_callback(on_change)

    def close(self) -> None:
        """Stop watching; supervisors and their runs go on."""
        if self._closed:
            return
        self._closed = True
        self._supervisor_events.wake_up()
        self._thread.join()
        self._sealer.close()
        self._fork_client.close()
        self._supervisor_events.close()
        os.close(self._state_lock)

    def _leave_held(self, key: str) -> bool:
        """Put a held run with the others; return True if it has ended, as it was cancelled."""
        with state_dir.disk_errors_as_transient():
            directory = self._run_directory(key)
            ended = directory.conclude_without_supervisor(time.time())
            record = directory.updated_record(self._records[key])  # without what it waited for
            self._held.move_to_runs(key)
        self._records[key] = record
        return ended

    def _recover_runs(self) -> None:
        """Take over the runs on disk: ended, supervised, never started and lost ones."""
        now = time.time()
        for directory, run in state_dir.load_runs(self._runs_dir, self._cut_short_runs):
            with state_dir.leave_unreadable(directory.path):
                self._recover_run(directory, run, now)
        for directory, run in self._held.recover_runs(now):
            with state_dir.leave_unreadable(directory.path):
                self._records[run.key] = RunRecord(run)
                self._reload_record(run.key)
        self._queue.sort_by(lambda key: self._records[key].run.created_at)
        self._cleanup.clean_up_all(self._records.values())
        self._prune_history()

    def _recover_run(self, directory: RunDirectory, run: Run, now: float) -> None:
        key, may_start = run.key, not directory.conclude_without_supervisor(now)
        self._records[key] = directory.updated_record(RunRecord(run))
        if may_start:
            if self._job_problems.check_job(directory):
                self._queue.add(key)
            self._reload_record(key)
        elif not self._records[key].state.is_final:  # when it was read: it may have ended since
            self._adopted[key] = None
            self._supervisor_events.watch_process(directory.supervisor_pid() or 0)

    def _watch_loop(self) -> None:
        self._pruned_at = time.monotonic()
        while not self._closed:
            try:
                self._do_due_work()
            except Exception:
                # An error with one run must not end the watching of all; what is due stays due.
                log.exception("the local engine goes on in %s s", _ERROR_PAUSE)
                time.sleep(_ERROR_PAUSE)

    def _do_due_work(self) -> None:
        """Do once all that is due: start, listen, check, prune."""
        self._start_queued()
        soon = self._adopted or self._early_deaths.is_pausing()
        later = CHECK_INTERVAL if self._supervisor_events else 60.0
        self._handle_events(_ADOPTED_POLL_INTERVAL if soon else later)
        while self._changed_keys:
            self._subscribers.notify_all(self._changed_keys.popleft())
        for key in list(self._adopted):
            try:
                self._check_adopted(key)
            except state_dir.DAMAGE:
                with self._mutex:
                    self._records[key] = self._cleanup.give_up_run(self._records[key])
                self._forget_supervisor(key)
                self._subscribers.notify_all(key)
        if self._guard.is_check_due():
            with self._mutex:
                adopted = {key: self._run_directory(key) for key in self._adopted}
                self._guard.check_supervisors(self._records, adopted)
        if time.monotonic() - self._pruned_at > _PRUNE_INTERVAL:
            self._pruned_at = time.monotonic()
            self._prune_history()

    def _start_queued(self) -> None:
        """Start queued runs while there is room."""
        while not self._closed and not self._early_deaths.is_pausing():
            with self._mutex:
                occupied = len(self._supervisor_events) + len(self._adopted)
                if not self._queue or occupied >= self._jobs:
                    return
                key = next(iter(self._queue))
                pipe = self._fork_client.fork_supervisor(self._runs_dir / key)
                self._queue.remove(key)
                self._records[key] = replace(self._records[key], state=RunState.STARTING)
                self._supervisor_events.watch_pipe(pipe, key)
            self._subscribers.notify_all(key)

    def _handle_events(self, seconds: float) -> None:
        """Wait for events of supervisors; note each end first: it is reported once only."""
        events = self._supervisor_events.wait_for_events(seconds)
        self._adopted.update((key, None) for key, has_ended in events if has_ended)
        for key, has_ended in events:
            if not has_ended:
                self._reload_record(key)
                self._subscribers.notify_all(key)

    def _check_adopted(self, key: str) -> None:
        """Check a run that is watched by its lock alone."""
        previous, directory = self._records[key], self._run_directory(key)
        # Whoever tests a lock holds it for a moment, and must not be taken for a supervisor.
        with self._mutex:
            alive = directory.supervisor_pid() is not None
            # A cancel may have been requested, but not carried out, when the server died.
            if alive and directory.cancelled_by():
                directory.signal_supervisor()
        if not alive:
            self._on_supervisor_exit(key)
        self._reload_record(key)
        if self._records[key] != previous:
            self._subscribers.notify_all(key)

    def _on_supervisor_exit(self, key: str) -> None:
        """Find out how a run without a supervisor ended, or that it never started."""
        directory = self._run_directory(key)
        if directory.has_ended():  # its slot is free while its outputs are stored
            run = self._records[key].run
            self._sealer.submit(EndedRun(run, directory.path, self._work_dir / key))
            return self._forget_supervisor(key)
        with self._mutex:
            ending = self._guard.ending_of(self._records[key])
            if not directory.conclude_without_supervisor(time.time(), ending):
                if not self._job_problems.check_job(directory):
                    del self._adopted[key]
                    self._early_deaths.forget_run(key)
                    return None
                if self._early_deaths.may_restart(directory):
                    self._queue.add(key)
                    del self._adopted[key]
                    self._guard.forget_run(key)
            # It is to be started, or a supervisor that an earlier server forked holds the lock.
            if not directory.has_outcome():
                return None
        self._cleanup.clean_up_run(key)
        return self._forget_supervisor(key)

    def _forget_supervisor(self, key: str) -> None:
        with self._mutex:
            self._adopted.pop(key, None)
            self._guard.forget_run(key)
            self._early_deaths.forget_run(key)

    def _on_sealed(self, key: str) -> None:
        self._reload_record(key)
        if self._records[key].state.is_final:
            self._cleanup.clean_up_run(key)
        self._changed_keys.append(key)
        self._supervisor_events.wake_up()

    def _reload_record(self, key: str) -> None:
        with self._mutex:
            if key in self._queue:
                self._records[key] = replace(self._records[key], state=RunState.QUEUED)
                return
            if key in self._held:
                self._records[key] = self._held.updated_record(self._records[key])
                return
            record = self._run_directory(key).updated_record(self._records[key])
            record = replace(record, reason=record.reason or self._sealer.trouble_of(key))
            self._records[key] = self._job_problems.mark_record(record)

    def _prune_history(self) -> None:
        """Delete the runs that ended longer ago than ``history``."""
        oldest = time.time() - self._history
        with self._mutex:
            for key, record in list(self._records.items()):
                if (record.ended_at or oldest) < oldest:
                    state_dir.delete_run(self._runs_dir / key)
                    del self._records[key]
                    self._job_problems.forget_run(key)

    def _is_log_complete(self, key: str) -> bool:
        record = self._records.get(key)
        if record is None or record.state.is_final:
            return True
        if self._closed:
            raise TransientError("this server stops; the run goes on")
        return False

    def _run_directory(self, key: str) -> RunDirectory:
        """Return the directory of a run; the lock must be held where the run may be held."""
        if key in self._held:
            return self._held.find_directory(key)
        return RunDirectory(self._runs_dir / key)
