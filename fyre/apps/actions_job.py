"""``fyre dispatch``: the receiver without a receiver, for the length of one workflow job.

The event comes from the file that the runner wrote, commits from a mirror that is fetched with the job's token; from
there on it is the same plan, the same engines and the same ledger as anywhere.
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
from fyre.engines.local import LocalEngine
from fyre.engines.protocol import Engine
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
from fyre.runs.state import RunState

REPORT_TIMEOUT = 120.0
"""Seconds without a status written after which it is given up, those left out in which a limit allows none."""

_FAILED_STATES = ("failure", "error")

ACTIONS_BOT = "github-actions[bot]"
"""Whose a workflow's own token is; it may not ask who it is."""


@dataclass(frozen=True, slots=True)
class WorkflowContext:
    """What the runner tells a job, as it tells it: in the environment."""

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
        """Out of the runner's variables. Raises ``UserError`` that names the one that is missing."""

        def require_variable(name: str) -> str:
            if not env.get(name):
                hint = "fyre dispatch runs inside a GitHub workflow; action/action.yml shows how"
                raise UserError(f"{name} is not set", hint=hint)
            return env[name]

        server, repository = (
            require_variable("GITHUB_SERVER_URL"),
            require_variable("GITHUB_REPOSITORY"),
        )
        return cls(
            event_name=require_variable("GITHUB_EVENT_NAME"),
            event_file=Path(require_variable("GITHUB_EVENT_PATH")),
            api_url=require_variable("GITHUB_API_URL"),
            server_url=server,
            run_url=f"{server}/{repository}/actions/runs/{env.get('GITHUB_RUN_ID', '')}",
            token=require_variable("GITHUB_TOKEN"),
            login=env.get("FYRE_LOGIN") or ACTIONS_BOT,
            repository=repository,
        )

    def create_client(self) -> GitHubClient:
        """The forge, as the job's token sees it."""
        return GitHubClient(self.api_url, lambda: self.token, self.login)

    def read_event_file(self) -> webhook.Event:
        """The event, parsed as a delivery is. Raises ``UserError``."""
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
    """How long statuses are waited for: as long as they become fewer, or the forge's limits allow none just now."""

    clock: Callable[[], float] = time.monotonic
    _last_pending: int = -1
    _progress_at: float = 0.0

    def is_expired(self, pending: int, next_write_at: float) -> bool:
        """Whether it is, with so many statuses ``left`` and the next one allowed at ``next_at``, on the clock."""
        now = self.clock()
        if pending != self._last_pending:
            self._last_pending, self._progress_at = pending, now
        self._progress_at = max(self._progress_at, min(next_write_at, now))
        return now - self._progress_at > REPORT_TIMEOUT


@dataclass(frozen=True)
class JobEngine:
    """What runs the commands; ``kept``: whether nothing is left to be done for a run, its log included."""

    engine: Engine
    is_archived: Callable[[str], bool]


@dataclass
class RecordingReporter(StatusReporter):
    """A ledger in which what has no record leads to this job as well, and that remembers what it was told and said."""

    seen_statuses: dict[tuple[str, str], CommitStatus] = field(
        default_factory=dict
    )  # by SHA and context in lower case

    def queue_status(self, repository: Repository, sha: str, status: CommitStatus) -> None:
        """As any ledger does."""
        ours = replace(status, target_url=self.page_url(""))
        self.seen_statuses[sha, ours.context.lower()] = ours
        super().queue_status(repository, sha, ours)

    def read_statuses(self, repository: Repository, sha: str) -> Mapping[str, CommitStatus]:
        """As any ledger does."""
        found = super().read_statuses(repository, sha)
        for context, one in found.items():
            self.seen_statuses.setdefault((sha, context), one)
        return found


class ActionsJob:
    """One event, from hearing of it to the last status. It answers for what it launches; others' runs it lets be."""

    def __init__(
        self,
        context: WorkflowContext,
        mirrors: MirrorStore,
        job_engine: JobEngine,
        policy: Policy,
        forge: GitHubClient | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Without ``wait`` it is over as soon as every command has begun: until then the code has to be brought."""
        self.context, self.engine, self.wait = context, job_engine.engine, wait
        self._is_archived = job_engine.is_archived
        self._archived_before = {
            one.run.key for one in self.engine.list_records() if self._is_archived(one.run.key)
        }
        self._commit_reader = FetchingCommitReader(mirrors)
        self._launch_tracker = LaunchTrackingEngine(self.engine)
        index = RunIndex(self.engine)
        forge = forge or context.create_client()
        self.own_keys = self._launch_tracker.launched_keys
        self.reporter = RecordingReporter(
            forge, EngineView(self.engine, self.own_keys), index, self.status_url
        )
        # Who waits for its runs to end knows those alone, also on a cluster; jobs that do not wait know each other's.
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
        self.error: UserError | TransientError | None = (
            None  # what could not be done, to be said at the end
        )
        self._report_timeout = ReportTimeout()
        self._changed = threading.Event()
        self.engine.subscribe(lambda _: self._changed.set())

    def status_url(self, run_key: str) -> str:  # noqa: ARG002 - one that reports others' runs looks at it
        """Where the status of a run leads: to this job."""
        return self.context.run_url

    def run(self, on_start: Callable[[RunRecord], None]) -> list[RunRecord]:
        """Do what there is to do, and post it; the runs. ``started`` is told of each run, as it is there.

        Raises ``UserError`` where the statuses can't be posted.
        """
        self.reporter.start()
        try:
            try:
                self.process_events()
            except (
                UserError,
                TransientError,
            ) as error:  # what was launched before it is waited for all the same
                self.error = error
            told: set[str] = set()
            while True:
                records = self.own_records()
                for record in records:
                    if record.run.key not in told:
                        told.add(record.run.key)
                        on_start(record)
                if self._is_finished(records):
                    return records
                self._changed.wait(0.5)
                self._changed.clear()
        finally:
            self.reporter.stop()

    def process_events(self) -> None:
        """What the event asks for."""
        self.controller.process_until_done(self.context.read_event_file())

    def own_records(self) -> list[RunRecord]:
        """What it answers for, as it is now, oldest first."""
        return sorted(
            EngineView(self.engine, self.own_keys).list_records(),
            key=lambda record: record.run.created_at,
        )

    def find_not_run(self) -> NotRun:
        """What this job refused, and what its tries before this one did badly: run once more, a job finds all done.

        Nothing is asked for it: a token has a thousand requests an hour, and what ran is reported without one left.
        """
        mine = {
            (sha, record.run.context.lower())
            for record in self.own_records()
            for sha in (record.run.sha, *record.carried)
        }
        return [
            (sha, one.context.removeprefix("fyre/"), one.description)
            for (sha, context), one in list(self.reporter.seen_statuses.items())
            if one.target_url == self.context.run_url
            and one.state in _FAILED_STATES
            and (sha, context) not in mine
        ]

    def records_to_print(self) -> list[RunRecord]:
        """The ended runs whose logs are to be shown by this job: no other one has them, or none is known to."""
        return [
            one
            for one in self.engine.list_records()
            if one.state.is_final and one.run.key not in self._archived_before
        ]

    def close(self) -> None:
        """End what watches and reads."""
        self.engine.close()
        self._commit_reader.close()

    def has_runs_to_await(self, records: list[RunRecord]) -> bool:
        """Whether there is something to be waited for before statuses are: that runs end, or that they begin."""
        on_the_way = (record for record in records if not record.state.is_final)
        return any(self.wait or record.state is not RunState.RUNNING for record in on_the_way)

    def _is_finished(self, records: list[RunRecord]) -> bool:
        if self.has_runs_to_await(records):
            self._report_timeout = ReportTimeout()
            return False
        unsaid = [record for record in records if self.reporter.has_unposted(record)]
        unkept = [
            record
            for record in records
            if record.state.is_final and not self._is_archived(record.run.key)
        ]
        left = len(unsaid) + len(unkept) + (not self.reporter.is_idle())
        if left and not self._report_timeout.is_expired(
            left, self.reporter.write_queue.budget.next_write_at()
        ):
            return False
        # That a run goes on may stay unsaid, where the forge's limits leave room for ends only.
        some_said = len(unsaid) < max(1, len(records))
        if (
            not self.reporter.is_idle()
            or not some_said
            or any(record.state.is_final for record in unsaid)
        ):
            hint = "the job needs `permissions: {contents: read, statuses: write}`"
            raise UserError("the statuses can't be posted", hint=hint)
        return True


def create_local_engine(state: Path, mirrors: MirrorStore, jobs: int) -> JobEngine:
    """The local engine, on the workflow's own machine."""
    engine = LocalEngine(state / "engine", find_git_dir=mirrors.mirror_dir, jobs=jobs)
    return JobEngine(
        engine, lambda key: (record := engine.get_record(key)) is not None and record.state.is_final
    )


def create_mirror_store(context: WorkflowContext, state: Path) -> MirrorStore:
    """Where the commits come from."""
    return MirrorStore(
        state / "mirrors", lambda r: f"{context.server_url}/{r.name}.git", lambda _: context.token
    )


def code_finder(mirrors: MirrorStore) -> Callable[[Run], Path]:
    """Where a run's code is, other jobs' runs included: what is not to be had here, the job that launched it has."""

    def find_code(run: Run) -> Path:
        try:
            return mirrors.mirror_for_run(run)
        except UserError as error:
            raise TransientError(error.message) from error

    return find_code
