"""``fyre dispatch --reconcile``: what a scheduled workflow does for jobs that did not wait.

It reports the runs that have ended since, launches what a push event that never came left undone, does what comments
ask for, and brings the code to pods that wait for it. Safe to repeat and to kill: all that it knows is on the Jobs and
in the ledger.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from fyre.apps.actions_job import ActionsJob, JobEngine, WorkflowContext
from fyre.controller.loop import SweepEvent
from fyre.git import git_command
from fyre.git.mirror_store import MirrorStore
from fyre.github.client import GitHubClient
from fyre.runs import state
from fyre.runs.commit_status import CommitStatus
from fyre.runs.policy import Policy
from fyre.runs.run import Repository, RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import parse_status

SETTLE_SECONDS = 20.0
"""Seconds after a run's end before which it is left alone: the job that launched it may be posting that it goes on, and
a request has an end by then."""

CHECKOUT_WAIT = 120.0
"""Seconds that a checkout of another job's run is given to come by its code."""


class SingleRepositoryClient(GitHubClient):
    """The forge as a workflow's token may use it: for one repository, and with few requests (1,000 an hour)."""

    def __init__(self, context: WorkflowContext, mirrors: MirrorStore) -> None:
        super().__init__(context.api_url, lambda: context.token, context.login)
        self._repository_name, self._mirrors = context.repository, mirrors

    def list_repositories(self) -> list[Repository]:
        """The workflow's own."""
        return [self.get_repository(self._repository_name)]

    def commits_between(self, repository: Repository, base: str, head: str) -> list[str]:
        """As the forge lists them, out of the mirror: each push of a day is asked about again and again."""
        mirror = self._mirrors.ensure_commit(repository, head)
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
        done = git_command.run_git(*argv, env=git_command.clean_env(), check=False)
        return (
            super().commits_between(repository, base, head)
            if done.returncode
            else done.stdout.decode().split()
        )


class ReconcileJob(ActionsJob):
    """Once through all runs of a repository that were launched without waiting."""

    def __init__(
        self, context: WorkflowContext, mirrors: MirrorStore, job_engine: JobEngine, policy: Policy
    ) -> None:
        super().__init__(
            context,
            mirrors,
            job_engine,
            policy,
            SingleRepositoryClient(context, mirrors),
            wait=False,
        )
        self._status_urls: dict[str, str] = {}
        self._checkout_deadline = time.monotonic() + CHECKOUT_WAIT
        ended = [one for one in self.engine.list_records() if one.state.is_final]
        due = [
            one
            for one in ended
            if not job_engine.is_archived(one.run.key) or self.reporter.has_unposted(one)
        ]
        self._due_keys = {one.run.key: None for one in due}
        self.own_keys.update(self._due_keys)
        self._settled_at = max((one.ended_at or 0.0 for one in due), default=0.0) + SETTLE_SECONDS

    def run(self, on_start: Callable[[RunRecord], None]) -> list[RunRecord]:
        """As any dispatch, once what has ended has settled."""
        time.sleep(min(max(0.0, self._settled_at - time.time()), SETTLE_SECONDS))
        return super().run(on_start)

    def process_events(self) -> None:
        """What was pushed or asked for in a comment in the last day, and is not dealt with."""
        self.controller.process_until_done(SweepEvent())

    def status_url(self, run_key: str) -> str:
        """Where a run's status leads: to this job, which shows its log; where it is said already, it leads as it does.

        So a job that was killed right after a POST is followed by one that knows what was said.
        """
        record = self.engine.get_record(run_key)
        if record is None or run_key not in self._due_keys:
            return self.context.run_url
        if run_key not in self._status_urls:
            said = self.reporter.read_statuses(record.run.repository, record.run.sha).get(
                record.run.context.lower()
            )
            self._status_urls[run_key] = (
                said.target_url
                if said and _is_current_status(record, said)
                else self.context.run_url
            )
        return self._status_urls[run_key]

    def has_runs_to_await(self, records: list[RunRecord]) -> bool:
        """Whether a run launched here has not begun, or another's checkout may be waiting for its code."""
        starting = any(one.state is RunState.STARTING for one in self.engine.list_records())
        return super().has_runs_to_await(records) or (
            starting and time.monotonic() < self._checkout_deadline
        )


def _is_current_status(record: RunRecord, status: CommitStatus) -> bool:
    """Whether a status is what a run has come to, and not another attempt at it."""
    attempt = parse_status(status.state, status.description).attempt
    return status.state == state.to_github_state(record.state) and attempt == record.run.attempt
