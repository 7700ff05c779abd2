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

from fyre.apps.actions_summary import Undone
from fyre.controller.executor import Executor
from fyre.controller.loop import Receiver
from fyre.engines.local import LocalEngine
from fyre.engines.protocol import Engine
from fyre.engines.run_index import Index
from fyre.engines.wrappers import Launching, Part
from fyre.errors import TryAgainError, UserError
from fyre.git.fetching_reader import Fetched
from fyre.git.mirror_store import Clones
from fyre.github import webhook
from fyre.github.client import Forge
from fyre.reporter.status_reporter import Ledger
from fyre.runs.commit_status import Status
from fyre.runs.policy import Policy
from fyre.runs.run import Record, Repository, Run
from fyre.runs.state import State

REPORTING = 120.0
"""Seconds without a status written after which it is given up, those left out in which a limit allows none."""

_BAD = ("failure", "error")

BOT = "github-actions[bot]"
"""Whose a workflow's own token is; it may not ask who it is."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """What the runner tells a job, as it tells it: in the environment."""

    event_name: str
    event_file: Path
    api: str
    server: str
    run_url: str
    token: str
    login: str
    repository: str  # owner/name

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Workflow:
        """Out of the runner's variables. Raises ``UserError`` that names the one that is missing."""

        def get(name: str) -> str:
            if not env.get(name):
                hint = "fyre dispatch runs inside a GitHub workflow; action/action.yml shows how"
                raise UserError(f"{name} is not set", hint=hint)
            return env[name]

        server, repository = get("GITHUB_SERVER_URL"), get("GITHUB_REPOSITORY")
        return cls(
            event_name=get("GITHUB_EVENT_NAME"),
            event_file=Path(get("GITHUB_EVENT_PATH")),
            api=get("GITHUB_API_URL"),
            server=server,
            run_url=f"{server}/{repository}/actions/runs/{env.get('GITHUB_RUN_ID', '')}",
            token=get("GITHUB_TOKEN"),
            login=env.get("FYRE_LOGIN") or BOT,
            repository=repository,
        )

    def forge(self) -> Forge:
        """The forge, as the job's token sees it."""
        return Forge(self.api, lambda: self.token, self.login)

    def event(self) -> webhook.Event:
        """The event, parsed as a delivery is. Raises ``UserError``."""
        try:
            return webhook.parse(
                self.api, {"x-github-event": self.event_name}, self.event_file.read_bytes()
            )
        except (OSError, webhook.MalformedError) as error:
            raise UserError(
                f"{self.event_file}: {error}", hint="is it the file that the runner wrote?"
            ) from error


@dataclass
class Patience:
    """How long statuses are waited for: as long as they become fewer, or the forge's limits allow none just now."""

    clock: Callable[[], float] = time.monotonic
    _left: int = -1
    _since: float = 0.0

    def is_over(self, left: int, next_at: float) -> bool:
        """Whether it is, with so many statuses ``left`` and the next one allowed at ``next_at``, on the clock."""
        now = self.clock()
        if left != self._left:
            self._left, self._since = left, now
        self._since = max(self._since, min(next_at, now))
        return now - self._since > REPORTING


@dataclass(frozen=True)
class Machine:
    """What runs the commands; ``kept``: whether nothing is left to be done for a run, its log included."""

    engine: Engine
    kept: Callable[[str], bool]


@dataclass
class Book(Ledger):
    """A ledger in which what has no record leads to this job as well, and that remembers what it was told and said."""

    said: dict[tuple[str, str], Status] = field(
        default_factory=dict
    )  # by SHA and context in lower case

    def want(self, repository: Repository, sha: str, wanted: Status) -> None:
        """As any ledger does."""
        ours = replace(wanted, target_url=self.url(""))
        self.said[sha, ours.context.lower()] = ours
        super().want(repository, sha, ours)

    def read(self, repository: Repository, sha: str) -> Mapping[str, Status]:
        """As any ledger does."""
        found = super().read(repository, sha)
        for context, one in found.items():
            self.said.setdefault((sha, context), one)
        return found


class Dispatch:
    """One event, from hearing of it to the last status. It answers for what it launches; others' runs it lets be."""

    def __init__(
        self,
        flow: Workflow,
        clones: Clones,
        machine: Machine,
        policy: Policy,
        forge: Forge | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Without ``wait`` it is over as soon as every command has begun: until then the code has to be brought."""
        self.flow, self.engine, self.wait = flow, machine.engine, wait
        self._kept = machine.kept
        self._kept_before = {
            one.run.key for one in self.engine.records() if self._kept(one.run.key)
        }
        self._source = Fetched(clones)
        self._launching = Launching(self.engine)
        index = Index(self.engine)
        forge = forge or flow.forge()
        self.mine = self._launching.launched
        self.ledger = Book(forge, Part(self.engine, self.mine), index, self.page)
        # Who waits for its runs to end knows those alone, also on a cluster; jobs that do not wait know each other's.
        own_run_url = flow.run_url if wait else None
        executor = Executor(
            forge,
            self._source,
            self._launching,
            index,
            self.ledger,
            policy,
            own_run_url=own_run_url,
        )
        self.receiver = Receiver(executor)
        self.trouble: UserError | TryAgainError | None = (
            None  # what could not be done, to be said at the end
        )
        self._patience = Patience()
        self._changed = threading.Event()
        self.engine.subscribe(lambda _: self._changed.set())

    def page(self, key: str) -> str:  # noqa: ARG002 - one that reports others' runs looks at it
        """Where the status of a run leads: to this job."""
        return self.flow.run_url

    def run(self, started: Callable[[Record], None]) -> list[Record]:
        """Do what there is to do, and post it; the runs. ``started`` is told of each run, as it is there.

        Raises ``UserError`` where the statuses can't be posted.
        """
        self.ledger.start()
        try:
            try:
                self.do()
            except (
                UserError,
                TryAgainError,
            ) as error:  # what was launched before it is waited for all the same
                self.trouble = error
            told: set[str] = set()
            while True:
                records = self.records()
                for record in records:
                    if record.run.key not in told:
                        told.add(record.run.key)
                        started(record)
                if self._is_done(records):
                    return records
                self._changed.wait(0.5)
                self._changed.clear()
        finally:
            self.ledger.stop()

    def do(self) -> None:
        """What the event asks for."""
        self.receiver.deal_with(self.flow.event())

    def records(self) -> list[Record]:
        """What it answers for, as it is now, oldest first."""
        return sorted(
            Part(self.engine, self.mine).records(), key=lambda record: record.run.created_at
        )

    def undone(self) -> Undone:
        """What this job refused, and what its tries before this one did badly: run once more, a job finds all done.

        Nothing is asked for it: a token has a thousand requests an hour, and what ran is reported without one left.
        """
        mine = {
            (sha, record.run.context.lower())
            for record in self.records()
            for sha in (record.run.sha, *record.carried)
        }
        return [
            (sha, one.context.removeprefix("fyre/"), one.description)
            for (sha, context), one in list(self.ledger.said.items())
            if one.target_url == self.flow.run_url
            and one.state in _BAD
            and (sha, context) not in mine
        ]

    def logs(self) -> list[Record]:
        """The ended runs whose logs are to be shown by this job: no other one has them, or none is known to."""
        return [
            one
            for one in self.engine.records()
            if one.state.final and one.run.key not in self._kept_before
        ]

    def close(self) -> None:
        """End what watches and reads."""
        self.engine.close()
        self._source.close()

    def waits(self, records: list[Record]) -> bool:
        """Whether there is something to be waited for before statuses are: that runs end, or that they begin."""
        on_the_way = (record for record in records if not record.state.final)
        return any(self.wait or record.state is not State.RUNNING for record in on_the_way)

    def _is_done(self, records: list[Record]) -> bool:
        if self.waits(records):
            self._patience = Patience()
            return False
        unsaid = [record for record in records if self.ledger.owes(record)]
        unkept = [
            record for record in records if record.state.final and not self._kept(record.run.key)
        ]
        left = len(unsaid) + len(unkept) + (not self.ledger.idle())
        if left and not self._patience.is_over(left, self.ledger.turns.pace.next_at()):
            return False
        # That a run goes on may stay unsaid, where the forge's limits leave room for ends only.
        some_said = len(unsaid) < max(1, len(records))
        if not self.ledger.idle() or not some_said or any(record.state.final for record in unsaid):
            hint = "the job needs `permissions: {contents: read, statuses: write}`"
            raise UserError("the statuses can't be posted", hint=hint)
        return True


def local(state: Path, clones: Clones, jobs: int) -> Machine:
    """The local engine, on the workflow's own machine."""
    engine = LocalEngine(state / "engine", git_dir=clones.git_dir, jobs=jobs)
    return Machine(
        engine, lambda key: (record := engine.record(key)) is not None and record.state.final
    )


def mirrors(flow: Workflow, state: Path) -> Clones:
    """Where the commits come from."""
    return Clones(state / "mirrors", lambda r: f"{flow.server}/{r.name}.git", lambda _: flow.token)


def code_of_all(clones: Clones) -> Callable[[Run], Path]:
    """Where a run's code is, other jobs' runs included: what is not to be had here, the job that launched it has."""

    def code(run: Run) -> Path:
        try:
            return clones.of(run)
        except UserError as error:
            raise TryAgainError(error.message) from error

    return code
