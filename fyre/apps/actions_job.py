"""``fyre dispatch``: do what a receiver does, for one event, inside a GitHub workflow job.

The event comes from the file that the runner wrote, commits from a mirror that is fetched with the
job's token. The plan, the engines and the status reporter are the same as everywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fyre.apps.actions_summary import NotRun
from fyre.controller.executor import Executor
from fyre.controller.loop import Controller
from fyre.engines.factory import EngineRuntime
from fyre.engines.run_index import RunIndex
from fyre.engines.wrappers import EngineView, LaunchTrackingEngine
from fyre.errors import TransientError, UserError
from fyre.git.fetching_reader import FetchingCommitReader
from fyre.git.mirror_store import MirrorStore
from fyre.github import webhook
from fyre.github.client import GitHubClient
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.commit_status import CommitStatus
from fyre.runs.policy import Policy
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import ALL_RUNS, RunQuery
from fyre.runs.state import FINAL_STATES, RunState

REPORT_TIMEOUT = 120.0
"""Seconds without progress after which the job stops waiting for statuses to be posted.

Time in which a rate limit allows no status does not count.
"""

_FAILED_STATES = ("failure", "error")

ACTIONS_BOT = "github-actions[bot]"
"""Login of a workflow's own token, which may not ask the API for its login."""


@dataclass(frozen=True, slots=True)
class WorkflowContext:
    """The facts that the runner gives a job in environment variables."""

    event_name: str
    event_file: Path
    api_url: str
    server_url: str
    run_url: str
    token: str
    login: str
    repository: str  # owner/name

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> WorkflowContext:
        """Read the runner's variables; raise ``UserError`` with the name of a missing one."""

        def require_variable(name: str) -> str:
            if not env.get(name):
                hint = "fyre dispatch runs inside a GitHub workflow; action/action.yml shows how"
                raise UserError(f"{name} is not set", hint=hint)
            return env[name]

        server_url, repository = (
            require_variable("GITHUB_SERVER_URL"),
            require_variable("GITHUB_REPOSITORY"),
        )
        return cls(
            event_name=require_variable("GITHUB_EVENT_NAME"),
            event_file=Path(require_variable("GITHUB_EVENT_PATH")),
            api_url=require_variable("GITHUB_API_URL"),
            server_url=server_url,
            run_url=f"{server_url}/{repository}/actions/runs/{env.get('GITHUB_RUN_ID', '')}",
            token=require_variable("GITHUB_TOKEN"),
            login=env.get("FYRE_LOGIN") or ACTIONS_BOT,
            repository=repository,
        )

    def create_client(self) -> GitHubClient:
        """Return a client of the forge that uses the job's token."""
        return GitHubClient(self.api_url, lambda: self.token, self.login)

    def read_event_file(self) -> webhook.Event:
        """Return the event, parsed like a webhook delivery; raise ``UserError`` if it can't be."""
        try:
            return webhook.parse_event(
                self.api_url, {"x-github-event": self.event_name}, self.event_file.read_bytes()
            )
        except (OSError, webhook.PayloadError) as error:
            raise UserError(
                f"{self.event_file}: {error}", hint="is it the file that the runner wrote?"
            ) from error


@dataclass
class ReportTimeout:
    """The time limit for statuses that are not posted yet.

    It starts again whenever their number changes, and while the forge's limits allow no write.
    """

    clock: Callable[[], float] = time.monotonic
    _last_pending: int = -1
    _progress_at: float = 0.0

    def is_expired(self, pending: int, next_write_at: float) -> bool:
        """Return True if no progress was made for too long.

        ``pending`` is the number of statuses that are left, ``next_write_at`` the time on the clock
        at which the next write is allowed.
        """
        now = self.clock()
        if pending != self._last_pending:
            self._last_pending, self._progress_at = pending, now
        self._progress_at = max(self._progress_at, min(next_write_at, now))
        return now - self._progress_at > REPORT_TIMEOUT


@dataclass
class RecordingReporter(StatusReporter):
    """A status reporter that remembers each status that it was given or has read.

    A status without a run record links to this job as well.
    """

    # by SHA and context in lower case
    seen_statuses: dict[tuple[str, str], CommitStatus] = field(default_factory=dict)

    def queue_status(self, repository: Repository, sha: str, status: CommitStatus) -> None:
        """Queue a status, with a link to this job."""
        own_status = replace(status, target_url=self.page_url(""))
        self.seen_statuses[sha, own_status.context.lower()] = own_status
        super().queue_status(repository, sha, own_status)

    def read_statuses(self, repository: Repository, sha: str) -> Mapping[str, CommitStatus]:
        """Return the statuses of a commit, and remember them."""
        statuses = super().read_statuses(repository, sha)
        for context, status in statuses.items():
            self.seen_statuses.setdefault((sha, context), status)
        return statuses


class ActionsJob:
    """The work for one event, from reading it to posting the last status.

    The job is responsible for the runs that it launches, and leaves the runs of other jobs alone.
    """

    def __init__(
        self,
        context: WorkflowContext,
        mirrors: MirrorStore,
        runtime: EngineRuntime,
        policy: Policy,
        forge: GitHubClient | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Without ``wait``, the job ends as soon as every command has started.

        It can't end earlier, because it delivers the code until then.
        """
        self.context, self.engine, self.wait = context, runtime.engine, wait
        self._is_archived = runtime.is_archived
        self._archived_before = {
            record.run.key
            for record in self.engine.query_runs(ALL_RUNS)
            if self._is_archived(record.run.key)
        }
        self._commit_reader = FetchingCommitReader(mirrors)
        self._launch_tracker = LaunchTrackingEngine(self.engine)
        index = RunIndex(self.engine)
        forge = forge or context.create_client()
        self.own_keys = self._launch_tracker.launched_keys
        self.reporter = RecordingReporter(
            forge, EngineView(self.engine, self.own_keys), index, self.status_url
        )
        self.reporter.unknown_commit_period = REPORT_TIMEOUT / 2
        # A job that waits for its runs to end knows only those, also on a cluster. Jobs that do not
        # wait know each other's runs.
        own_run_url = context.run_url if wait else None
        executor = Executor(
            forge,
            self._commit_reader,
            self._launch_tracker,
            index,
            self.reporter,
            policy,
            own_run_url=own_run_url,
        )
        self.controller = Controller(executor)
        # what could not be done; it is raised at the end
        self.error: UserError | TransientError | None = None
        self._report_timeout = ReportTimeout()
        self._changed = threading.Event()
        self.engine.subscribe(lambda _: self._changed.set())

    def status_url(self, run_key: str) -> str:  # noqa: ARG002 - `ReconcileJob` needs it
        """Return the link of a run's status: this job."""
        return self.context.run_url

    def run(self, on_start: Callable[[RunRecord], None]) -> list[RunRecord]:
        """Process the event, post the statuses, and return the records of the runs.

        ``on_start`` is called once with each run's record, as soon as there is one.

        Raises ``UserError`` if the statuses can't be posted.
        """
        self.reporter.start()
        try:
            try:
                self.process_events()
            except (UserError, TransientError) as error:
                self.error = error  # runs that were launched before it are still waited for
            started_keys: set[str] = set()
            while True:
                records = self.own_records()
                for record in records:
                    if record.run.key not in started_keys:
                        started_keys.add(record.run.key)
                        on_start(record)
                if self._is_finished(records):
                    return records
                self._changed.wait(0.5)
                self._changed.clear()
        finally:
            self.reporter.stop()

    def process_events(self) -> None:
        """Do what the event requests."""
        self.controller.process_until_done(self.context.read_event_file())

    def own_records(self) -> list[RunRecord]:
        """Return the records of the runs that this job is responsible for, oldest first."""
        # The runs of one commit have the same time, and stay in the order of their launches.
        records = [self.engine.get_record(key) for key in tuple(self.own_keys)]
        known = [record for record in records if record is not None]
        return sorted(known, key=lambda record: record.run.created_at)

    def find_not_run(self) -> NotRun:
        """Return the failed requests that are not runs of this job.

        They are requests that it refused, and requests that failed in an earlier attempt of this
        workflow job: a job that is run again finds everything done already.

        No request to the API is made: a token has a thousand requests an hour, and runs must be
        reported even if none is left.
        """
        own_contexts = {
            (sha, record.run.context.lower())
            for record in self.own_records()
            for sha in (record.run.sha, *record.carried)
        }
        return [
            (sha, status.context.removeprefix("fyre/"), status.description)
            for (sha, context), status in list(self.reporter.seen_statuses.items())
            if status.target_url == self.context.run_url
            and status.state in _FAILED_STATES
            and (sha, context) not in own_contexts
        ]

    def records_to_print(self) -> list[RunRecord]:
        """Return ended runs whose logs this job prints: no other job is known to have them.

        The oldest is the first; those of one commit are in the order of their launches.
        """
        launch_order = {key: place for place, key in enumerate(tuple(self.own_keys))}
        return sorted(
            (
                record
                for record in self.engine.query_runs(RunQuery(states=FINAL_STATES))
                if record.run.key not in self._archived_before
            ),
            key=lambda record: (record.run.created_at, launch_order.get(record.run.key, -1)),
        )

    def close(self) -> None:
        """Close the engine and the commit reader."""
        self.engine.close()
        self._commit_reader.close()

    def has_runs_to_await(self, records: list[RunRecord]) -> bool:
        """Return True if runs must still end or, in a job that does not wait, still start.

        A held run may wait for days: the job that releases it is the one that sees it start.
        """
        settled = (RunState.RUNNING, RunState.WAITING)
        pending = (record for record in records if not record.state.is_final)
        return any(self.wait or record.state not in settled for record in pending)

    def _is_finished(self, records: list[RunRecord]) -> bool:
        if self.has_runs_to_await(records):
            self._report_timeout = ReportTimeout()
            return False
        unposted = [record for record in records if self.reporter.has_unposted(record)]
        unarchived = [
            record
            for record in records
            if record.state.is_final and not self._is_archived(record.run.key)
        ]
        pending = len(unposted) + len(unarchived) + (not self.reporter.is_idle())
        if pending and not self._report_timeout.is_expired(
            pending, self.reporter.write_queue.budget.next_write_at()
        ):
            return False
        # A pending status may stay unposted where the forge's limits leave room only for results.
        some_posted = len(unposted) < max(1, len(records))
        if (
            not self.reporter.is_idle()
            or not some_posted
            or any(record.state.is_final for record in unposted)
        ):
            hint = "the job needs `permissions: {contents: read, statuses: write}`"
            raise UserError("the statuses can't be posted", hint=hint)
        return True


def create_mirror_store(context: WorkflowContext, state: Path) -> MirrorStore:
    """Return the store of mirrors, from which commits are read."""
    return MirrorStore(
        state / "mirrors",
        lambda repository: f"{context.server_url}/{repository.name}.git",
        lambda _: context.token,
    )


def code_finder(mirrors: MirrorStore) -> Callable[[Run], Path]:
    """Return a function that finds the repository with a run's code, for runs of other jobs, too.

    It raises ``TransientError`` for code that this job can't get: the job that launched the run has
    it.
    """

    def find_code(run: Run) -> Path:
        try:
            return mirrors.mirror_for_run(run)
        except UserError as error:
            raise TransientError(error.message) from error

    return find_code
