"""A run on disk: its folder, what is in it, and what that means. No processes here.

``run.json`` what was launched · ``job.json`` what the supervisor is to do · ``lock`` held while it lives, with its pid
· ``progress.json`` what it is doing · ``started`` it is about to start the command · ``cancel`` who wants it ended ·
``outcome.json`` how it ended · ``notes.json`` the ledger's notes · ``log.N`` the output.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

from fyre import run as runs
from fyre import units
from fyre.engines.environment import environment
from fyre.engines.local.supervisor import LOST
from fyre.run import Record, Run
from fyre.state import State

UNHONOURED = ("image", "resources", "secrets", "profile")
"""What a plain process on this machine can't be given."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, parent: Path, run: Run, job: dict[str, Any]) -> Folder | None:
        """Write a run down, all of it or nothing; None when its key is known."""
        draft, final = parent / f".new-{run.key}-{os.getpid()}", parent / run.key
        if final.exists():
            return None
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        (draft / "run.json").write_text(json.dumps(runs.to_json(run)))
        (draft / "job.json").write_text(json.dumps(job))
        try:
            draft.rename(final)  # fails on a folder that is there: the same key twice is one run
        except OSError as error:
            shutil.rmtree(draft)
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return None
        return cls(final)

    def run(self) -> Run:
        """What was launched. Raises ``KeyError``, ``TypeError`` or ``ValueError`` when that can't be read."""
        return runs.from_json(self._read("run.json"))

    def record(self) -> Record:
        """What the folder says of the run."""
        return self.refresh(Record(self.run()))

    def refresh(self, record: Record) -> Record:
        """The same record brought up to date with what its supervisor wrote."""
        told = self._read("outcome.json") or self._read("progress.json")
        spec = record.run.spec
        return replace(
            record,
            state=State(told.get("state", State.QUEUED)),
            tries=told.get("tries", 0),
            started_at=told.get("started_at"),
            ended_at=told.get("ended_at"),
            exit_code=told.get("exit_code"),
            signal=told.get("signal"),
            reason=told.get("reason") or "",
            cancelled_by=self.cancelled_by(),
            unhonoured=tuple(name for name in UNHONOURED if getattr(spec, name)),
            **self._notes(),
        )

    def annotate(self, **notes: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Replace notes of the ledger's, keeping the others."""
        self._write("notes.json", self._read("notes.json") | notes)

    def cancel(self, by: str) -> None:
        """Write down who wants it ended, before anything is done about it; the first to ask is remembered."""
        if not self.cancelled_by():
            self._write("cancel", {"by": by})

    def cancelled_by(self) -> str:
        """Who wants it ended, if anybody does."""
        return str(self._read("cancel").get("by", ""))

    def ended(self) -> bool:
        """Whether there is an outcome."""
        return (self.path / "outcome.json").exists()

    def torn(self) -> bool:
        """Whether a power loss took what was to be run, and it was not started."""
        if self.ended() or (self.path / "started").exists():
            return False
        return not (self._read("run.json") and self._read("job.json"))

    def has_room(self) -> bool:
        """Whether the disk has room for what a run needs to begin; a supervisor that finds none just dies."""
        try:
            self._write("room", {"": " " * 8192})
            (self.path / "room").unlink()
        except OSError:
            return False
        return True

    def lost(self) -> bool:
        """Whether its supervisor died while the command may have been running."""
        return self._read("outcome.json").get("reason") == LOST

    def log(self) -> str:
        """Where the log's segments begin."""
        return str(self.path / "log")

    def supervisor(self) -> int | None:
        """The pid of the living supervisor: the kernel knows by the lock, whatever became of pids since."""
        with _hold(self.path / "lock") as holder:
            return holder

    def signal(self) -> None:
        """Have the supervisor look whether its run is cancelled."""
        pid = self.supervisor()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGTERM)

    def settle(self, now: float) -> bool:
        """Give an outcome to a run without a supervisor: cancelled or lost; False when it may still be started."""
        if self.ended():
            return True
        with _hold(self.path / "lock") as holder:  # nobody starts it while we look
            if holder is not None or self.ended():
                return True
            if (self.path / "started").exists():
                self.conclude(now, State.ERROR, LOST)
            elif self.cancelled_by():
                self.conclude(now, State.CANCELLED)
            return self.ended()

    def conclude(self, now: float, state: State, reason: str = "") -> None:
        """Write the outcome of a run that has no supervisor to do it."""
        told = {"tries": 0, "started_at": None, **self._read("progress.json")}
        self._write("outcome.json", {**told, "ended_at": now, "state": state, "reason": reason})

    def _notes(self) -> dict[str, Any]:
        notes = self._read("notes.json")
        return {"reported": notes.get("reported", ""), "carried": tuple(notes.get("carried", ()))}

    def _read(self, name: str) -> dict[str, Any]:
        try:
            with open(f"{self.path}/{name}", "rb") as file:  # noqa: PTH123 - 20,000 of them at a start
                found = json.loads(file.read())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # not there yet, or cut short by a power loss
            return {}
        return dict(found)

    def _write(self, name: str, data: dict[str, Any]) -> None:
        draft = self.path / f"{name}.{os.getpid()}"
        draft.write_text(json.dumps(data))
        draft.rename(self.path / name)


@contextmanager
def _hold(path: Path) -> Iterator[int | None]:
    """Hold the lock and yield None; or yield the pid of the supervisor that holds it, 0 until it has written it."""
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = None
            file.truncate(0)  # a dead supervisor's pid may be anybody's by now
        except BlockingIOError:
            file.seek(0)
            holder = int(file.read() or 0)
        yield holder


def job(run: Run, git_dir: Path, work: Path, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - numbers and flags
    """What the supervisor is told: plain data."""
    spec = run.spec
    return {
        "sha": run.sha,
        "git_dir": str(git_dir.resolve()),
        "work": str(work),
        "command": spec.command,
        "setup": spec.setup,
        "workdir": spec.workdir,
        "timeout": spec.timeout,
        "timeout_text": units.text_of(spec.timeout or 0),
        "retries": spec.retries or 0,
        "env": {**environment(run), **dict(spec.env)},
        "git_env": {**_GIT_ENV, "FYRE_KEY": run.key},
        **settings,
    }


_GIT_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
