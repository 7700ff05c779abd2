"""``fyre dispatch``: the receiver without a receiver, for the length of one workflow job.

The event comes from the file that the runner wrote, commits from a mirror that is fetched with the job's token; from
there on it is the same plan, the same engines and the same ledger as anywhere.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fyre.engines import Engine
from fyre.engines.index import Index
from fyre.engines.local import LocalEngine
from fyre.errors import UserError
from fyre.forge import Forge
from fyre.ledger import Ledger, owed
from fyre.policy import Policy
from fyre.receiver import webhook
from fyre.receiver.clones import Clones
from fyre.receiver.fetched import Fetched
from fyre.receiver.hands import Hands
from fyre.receiver.reconcile import Receiver
from fyre.run import Record

REPORTING = 120.0
"""Seconds that are spent on statuses after the last run has ended; the ledger says why it waits."""

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
        )

    def event(self) -> webhook.Event:
        """The event, parsed as a delivery is. Raises ``UserError``."""
        try:
            return webhook.parse(self.api, {"x-github-event": self.event_name}, self.event_file.read_bytes())
        except (OSError, webhook.MalformedError) as error:
            raise UserError(f"{self.event_file}: {error}", hint="is it the file that the runner wrote?") from error


class Dispatch:
    """One event, from hearing of it to the last status."""

    def __init__(self, flow: Workflow, state: Path, make_engine: Callable[[Clones], Engine], policy: Policy) -> None:
        self._flow = flow
        forge = Forge(flow.api, lambda: flow.token, flow.login)
        clones = Clones(state / "mirrors", lambda r: f"{flow.server}/{r.name}.git", lambda _: flow.token)
        self._source = Fetched(clones)
        self.engine = make_engine(clones)
        index = Index(self.engine)
        self._ledger = Ledger(forge, self.engine, index, lambda _: flow.run_url)
        self._receiver = Receiver(Hands(forge, self._source, self.engine, index, self._ledger, policy))
        self._changed = threading.Event()
        self.engine.subscribe(lambda _: self._changed.set())

    def run(self, started: Callable[[Record], None]) -> list[Record]:
        """Do what the event asks for, wait for every end, post it. ``started`` is told of each run, as it is there.

        Raises ``UserError`` where the statuses can't be posted.
        """
        self._ledger.start()
        try:
            self._receiver.deal_with(self._flow.event())
            told: set[str] = set()
            ended_at: float | None = None
            while True:
                records = sorted(self.engine.records(), key=lambda record: record.run.created_at)
                for record in records:
                    if record.run.key not in told:
                        told.add(record.run.key)
                        started(record)
                if all(record.state.final for record in records):
                    ended_at = ended_at or time.monotonic()
                    if self._ledger.idle() and not any(owed(record, "") for record in records):
                        return records
                    if time.monotonic() - ended_at > REPORTING:
                        hint = "the job needs `permissions: {contents: read, statuses: write}`"
                        raise UserError("all runs have ended, and their statuses can't be posted", hint=hint)
                self._changed.wait(0.5)
                self._changed.clear()
        finally:
            self._ledger.stop()

    def close(self) -> None:
        """End what watches and reads."""
        self.engine.close()
        self._source.close()


def local(state: Path, jobs: int) -> Callable[[Clones], Engine]:
    """The local engine, on the workflow's own machine."""
    return lambda clones: LocalEngine(state / "engine", git_dir=clones.git_dir, jobs=jobs)


def summary(records: list[Record], describe: Callable[[Record], str]) -> str:
    """The job's summary, in Markdown; what people wrote is in code spans that it can't leave."""
    rows = [
        f"| {_mark(record)} | `{record.run.sha[:7]}` | {_code(record.run.name)} | {_code(record.run.spec.command)} "
        f"| {_code(describe(record))} |"
        for record in records
    ]
    if not rows:
        return "No commit of this push asks for a run.\n"
    return "\n".join(["| | commit | run | command | outcome |", "| --- | --- | --- | --- | --- |", *rows, ""])


def outputs(records: list[Record]) -> str:
    """The step's outputs: all on one line each, as JSON has it."""
    runs = [
        {"sha": r.run.sha, "name": r.run.name, "key": r.run.key, "state": str(r.state), "exit_code": r.exit_code}
        for r in records
    ]
    outcome = "none" if not records else "success" if all(_good(r) for r in records) else "failure"
    return f"runs={json.dumps(runs)}\noutcome={outcome}\n"


def _good(record: Record) -> bool:
    return record.state == "succeeded"


def _mark(record: Record) -> str:
    return "✅" if _good(record) else "❌"


def _code(text: str) -> str:
    """A table's cell that shows the text as it is, cut where it is long."""
    line = " ".join(text.split())[:200]
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    return f"<code>{escaped.replace('`', '&#96;').replace('@', '&#64;')}</code>"
