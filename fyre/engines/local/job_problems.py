"""Runs whose job this version can't read, so that no supervisor is started for them."""

from __future__ import annotations

from dataclasses import replace

from fyre.engines.local.run_dir import RunDirectory
from fyre.runs.run import RunRecord
from fyre.runs.state import RunState
from fyre.stored_form import warn_once


class JobProblems:
    """Why runs are not started that another version may start; the engine's lock guards all calls.

    Such a run counts as ended with an error. That is not written down: its directory is left as it
    is.
    """

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}  # by the run's key

    def __len__(self) -> int:
        """Return how many runs have a problem."""
        return len(self._problems)

    def check_job(self, directory: RunDirectory) -> bool:
        """Return True if this version can start a run; if not, remember why."""
        problem = directory.job_problem()
        if problem:
            warn_once(str(directory.path), problem)
            self._problems[directory.path.name] = problem
        return not problem

    def mark_record(self, record: RunRecord) -> RunRecord:
        """Return the record as it is, or with the error of a run that is not started."""
        problem = self._problems.get(record.run.key)
        return replace(record, state=RunState.ERROR, reason=problem) if problem else record

    def forget_run(self, key: str) -> None:
        """Forget the problem of a run that is forgotten."""
        self._problems.pop(key, None)
