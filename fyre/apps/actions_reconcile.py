"""``fyre dispatch --reconcile``: a scheduled workflow finishes the work of jobs that did not wait.

It reports the runs that have ended since, launches the runs of pushes whose event never came, obeys
comments, and delivers the code to pods that wait for it. It can be repeated and killed at any time:
all that it knows is in the Kubernetes Jobs and the commit statuses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from fyre.apps.actions_job import ActionsJob, WorkflowContext
from fyre.controller.events import SweepEvent
from fyre.engines.factory import EngineRuntime
from fyre.git import git_command
from fyre.git.mirror_store import MirrorStore
from fyre.github.client import GitHubClient
from fyre.runs import state
from fyre.runs.commit_status import CommitStatus
from fyre.runs.policy import Policy
from fyre.runs.run import Repository, RunRecord
from fyre.runs.run_query import RunQuery
from fyre.runs.state import FINAL_STATES, RunState
from fyre.runs.status_text import parse_status

SETTLE_SECONDS = 20.0
"""Seconds after a run's end in which its status is left alone.

The job that launched the run may just be posting a pending status; such a request is over by then.
"""

CHECKOUT_WAIT = 120.0
"""Seconds for which the job stays to deliver code to a checkout of another job's run."""


class SingleRepositoryClient(GitHubClient):
    """A client for a workflow's token: one repository, and few requests (1,000 an hour)."""

    def __init__(self, context: WorkflowContext, mirrors: MirrorStore) -> None:
        super().__init__(context.api_url, lambda: context.token, context.login)
        self._repository_name, self._mirrors = context.repository, mirrors

    def list_repositories(self) -> list[Repository]:
        """Return only the workflow's own repository."""
        return [self.get_repository(self._repository_name)]

    def commits_between(self, repository: Repository, base: str, head: str) -> list[str]:
        """Return the commits as the forge would list them, but read them from the mirror.

        Each reconcile job asks for every push of the last day, and a mirror costs no requests.
        """
        mirror = self._mirrors.ensure_commit(repository, head)
        base = base if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", base) else f"refs/heads/{base}"
        git_args = (
            "--git-dir",
            str(mirror),
            "rev-list",
            "--reverse",
            "--topo-order",
            f"{base}..{head}",
            "--",
        )
        result = git_command.run_git(*git_args, env=git_command.clean_env(), check=False)
        return (
            super().commits_between(repository, base, head)
            if result.returncode
            else result.stdout.decode().split()
        )


class ReconcileJob(ActionsJob):
    """One pass over all runs of a repository that were launched without waiting."""

    def __init__(
        self, context: WorkflowContext, mirrors: MirrorStore, runtime: EngineRuntime, policy: Policy
    ) -> None:
        super().__init__(
            context,
            mirrors,
            runtime,
            policy,
            SingleRepositoryClient(context, mirrors),
            wait=False,
        )
        self._status_urls: dict[str, str] = {}
        self._checkout_deadline = time.monotonic() + CHECKOUT_WAIT
        ended = reversed(self.engine.query_runs(RunQuery(states=FINAL_STATES)))
        unfinished = [
            record
            for record in ended
            if not runtime.is_archived(record.run.key) or self.reporter.has_unposted(record)
        ]
        self._due_keys = {record.run.key: None for record in unfinished}
        self.own_keys.update(self._due_keys)
        self._settled_at = (
            max((record.ended_at or 0.0 for record in unfinished), default=0.0) + SETTLE_SECONDS
        )

    def run(self, on_start: Callable[[RunRecord], None]) -> list[RunRecord]:
        """Wait until ended runs are old enough (``SETTLE_SECONDS``), then do as any job does."""
        time.sleep(min(max(0.0, self._settled_at - time.time()), SETTLE_SECONDS))
        return super().run(on_start)

    def process_events(self) -> None:
        """Process the pushes and comments of the last day that are not processed yet."""
        self.controller.process_until_done(SweepEvent())

    def status_url(self, run_key: str) -> str:
        """Return the link of a run's status: this job, which prints the log of the run.

        If the status is posted already, its link stays as it is. So the job after one that was
        killed right after its POST recognises the status.
        """
        record = self.engine.get_record(run_key)
        if record is None or run_key not in self._due_keys:
            return self.context.run_url
        if run_key not in self._status_urls:
            posted = self.reporter.read_statuses(record.run.repository, record.run.sha).get(
                record.run.context.lower()
            )
            self._status_urls[run_key] = (
                posted.target_url
                if posted and _is_current_status(record, posted)
                else self.context.run_url
            )
        return self._status_urls[run_key]

    def has_runs_to_await(self, records: list[RunRecord]) -> bool:
        """Return True if an own run has not started, or a checkout may wait for its code."""
        starting = self.engine.query_runs(RunQuery(states=frozenset({RunState.STARTING}), limit=1))
        return super().has_runs_to_await(records) or (
            bool(starting) and time.monotonic() < self._checkout_deadline
        )


def _is_current_status(record: RunRecord, status: CommitStatus) -> bool:
    """Return True if a status shows the run's state, and belongs to the same attempt."""
    attempt = parse_status(status.state, status.description).attempt
    return status.state == state.to_github_state(record.state) and attempt == record.run.attempt
