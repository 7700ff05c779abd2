"""The supervisor of one run: a process of its own that outlives the server, and writes down all that happens.

It is forked from the spawner, takes the run's lock, checks out the SHA, marks on disk that the command is about to
start, runs it, ends whatever it leaves behind, and writes the outcome. Whoever finds the lock free afterwards knows:
an outcome, it ended; a mark and no outcome, it is lost; no mark, it never started.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any

from fyre.engines import exit_status
from fyre.engines.local import checkout, processes
from fyre.engines.segmented_log import SegmentedLogWriter

LOST_REASON = "lost: its supervisor died; the command may have run"
_TIMED_OUT = "timed out after "
"""Both begin as ``status_text`` has it, which this does not load: a supervisor is forked in a millisecond."""

_JOB_DEFAULTS: dict[str, Any] = {
    "setup": [],
    "workdir": None,
    "timeout": None,
    "timeout_text": "its time",
    "retries": 0,
    "git_env": {},
    "grace": 10.0,
    "log_cap": 64 * 1024 * 1024,
    "keep": False,
}
_RESERVED_BYTES = 4096  # bytes set aside for the outcome, so that a full disk can't take it
_PR_SET_CHILD_SUBREAPER = 36
_LEFTOVER_GRACE = 2.0  # seconds for what the command left behind to end after TERM
_LEFTOVER_LIMIT = (
    30.0  # seconds after which what even KILL can't end (another user's, a dead disk's) is let be
)
_MAX_PIPE_READS = (
    32  # more than a pipe ever holds: somebody out of reach who goes on writing must not hold us up
)


class RunEnded(Exception):  # noqa: N818 - an ending, not an error
    """The run is over: ``args[0]`` holds what the outcome says."""


class Supervisor:
    """One run from its checkout to its outcome. ``folder`` holds its record."""

    def __init__(self, directory: str, notify_pipe: int) -> None:
        self.directory = directory
        self.notify_pipe = notify_pipe
        self.cancelled = False
        self.interruptible = False
        self.tries = 0
        self.started_at: float | None = None
        with open(os.path.join(directory, "job.json"), encoding="utf-8") as file:
            # The server has looked at it: ``records.JOB_FORM``. What a version before or after left out is as it was.
            self.job: dict[str, Any] = {**_JOB_DEFAULTS, **json.load(file)}
        self.work_dir = self.job["work"]
        self.env = {
            **os.environ,
            **self.job["env"],
        }  # the server's own was filtered before it came here

    def run(self) -> None:
        """Do all of it, once: whoever comes second finds the lock held, or what the first wrote."""
        lock = os.open(self._path_in_run("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if os.path.exists(self._path_in_run("outcome.json")):
            return
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._install_signal_handlers()
        if os.path.exists(self._path_in_run("started")):
            self._finish_run({"state": "error", "reason": LOST_REASON})
            return
        self._reserve_outcome_space()
        self.log = SegmentedLogWriter(self._path_in_run("log"), self.job["log_cap"])
        try:
            self._run_with_retries()
        except RunEnded as ended:
            outcome = ended.args[0]
        except (checkout.CheckoutError, processes.StartError) as error:
            outcome = {"state": "error", "reason": str(error)}
        except OSError as error:
            outcome = {"state": "error", "reason": f"the engine's machine failed: {error.strerror}"}
        if self.log.bytes_lost:
            outcome["reason"] = "; ".join(
                filter(None, [outcome.get("reason"), "the disk is full: part of the log is lost"])
            )
        self._finish_run(outcome)
        if not self.job["keep"]:
            checkout.remove_tree(self.work_dir)

    def _run_with_retries(self) -> None:
        """Start the command, and again after a failure as often as ``Fyre-Retries`` says. Raises ``Ended``."""
        for number in range(1, self.job["retries"] + 2):
            self.tries = number
            if number > 1:
                self._log_note(f"try {number} of {self.job['retries'] + 1}")
            try:
                self._run_try()
            except RunEnded as ended:
                if (
                    ended.args[0]["state"] != "failed"
                    or number > self.job["retries"]
                    or self.cancelled
                ):
                    raise

    def _run_try(self) -> None:
        self._write_progress("starting")
        self._raise_if_cancelled()
        if self.tries == 1 and os.path.exists(
            self.work_dir
        ):  # a supervisor before us died over its checkout
            processes.kill_processes_of_runs([self.job["env"]["FYRE_KEY"]])
        checkout.remove_tree(self.work_dir)
        self._check_out_commit()
        folder = self._resolve_workdir()
        self._write_started_marker()
        for command in self.job["setup"]:
            self._run_setup_command(
                command, self.work_dir
            )  # it sets the repository up, whatever part of it runs
        self.started_at = self.started_at or time.time()
        self._write_progress("running")
        code = self._run_command(self.job["command"], folder)
        raise RunEnded(exit_status.classify_exit(code))

    def _check_out_commit(self) -> None:
        """The one part that waits without ``select``: a cancel ends it by an exception out of the signal's handler."""
        self.interruptible = True
        try:
            self._raise_if_cancelled()
            checkout.create_checkout(self.job, self.work_dir, self.log)
        finally:
            self.interruptible = False

    def _run_setup_command(self, command: str, directory: str) -> None:
        """Run a command of ``.fyre.yaml``; whatever its bad end, it says nothing of the run's own command."""
        try:
            code = self._run_command(command, directory)
            how = exit_status.describe_exit(code) if code else ""
        except RunEnded as ended:
            if ended.args[0]["state"] != "failed":
                raise
            how = ended.args[0]["reason"]
        if how:
            short = " ".join(command.split())[:60]
            raise RunEnded({"state": "error", "reason": f"setup failed: `{short}` {how}"})

    def _resolve_workdir(self) -> str:
        """Where the command runs; it must be a directory that is truly inside the checkout."""
        folder = os.path.realpath(os.path.join(self.work_dir, self.job["workdir"] or "."))
        root = os.path.realpath(self.work_dir)
        if folder != root and not folder.startswith(root + os.sep):
            raise checkout.CheckoutError(f"workdir {self.job['workdir']} leads out of the checkout")
        if not os.path.isdir(folder):
            raise checkout.CheckoutError(f"workdir {self.job['workdir']} is not in this commit")
        return folder

    def _run_command(self, command: str, directory: str) -> int:
        """Run one shell command to its end; answers as ``os.waitstatus_to_exitcode``. Raises ``Ended``."""
        self._raise_if_cancelled()
        pid, pipe = processes.start_process(["/bin/sh", "-c", command], directory, self.env)
        deadline = time.monotonic() + self.job["timeout"] if self.job["timeout"] else None
        kill_at: float | None = None
        timed_out = False
        code: int | None = None
        while code is None:
            now = time.monotonic()
            if kill_at is None and (self.cancelled or (deadline is not None and now >= deadline)):
                timed_out = not self.cancelled
                kill_at = now + self.job["grace"]
                processes.kill_process_group(pid, signal.SIGTERM)
            elif kill_at is not None and now >= kill_at:
                processes.kill_process_group(pid, signal.SIGKILL)
                kill_at = float("inf")
            due = kill_at if kill_at is not None else deadline
            pipe = self._copy_output(
                pipe, None if due in (None, float("inf")) else max(0.0, due - now)
            )
            code = processes.reap_exit_code(pid)
        ended = self._kill_leftovers(pid, pipe)
        if ended and kill_at is None:
            self._log_note(
                f"ended {ended} process{'es' if ended > 1 else ''} that the command left behind"
            )
        self._raise_if_cancelled()
        if timed_out:
            raise RunEnded({"state": "failed", "reason": f"{_TIMED_OUT}{self.job['timeout_text']}"})
        return code

    def _copy_output(self, pipe: int, max_wait: float | None) -> int:
        """Wait for output, a signal or the time; copy what came into the log. Answers -1 once the pipe is closed."""
        watched = [self.wake_pipe] if pipe < 0 else [pipe, self.wake_pipe]
        ready, _, _ = select.select(watched, [], [], max_wait)
        if self.wake_pipe in ready:
            os.read(self.wake_pipe, 4096)
        if pipe in ready:
            data = os.read(pipe, 65536)
            if not data:
                os.close(pipe)
                return -1
            self.log.write(data)
        return pipe

    def _kill_leftovers(self, pid: int, pipe: int) -> int:
        """End what the command left running, read what is left in the pipe; answers how many had to be ended."""
        processes.reap_exit_code(-1)  # what ended by itself was not left behind
        processes.kill_process_group(pid, signal.SIGTERM)
        seen: set[int] = set()
        since = time.monotonic()
        while (left := processes.child_pids()) and (
            spent := time.monotonic() - since
        ) < _LEFTOVER_LIMIT:
            how = (
                signal.SIGTERM
                if spent < min(_LEFTOVER_GRACE, self.job["grace"])
                else signal.SIGKILL
            )
            for child in left:
                with contextlib.suppress(OSError):  # it has ended, or is another user's
                    os.kill(child, how)
            seen.update(left)
            pipe = self._copy_output(pipe, 0.02)
            processes.reap_exit_code(-1)
        for _ in range(_MAX_PIPE_READS):
            if pipe >= 0:
                pipe = self._copy_output(pipe, 0)
        if pipe >= 0:
            os.close(pipe)
        if sys.platform != "linux":  # no children to see there: at least the group ends
            processes.kill_process_group(pid, signal.SIGKILL)
        return len(seen)

    def _raise_if_cancelled(self) -> None:
        if self.cancelled or os.path.exists(self._path_in_run("cancel")):
            self.cancelled = True
            raise RunEnded({"state": "cancelled"})

    def _install_signal_handlers(self) -> None:
        """Wake ``select`` for a child's end and for a cancel; be the parent of what the command orphans."""
        self.wake_pipe, wake = processes.create_wake_pipe()
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def _on_sigterm(self, *_: object) -> None:
        self.cancelled = self.cancelled or os.path.exists(self._path_in_run("cancel"))
        if self.cancelled and self.interruptible:
            self.interruptible = False  # once is enough, what cleans up is let be
            self._raise_if_cancelled()

    def _log_note(self, text: str) -> None:
        self.log.write(f"[fyre: {text}]\n".encode())

    def _write_progress(self, state: str) -> None:
        """What the server shows meanwhile; not needed to know the truth."""
        with contextlib.suppress(OSError):
            _replace_json_file(
                self._path_in_run("progress.json"),
                {"state": state, "tries": self.tries, "started_at": self.started_at},
            )
        self._notify_server()

    def _write_started_marker(self) -> None:
        """From here on the command counts as started; on disk before it is, with what says which run it was."""
        for name in ("run.json", "job.json", "started"):
            file = os.open(self._path_in_run(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fsync(file)
            os.close(file)
        _fsync_directory(self.directory)
        _fsync_directory(os.path.dirname(self.directory))

    def _reserve_outcome_space(self) -> None:
        with contextlib.suppress(OSError), open(self._path_in_run("reserve"), "wb") as file:
            file.write(b" " * _RESERVED_BYTES)

    def _finish_run(self, outcome: dict[str, Any]) -> None:
        """The outcome, into the space that was set aside for it, then visible at once."""
        told = {
            "tries": self.tries,
            "started_at": self.started_at,
            "ended_at": time.time(),
            **outcome,
        }
        text = json.dumps(told).encode()
        file = os.open(self._path_in_run("reserve"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(file, text + b" " * max(0, _RESERVED_BYTES - len(text)))
        os.fsync(file)
        os.close(file)
        os.rename(self._path_in_run("reserve"), self._path_in_run("outcome.json"))
        _fsync_directory(self.directory)
        self._notify_server()

    def _notify_server(self) -> None:
        """Tell the server, if there still is one."""
        with contextlib.suppress(OSError):
            os.write(self.notify_pipe, b".")

    def _path_in_run(self, name: str) -> str:
        return os.path.join(self.directory, name)


def _replace_json_file(path: str, data: dict[str, Any]) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(data, file)
    os.rename(path + ".new", path)


def _fsync_directory(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)
