"""A run on disk: its directory, the files in it, and what they mean. No processes.

``run.json`` what was launched · ``job.json`` what the supervisor is to do · ``lock`` held while it
lives, with its pid · ``progress.json`` what it is doing · ``started`` it is about to start the
command · ``cancel`` who wants it ended · ``outcome.json`` how it ended · ``notes.json`` the status
reporter's notes · ``log.N`` the output · ``hold.json`` what it waits for, or waited for ·
``outputs/``, ``metrics.jsonl``, ``links.txt`` what the command found · ``ended.json`` how it ended,
while these are being stored.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGCONT, SIGTERM
from typing import Any

from fyre.engines.environment import run_environment
from fyre.engines.local.capabilities import LOCAL_CAPABILITIES
from fyre.engines.local.result_files import ENDED_FILE
from fyre.engines.local.run_lock import lock_holder, try_lock
from fyre.engines.local.supervisor import LOST_REASON
from fyre.message import value_parsers
from fyre.regular_files import NotRegularFileError, open_for_writing
from fyre.runs import run as runs
from fyre.runs.run import OUTCOME_FORM, Run, RunRecord
from fyre.runs.state import PENDING_STATES, RunState
from fyre.runs.status_text import LOST_PREFIX
from fyre.stored_form import (
    StoredField,
    StoredForm,
    UnreadableError,
    as_boolean,
    as_integer,
    as_moment,
    as_number,
    as_printable_or_empty,
    as_shas,
    as_text,
    as_text_map,
    as_texts,
    one_of,
    or_null,
    read_json,
    warn_once,
)

PROGRESS_FORM = StoredForm(
    "progress.json",
    (
        StoredField("state", "state", one_of(PENDING_STATES)),
        StoredField("tries", "tries", as_integer),
        StoredField("started_at", "started_at", or_null(as_moment)),
        StoredField("step", "reason", as_printable_or_empty, since=2, unset=""),
    ),
)
"""The stored names of what a supervisor is doing; no decision depends on them."""


NOTES_FORM = StoredForm(
    "notes.json",
    (StoredField("reported", "reported", as_text), StoredField("carried", "carried", as_shas)),
)
"""The stored names of the status reporter's notes."""

JOB_FORM = StoredForm(
    "job.json",
    (
        StoredField("sha", "sha", as_text, required=True),
        StoredField("git_dir", "git_dir", as_text, required=True),
        StoredField("work", "work", as_text, required=True),
        StoredField("command", "command", as_text, required=True),
        StoredField("setup", "setup", as_texts),
        StoredField("workdir", "workdir", or_null(as_text)),
        StoredField("timeout", "timeout", or_null(as_integer)),
        StoredField("timeout_text", "timeout_text", as_text),
        StoredField("retries", "retries", as_integer),
        StoredField("env", "env", as_text_map, required=True),
        StoredField("git_env", "git_env", as_text_map),
        StoredField("grace", "grace", as_number),
        StoredField("log_cap", "log_cap", as_integer),
        StoredField("keep", "keep", as_boolean),
        StoredField("outputs", "outputs", as_texts, since=2, unset=()),
    ),
)
"""The stored names of what a supervisor is to do.

One version writes them at the launch, and another may start the run.
"""

CANCEL_FORM = StoredForm("cancel", (StoredField("by", "by", as_text),))
"""The stored name of the person who wants a run ended."""

HOLD_FORM = StoredForm("hold.json", (StoredField("reason", "reason", as_text),))
"""The stored name of what a held run waits for."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one run."""

    path: Path

    @classmethod
    def create_for_run(
        cls, parent: Path, run: Run, job: dict[str, Any], hold_reason: str | None = None
    ) -> RunDirectory | None:
        """Write a run down, all of it or nothing. Return None when its key is known."""
        draft, final = parent / f".new-{run.key}-{os.getpid()}", parent / run.key
        if final.exists():
            return None
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        (draft / "run.json").write_text(json.dumps(runs.to_json(run)))
        (draft / "job.json").write_text(json.dumps(job))
        if hold_reason is not None:
            (draft / "hold.json").write_text(json.dumps({"reason": hold_reason}))
        try:
            draft.rename(final)  # fails if the directory exists: the same key twice is one run
        except OSError as error:
            shutil.rmtree(draft)
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return None
        return cls(final)

    def read_run(self) -> Run:
        """Return the run that was launched. Raises ``UnreadableError``."""
        try:
            run = runs.from_json(read_json(self.path / "run.json"))
        except FileNotFoundError as error:
            raise UnreadableError("there is no run.json") from error
        if run.key != self.path.name:
            raise UnreadableError("the run in it has another key")
        return run

    def read_record(self) -> RunRecord:
        """Return the record of the run, as the files say."""
        return self.updated_record(RunRecord(self.read_run()))

    def updated_record(self, record: RunRecord) -> RunRecord:
        """Return the record brought up to date with what its supervisor wrote."""
        fresh = RunRecord(
            record.run,
            cancelled_by=self.cancelled_by(),
            unsupported=LOCAL_CAPABILITIES.unsupported_fields(record.run.spec),
            **self._read_notes(),
        )
        return replace(fresh, **(self._outcome() or self._progress()))

    def write_notes(self, **notes: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Replace notes of the status reporter, and keep the others.

        Notes that this version can't read are written anew.
        """
        try:
            stored_notes = NOTES_FORM.members(self._read_json("notes.json"))
        except UnreadableError:
            stored_notes = {}
        self._write_json("notes.json", stored_notes | notes)

    def request_cancel(self, requested_by: str) -> None:
        """Write down who wants the run ended, before anything is done about it.

        The first who asks is remembered.
        """
        if not self.cancelled_by():
            with suppress(IsADirectoryError):  # that says it too: see ``is_cancelled``
                self._write_json("cancel", {"by": requested_by})

    def cancelled_by(self) -> str:
        """Return who wants the run ended, "" for nobody."""
        requested_by: str = CANCEL_FORM.decode_readable(self._read_json("cancel"))[0].get("by", "")
        return requested_by

    def is_cancelled(self) -> bool:
        """Return True if somebody wants the run ended, also if a power loss took the name."""
        return os.path.lexists(self.path / "cancel")

    def hold_reason(self) -> str:
        """Return what a held run waits for; "" if that was not said."""
        stored = self._read_json("hold.json")
        reason: str = HOLD_FORM.decode_readable(stored)[0].get("reason", "")
        return " ".join(reason.split())

    def has_outcome(self) -> bool:
        """Return True if there is an outcome."""
        return (self.path / "outcome.json").exists()

    def has_ended(self) -> bool:
        """Return True if the command has ended, and its outputs are still to be stored."""
        return (self.path / ENDED_FILE).exists()

    def is_torn(self) -> bool:
        """Return True if a power loss took what was to be run before it was started."""
        if self.has_outcome() or (self.path / "started").exists():
            return False
        return self._is_torn("run.json") or self._is_torn("job.json")

    def has_disk_space(self) -> bool:
        """Return True if the disk has room for what a run needs to begin.

        A supervisor that finds none just dies.
        """
        try:
            self._write_json("room", {"": " " * 8192})
            (self.path / "room").unlink()
        except OSError:
            return False
        return True

    def is_lost(self) -> bool:
        """Return True if its supervisor died while the command may have been running.

        Of an outcome that can't be read as a whole, the reason may still say so.
        """
        outcome, _ = OUTCOME_FORM.decode_readable(self._read_json("outcome.json"))
        return str(outcome.get("reason", "")).startswith(LOST_PREFIX)

    def log_path(self) -> str:
        """Return the path that the names of the log's segments begin with."""
        return str(self.path / "log")

    def supervisor_pid(self) -> int | None:
        """Return the pid of the living supervisor, None if there is none.

        The kernel knows by the lock, whatever has become of the pid since. If something else is in
        the lock's place, a run that has ended counts as one without a supervisor.
        """
        try:
            with try_lock(self.path / "lock") as holder:
                return holder
        except NotRegularFileError:
            if self.has_outcome() or self.has_ended():
                return None
            raise

    def lock_holder(self) -> int | None:
        """Return the supervisor's pid as the kernel knows it, None if it says none."""
        return lock_holder(self.path / "lock")

    def signal_supervisor(self, pid: int | None = None) -> None:
        """Have the supervisor check whether its run is cancelled; ``pid`` is its pid, if known."""
        pid = pid or self.lock_holder() or self.supervisor_pid()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGTERM)
                os.kill(pid, SIGCONT)  # its command may have stopped it

    def conclude_without_supervisor(
        self, now: float, ending: tuple[RunState, str] | None = None
    ) -> bool:
        """Give an outcome to a run without a supervisor; return False if it may still be started.

        The outcome is ``ending``, if there is one, or lost if the command may have run; else
        cancelled, or an error where its job is damaged. A job in another version's form gets none,
        since that version can start it: see ``job_problem``.
        """
        if self.has_outcome() or self.has_ended():
            return True
        with try_lock(self.path / "lock") as holder:  # nobody starts it meanwhile
            if holder is not None or self.has_outcome() or self.has_ended():
                return True
            if ending or (self.path / "started").exists():
                self.write_outcome(now, *(ending or (RunState.ERROR, LOST_REASON)))
            elif self.cancelled_by():
                self.write_outcome(now, RunState.CANCELLED)
            elif (problem := self.job_problem()) and self._is_torn("job.json"):
                self.write_outcome(now, RunState.ERROR, problem)
            return self.has_outcome()

    def job_problem(self) -> str:
        """Return why no supervisor of this version can read its job; "" if it can be read.

        A missing file is handled elsewhere: see ``is_torn``.
        """
        try:
            JOB_FORM.decode(read_json(self.path / "job.json"))
        except OSError:
            return ""
        except UnreadableError as error:
            return f"not started, what it is to do can't be read: {error}"
        return ""

    def write_outcome(self, now: float, state: RunState, reason: str = "") -> None:
        """Write the outcome of a run that has no supervisor to do it.

        Of its progress only what can be read is taken, so that the outcome can be read too.
        """
        progress, _ = PROGRESS_FORM.decode_readable(self._read_json("progress.json"))
        outcome = {
            "tries": progress.get("tries", 0),
            "started_at": progress.get("started_at"),
            "ended_at": now,
            "state": state,
            "reason": reason,
        }
        self._write_json("outcome.json", outcome)

    def _outcome(self) -> dict[str, Any] | None:
        """Return the end of the run as fields of its record; None while it has not ended.

        If the outcome can't be read, that is the outcome, and it ended when the file was written:
        a run without an end would never be deleted.
        """
        if not self.has_outcome():
            return None
        outcome = runs.outcome_from_json(self._read_json("outcome.json"))
        if outcome["is_outcome_unreadable"]:
            warn_once(f"{self.path}/outcome.json", outcome["reason"])
            if outcome.get("ended_at") is None:
                outcome["ended_at"] = (self.path / "outcome.json").stat().st_mtime
        return outcome

    def _progress(self) -> dict[str, Any]:
        """Return what the run is doing, as fields of its record.

        A state that only a later version knows is shown as the nearest one that this version knows.
        """
        stored = self._read_json("progress.json")
        progress = PROGRESS_FORM.decode_readable(stored)[0]
        if stored and "state" not in progress:
            has_started = progress.get("started_at") is not None
            progress["state"] = RunState.RUNNING if has_started else RunState.STARTING
        if self.has_ended():
            progress["state"] = RunState.UPLOADING
        return progress

    def _read_notes(self) -> dict[str, Any]:
        notes, problems = NOTES_FORM.decode_readable(self._read_json("notes.json"))
        for problem in problems:
            warn_once(f"{self.path}/notes.json", problem)
        return notes

    def _is_torn(self, name: str) -> bool:
        """Return True if a file is missing or was cut short.

        A file that is whole and can't be understood is another version's.
        """
        path = self.path / name
        try:
            read_json(path)
        except FileNotFoundError:
            return True
        except UnreadableError:
            return not self.path.is_dir() or (path.is_file() and not path.is_symlink())
        return False

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            content = read_json(f"{self.path}/{name}")
        except (FileNotFoundError, UnreadableError):
            # Not written yet, cut short by a power loss, or no file of ours.
            return {}
        return content if isinstance(content, dict) else {}

    def _write_json(self, name: str, data: dict[str, Any]) -> None:
        draft = self.path / f"{name}.{os.getpid()}"
        with os.fdopen(open_for_writing(draft, os.O_TRUNC), "w") as file:
            file.write(json.dumps(data))
        draft.rename(self.path / name)


def build_supervisor_job(
    run: Run,
    git_dir: Path,
    work_dir: Path,
    **settings: Any,  # noqa: ANN401 - numbers and flags
) -> dict[str, Any]:
    """Return what the supervisor is to do, as plain data."""
    spec = run.spec
    return {
        "sha": run.sha,
        "git_dir": str(git_dir.resolve()),
        "work": str(work_dir),
        "command": spec.command,
        "setup": spec.setup,
        "workdir": spec.workdir,
        "timeout": spec.timeout,
        "timeout_text": value_parsers.format_duration(spec.timeout or 0),
        "retries": spec.retries or 0,
        "env": {**run_environment(run), **dict(spec.env)},
        "git_env": {**_GIT_ENV, "FYRE_KEY": run.key},
        **({"outputs": spec.outputs} if spec.outputs else {}),
        **settings,
    }


_GIT_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
