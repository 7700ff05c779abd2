"""``fyre dispatch --reconcile``: what a scheduled workflow does for jobs that did not wait.

It reports the runs that have ended since, launches what a push event that never came left undone, does what comments
ask for, and brings the code to pods that wait for it. Safe to repeat and to kill: all that it knows is on the Jobs and
in the ledger.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from fyre.apps.actions_job import Dispatch, Machine, Workflow
from fyre.controller.loop import Sweep
from fyre.git import git_command
from fyre.git.mirror_store import Clones
from fyre.github.client import Forge
from fyre.runs import state
from fyre.runs.commit_status import Status
from fyre.runs.policy import Policy
from fyre.runs.run import Record, Repository
from fyre.runs.state import State
from fyre.runs.status_text import parse_status

SETTLES = 20.0
"""Seconds after a run's end before which it is left alone: the job that launched it may be posting that it goes on, and
a request has an end by then."""

LINGER = 120.0
"""Seconds that a checkout of another job's run is given to come by its code."""


class OwnRepository(Forge):
    """The forge as a workflow's token may use it: for one repository, and with few requests (1,000 an hour)."""

    def __init__(self, flow: Workflow, clones: Clones) -> None:
        super().__init__(flow.api, lambda: flow.token, flow.login)
        self._name, self._clones = flow.repository, clones

    def repositories(self) -> list[Repository]:
        """The workflow's own."""
        return [self.repository(self._name)]

    def between(self, repository: Repository, base: str, head: str) -> list[str]:
        """As the forge lists them, out of the mirror: each push of a day is asked about again and again."""
        mirror = self._clones.ensure(repository, head)
        base = base if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", base) else f"refs/heads/{base}"
        argv = (
            "--git-dir",
            str(mirror),
            "rev-list",
            "--reverse",
            "--topo-order",
            f"{base}..{head}",
            "--",
        )
        done = git_command.run(*argv, env=git_command.clean_env(), check=False)
        return (
            super().between(repository, base, head)
            if done.returncode
            else done.stdout.decode().split()
        )


class Reconcile(Dispatch):
    """Once through all runs of a repository that were launched without waiting."""

    def __init__(self, flow: Workflow, clones: Clones, machine: Machine, policy: Policy) -> None:
        super().__init__(flow, clones, machine, policy, OwnRepository(flow, clones), wait=False)
        self._links: dict[str, str] = {}
        self._until = time.monotonic() + LINGER
        ended = [one for one in self.engine.records() if one.state.final]
        due = [one for one in ended if not machine.kept(one.run.key) or self.ledger.owes(one)]
        self._due = {one.run.key: None for one in due}
        self.mine.update(self._due)
        self._settled_at = max((one.ended_at or 0.0 for one in due), default=0.0) + SETTLES

    def run(self, started: Callable[[Record], None]) -> list[Record]:
        """As any dispatch, once what has ended has settled."""
        time.sleep(min(max(0.0, self._settled_at - time.time()), SETTLES))
        return super().run(started)

    def do(self) -> None:
        """What was pushed or asked for in a comment in the last day, and is not dealt with."""
        self.receiver.deal_with(Sweep())

    def page(self, key: str) -> str:
        """Where a run's status leads: to this job, which shows its log; where it is said already, it leads as it does.

        So a job that was killed right after a POST is followed by one that knows what was said.
        """
        record = self.engine.record(key)
        if record is None or key not in self._due:
            return self.flow.run_url
        if key not in self._links:
            said = self.ledger.read(record.run.repository, record.run.sha).get(
                record.run.context.lower()
            )
            self._links[key] = (
                said.target_url if said and _is_of(record, said) else self.flow.run_url
            )
        return self._links[key]

    def waits(self, records: list[Record]) -> bool:
        """Whether a run launched here has not begun, or another's checkout may be waiting for its code."""
        starting = any(one.state is State.STARTING for one in self.engine.records())
        return super().waits(records) or (starting and time.monotonic() < self._until)


def _is_of(record: Record, said: Status) -> bool:
    """Whether a status is what a run has come to, and not another attempt at it."""
    attempt = parse_status(said.state, said.description).attempt
    return said.state == state.on_github(record.state) and attempt == record.run.attempt
