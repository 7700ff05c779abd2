"""The supervisor of one run: a process that outlives the server and writes down what happens.

It is forked from the fork server, takes the run's lock, checks out the SHA, marks on disk that the
command is about to start, runs it, ends whatever it leaves behind, and writes the outcome. Whoever
finds the lock free afterwards knows: with an outcome, the run ended; with a mark and no outcome, it
is lost; without a mark, it never started.
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
from typing import Any, BinaryIO

from fyre.engines import exit_status
from fyre.engines.local import checkout, processes, python_environment, result_files
from fyre.engines.local.code_parts import CodeParts
from fyre.engines.segmented_log import SegmentedLogWriter
from fyre.regular_files import open_for_writing, open_regular

LOST_REASON = "lost: its supervisor died; the command may have run"
_TIMED_OUT = "timed out after "
_NOT_CHECKED_OUT = "not checked out: "
_SETUP = "setup: "
"""They begin as in ``status_text``.

The supervisor does not load that module: it is forked in a millisecond.
"""

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
    "outputs": [],
}
_OUTCOME_FILE = "outcome.json"
_RESERVED_BYTES = 4096  # bytes set aside for the outcome, so that a full disk can't take it
_PR_SET_CHILD_SUBREAPER = 36
_LEFTOVER_GRACE = 2.0  # seconds for what an ended command left behind to end after TERM
LEFTOVER_LIMIT = 30.0
"""Seconds after which processes that even KILL can't end are left alone.

They are another user's, or wait for a dead disk.
"""

MIN_CHECKOUT_SECONDS = 60.0
"""Seconds that a checkout has at least, however short the command's timeout is."""

_MAX_PIPE_READS = 32
"""Reads of a pipe after the end: more than it ever holds.

A process out of reach that goes on writing must not hold the supervisor up.
"""


class RunEnded(Exception):  # noqa: N818 - an ending, not an error
    """The run has ended; ``args[0]`` is the outcome."""


class Supervisor:
    """One run from its checkout to its outcome. ``directory`` holds its record."""

    def __init__(self, directory: str, notify_pipe: int) -> None:
        self.directory = directory
        self.notify_pipe = notify_pipe
        self.cancelled = False
        self.interruptible = False
        self.tries = 0
        self.missing_code: list[str] = []
        self.started_at: float | None = None
        with os.fdopen(open_regular(self._path_in_run("job.json")), encoding="utf-8") as file:
            # The server has checked it (``run_dir.JOB_FORM``). What another version left out has
            # its default.
            self.job: dict[str, Any] = {**_JOB_DEFAULTS, **json.load(file)}
        self.work_dir = self.job["work"]
        # The server's own environment was filtered before it came here.
        results_env = result_files.results_environment(directory)
        self.env = {**os.environ, **self.job["env"], **results_env}

    def run(self) -> None:
        """Run it to its end, once.

        A second supervisor finds the lock held, or what the first one wrote.
        """
        lock = open_regular(self._path_in_run("lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        ends = (_OUTCOME_FILE, result_files.ENDED_FILE)
        if any(os.path.exists(self._path_in_run(name)) for name in ends):
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
            ending = outcome.get("reason") or f"exit {outcome.get('exit_code', '')}".strip()
            outcome["reason"] = f"{ending}; the disk is full: part of the log is lost"
        self._finish_run(outcome)
        if os.path.exists(self._path_in_run(_OUTCOME_FILE)):
            result_files.remove_results_files(self.directory)
            if not self.job["keep"]:
                checkout.remove_tree(self.work_dir)

    def _run_with_retries(self) -> None:
        """Start the command, and again after a failure as often as ``Fyre-Retries`` says.

        Raises ``RunEnded``.
        """
        for number in range(1, self.job["retries"] + 2):
            self.tries = number
            if number > 1:
                self._log_note(f"try {number} of {self.job['retries'] + 1}")
            try:
                self._run_try()
            except RunEnded as ended:
                is_last = number > self.job["retries"] or self.cancelled
                if is_last or ended.args[0]["state"] != "failed":
                    raise

    def _run_try(self) -> None:
        self._write_progress("starting")
        self._raise_if_cancelled()
        # A supervisor before this one died during its checkout.
        if self.tries == 1 and os.path.exists(self.work_dir):
            processes.kill_processes_of_runs([self.job["env"]["FYRE_KEY"]])
        checkout.remove_tree(self.work_dir)
        self._check_out_commit()
        result_files.create_outputs_directory(self.directory, is_first_try=self.tries == 1)
        workdir = self._resolve_workdir()
        self._write_started_marker()
        deadline = self._next_deadline()
        self._create_python_environment(deadline)
        for command in self.job["setup"]:
            self._run_setup_command(["/bin/sh", "-c", command], command, deadline)
        self.started_at = self.started_at or time.time()
        self._write_progress("running")
        shell_command = ["/bin/sh", "-c", self.job["command"]]
        code = self._run_command(shell_command, workdir, self._next_deadline())
        raise RunEnded(exit_status.classify_exit(code))

    def _check_out_commit(self) -> None:
        """Check out the commit, in the time that the command has, or a minute.

        A cancel ends it by an exception out of the signal's handler.
        """
        self.interruptible = True
        try:
            self._raise_if_cancelled()
            deadline = self._next_deadline(at_least=MIN_CHECKOUT_SECONDS)
            checkout.create_checkout(self.job, self.work_dir, self.log, deadline)
            self.missing_code = CodeParts(self.job, deadline).add_to(self.work_dir)
        finally:
            self.interruptible = False
        if self.missing_code:
            self._log_note(f"{_NOT_CHECKED_OUT}{', '.join(self.missing_code)}")

    def _create_python_environment(self, deadline: float | None) -> None:
        """Make the checkout's own Python environment, if its setup or a lock file asks for one."""
        command = python_environment.creation_command(self.job["setup"], self.work_dir)
        if command is not None:
            name = "python -m venv .venv (by Fyre)"
            self._run_setup_command(command, name, deadline)

    def _next_deadline(self, at_least: float = 0.0) -> float | None:
        """Return when the time of something that starts now is over; None for never."""
        timeout = self.job["timeout"]
        return time.monotonic() + max(timeout, at_least) if timeout else None

    def _run_setup_command(self, argv: list[str], command: str, deadline: float | None) -> None:
        """Run a setup command at the top of the checkout, whatever part of it the run is in.

        However it fails, that is an error and says nothing of the run's own command. All of the
        setup together has the time that the command has.
        """
        short = " ".join(command.split())[:60]
        self._write_progress("starting", f"{_SETUP}{short}")
        try:
            code = self._run_command(argv, self.work_dir, deadline)
            ending = exit_status.describe_exit(code) if code else ""
        except RunEnded as ended:
            if ended.args[0]["state"] != "failed":
                raise
            ending = ended.args[0]["reason"]
        if ending:
            raise RunEnded({"state": "error", "reason": f"setup failed: `{short}` {ending}"})

    def _resolve_workdir(self) -> str:
        """Return the directory that the command runs in: one that is truly inside the checkout."""
        workdir = os.path.realpath(os.path.join(self.work_dir, self.job["workdir"] or "."))
        root = os.path.realpath(self.work_dir)
        if workdir != root and not workdir.startswith(root + os.sep):
            raise checkout.CheckoutError(f"workdir {self.job['workdir']} leads out of the checkout")
        if not os.path.isdir(workdir):
            raise checkout.CheckoutError(f"workdir {self.job['workdir']} is not in this commit")
        return workdir

    def _run_command(self, argv: list[str], directory: str, deadline: float | None) -> int:
        """Run one command to its end, or to the deadline (of ``time.monotonic``).

        Return its exit code as ``os.waitstatus_to_exitcode`` does. Raises ``RunEnded``.
        """
        self._raise_if_cancelled()
        environment = {**self.env, "FYRE_TRY": str(self.tries)}
        env = python_environment.activate(environment, self.work_dir)
        pid, pipe = processes.start_process(argv, directory, env)
        code: int | None = None
        while code is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self.cancelled or left == 0.0:
                timed_out = not self.cancelled
                self._end_processes(pid, pipe, self.job["grace"])
                self._raise_if_cancelled()
                if timed_out:
                    reason = f"{_TIMED_OUT}{self.job['timeout_text']}"
                    raise RunEnded({"state": "failed", "reason": reason})
            pipe = self._copy_output(pipe, left)
            code = processes.reap_exit_code(pid)
        killed = self._end_processes(pid, pipe, min(_LEFTOVER_GRACE, self.job["grace"]))
        if killed:
            plural = "es" if killed > 1 else ""
            self._log_note(f"ended {killed} process{plural} that the command left behind")
        self._raise_if_cancelled()
        return code

    def _copy_output(self, pipe: int, max_wait: float | None) -> int:
        """Wait for output, a signal or the time, and copy the output into the log.

        Return the pipe, -1 once it is closed.
        """
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

    def _end_processes(self, pid: int, pipe: int, grace: float) -> int:
        """End the command and all that it started, and read what is left in the pipe.

        Each process gets one TERM, since a second one would interrupt what it saves after the
        first; then the grace while any of them lives, even if the shell is gone; then KILL. Return
        how many processes there were.
        """
        processes.reap_exit_code(-1)  # what ended by itself is no leftover
        processes.kill_process_group(pid, signal.SIGTERM)
        told: set[int] = set()
        begin = time.monotonic()
        while (pids := set(processes.child_pids())) or processes.is_group_alive(pid):
            elapsed = time.monotonic() - begin
            if elapsed >= grace + LEFTOVER_LIMIT:
                break
            if elapsed >= grace:
                processes.kill_process_group(pid, signal.SIGKILL)
                processes.kill_processes(pids, signal.SIGKILL)
            else:  # the group has been told; what left it becomes a child when its parent ends
                strays = [child for child in pids - told if not processes.is_in_group(child, pid)]
                processes.kill_processes(strays, signal.SIGTERM)
            told |= pids
            pipe = self._copy_output(pipe, 0.02)
            processes.reap_exit_code(-1)
        for _ in range(_MAX_PIPE_READS):
            if pipe >= 0:
                pipe = self._copy_output(pipe, 0)
        if pipe >= 0:
            os.close(pipe)
        return len(told)

    def _raise_if_cancelled(self) -> None:
        if self.cancelled or os.path.exists(self._path_in_run("cancel")):
            self.cancelled = True
            raise RunEnded({"state": "cancelled"})

    def _install_signal_handlers(self) -> None:
        """Wake ``select`` when a child ends and on a cancel; become the parent of the command's
        orphans.
        """
        self.wake_pipe, wake_write = processes.create_wake_pipe()
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def _on_sigterm(self, *_: object) -> None:
        self.cancelled = self.cancelled or os.path.exists(self._path_in_run("cancel"))
        if self.cancelled and self.interruptible:
            self.interruptible = False  # raise once only: the clean-up must not be interrupted
            self._raise_if_cancelled()

    def _log_note(self, text: str) -> None:
        self.log.write(f"[fyre: {text}]\n".encode())

    def _write_progress(self, state: str, step: str = "") -> None:
        """Write what the server shows meanwhile; no decision depends on it."""
        progress = {"state": state, "tries": self.tries, "started_at": self.started_at}
        with contextlib.suppress(OSError):
            _replace_json_file(
                self._path_in_run("progress.json"), progress | ({"step": step} if step else {})
            )
        self._notify_server()

    def _write_started_marker(self) -> None:
        """Mark the command as started, on disk before it starts, with what says which run it
        was.
        """
        for name in ("run.json", "job.json", "started"):
            file = open_regular(self._path_in_run(name), os.O_WRONLY | os.O_CREAT)
            os.fsync(file)
            os.close(file)
        _fsync_directory(self.directory)
        _fsync_directory(os.path.dirname(self.directory))

    def _reserve_outcome_space(self) -> None:
        with (
            contextlib.suppress(OSError),
            _create_private_file(self._path_in_run("reserve")) as file,
        ):
            file.write(b" " * _RESERVED_BYTES)

    def _finish_run(self, outcome: dict[str, Any]) -> None:
        """Write the outcome into the space that was set aside for it, and make it visible at
        once.
        """
        times = {"started_at": self.started_at, "ended_at": time.time()}
        missing = {"missing_code": self.missing_code} if self.missing_code else {}
        text = json.dumps({"tries": self.tries, **times, **missing, **outcome}).encode()
        file = open_for_writing(self._path_in_run("reserve"))
        os.write(file, text + b" " * max(0, _RESERVED_BYTES - len(text)))
        os.fsync(file)
        os.close(file)
        name = _OUTCOME_FILE
        if self.started_at and (self.job["outputs"] or result_files.has_results(self.directory)):
            name = result_files.ENDED_FILE  # its outputs are stored before the outcome counts
        os.rename(self._path_in_run("reserve"), self._path_in_run(name))
        _fsync_directory(self.directory)
        self._notify_server()

    def _notify_server(self) -> None:
        """Notify the server of a change, if there still is one."""
        with contextlib.suppress(OSError):
            os.write(self.notify_pipe, b".")

    def _path_in_run(self, name: str) -> str:
        return os.path.join(self.directory, name)


def _create_private_file(path: str) -> BinaryIO:
    """Open a new or emptied file that other users can't read, whatever the commands' umask is."""
    return os.fdopen(open_for_writing(path, os.O_TRUNC), "wb")


def _replace_json_file(path: str, data: dict[str, Any]) -> None:
    with _create_private_file(path + ".new") as file:
        file.write(json.dumps(data).encode())
    os.rename(path + ".new", path)


def _fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)
