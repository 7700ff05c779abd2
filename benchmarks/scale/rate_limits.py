"""500 runs in one push under GitHub's rate limits: right statuses, writes a run, delay, refusals.

Forge, push, controller, status reporter and HTTP are the real ones. The cluster is simulated
(every run starts at once), and so is time: it passes only while the reporter waits, and 0.3 s with
each POST. Three scenes: nobody else writes; 300 writes were made within the hour before (by
somebody else, or by Fyre before a restart); the same, where refusals do not tell for how long. The
floor is a writer who knows the limits and writes nothing but ends, in the order in which they
come.

``python benchmarks/scale/rate_limits.py [RUNS]`` prints JSON; all times but ``real_seconds`` are
simulated seconds.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture
from fyre.controller.events import SweepEvent
from fyre.controller.executor import Executor
from fyre.controller.loop import Controller
from fyre.engines.run_index import RunIndex
from fyre.engines.run_log import RunLog
from fyre.git.commit_reader import LocalCommitReader
from fyre.github import client as forges
from fyre.github.rate_limit import GITHUB_LIMITS, RateLimitHeaders, WriteBudget
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.rate_limits import RateLimitMiddleware
from fyre.reporter.status_reporter import StatusReporter
from fyre.reporter.write_queue import WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import ALL_RUNS, RunQuery, select_records
from fyre.runs.state import RunState

NAME = "bench/rate-limits"
LATENCY = 0.3
DURATIONS = (10.0, 300.0)  # seconds of a run, evenly spread


class Clock:
    """Simulated time that passes only when somebody waits; what is due meanwhile is done."""

    def __init__(self) -> None:
        self.now, self.held = time.time(), True
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def read(self) -> float:
        """Return the simulated seconds since the epoch."""
        return self.now

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Call something at that time."""
        heapq.heappush(self._due, (when, next(self._numbers), action))

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Let time pass up to the next event; none passes while held, or if nothing is due."""
        if self.held or (seconds is None and not self._due):
            condition.wait(0.01)
            return
        until = self.now + seconds if seconds is not None else self._due[0][0]
        self.pass_until(min([until, *(due[0] for due in self._due[:1])]))

    def pass_until(self, until: float) -> None:
        """Let time pass, and call what is due."""
        while self._due and self._due[0][0] <= until:
            when, _, action = heapq.heappop(self._due)
            self.now = max(self.now, when)
            action()
        self.now = max(self.now, until)


class SimulatedCluster:
    """An engine with room for all: a run starts at once, lasts a while, and every tenth fails."""

    name = "simulated"

    def __init__(self, clock: Clock) -> None:
        self._clock, self._random = clock, random.Random(4)
        self._known: dict[str, RunRecord] = {}
        self._subscribers: list[Callable[[str], None]] = []

    def launch(self, run: Run) -> bool:
        """Start a run at once."""
        if run.key in self._known:
            return False
        seconds = self._random.uniform(*DURATIONS)
        self._known[run.key] = RunRecord(run, RunState.RUNNING, tries=1, started_at=self._clock.now)
        self._clock.call_at(self._clock.now + seconds, lambda: self._end(run.key))
        return True

    def _end(self, key: str) -> None:
        code = 3 if self._known[key].run.spec.command.endswith("0") else 0
        state = RunState.FAILED if code else RunState.SUCCEEDED
        self._known[key] = replace(
            self._known[key], state=state, exit_code=code, ended_at=self._clock.now
        )
        for changed in self._subscribers:
            changed(key)

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the records that a query selects."""
        return select_records(list(self._known.values()), query)

    def get_record(self, key: str) -> RunRecord | None:
        """Return one record."""
        return self._known.get(key)

    def annotate(
        self,
        key: str,
        *,
        reported: str | None = None,
        carried: tuple[str, ...] | None = None,
        end_posted: bool = False,
    ) -> None:
        """Store the annotations."""
        del end_posted
        given = {"reported": reported, "carried": carried}
        self._known[key] = replace(
            self._known[key], **{n: v for n, v in given.items() if v is not None}
        )  # type: ignore[arg-type]

    def cancel(self, key: str, requested_by: str) -> bool:
        """Raise NotImplementedError: the benchmark does not need it."""
        raise NotImplementedError(f"{requested_by} cancels {key}")

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """Raise NotImplementedError: the benchmark does not need it."""
        raise NotImplementedError(f"{key} has no log (follow: {follow})")

    def open_log(self, key: str) -> RunLog:
        """Raise NotImplementedError: the benchmark does not need it."""
        raise NotImplementedError(f"{key} has no log")

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Call a function at every end."""
        self._subscribers.append(on_change)

    def close(self) -> None:
        """Do nothing."""


class TimedClient(forges.GitHubClient):
    """Records the time at which each status was created."""

    def __init__(self, url: str, token: str, clock: Clock) -> None:
        super().__init__(url, lambda: token)
        self._clock, self.created = clock, list[tuple[str, str, float]]()

    def create_status(
        self, repository: Repository, sha: str, status: CommitStatus
    ) -> RateLimitHeaders:
        """Create a status; let the time of one POST pass."""
        headers = super().create_status(repository, sha, status)
        self.created.append((sha, status.state, self._clock.now))
        self._clock.pass_until(self._clock.now + LATENCY)
        return headers


@contextmanager
def serve_forge(
    root: Path,
    clock: Clock,
    tells_when: bool,  # noqa: FBT001
) -> Iterator[tuple[LocalForge, str, RateLimitMiddleware]]:
    """Serve the local forge behind the rate limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    forge = LocalForge(root, base_url=base)
    limited = RateLimitMiddleware(
        routes.create_forge_app(forge), clock.read, send_retry_after=tells_when
    )
    server = uvicorn.Server(
        uvicorn.Config(limited, lifespan="off", log_level="warning", date_header=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield forge, base, limited
    finally:
        server.should_exit = True
        thread.join()
        forge.stop()


def run_scene(folder: Path, count: int, before: int, *, tells_when: bool) -> dict[str, Any]:
    """Push, launch, let time pass, and read the statuses from the forge."""
    clock, begun = Clock(), time.perf_counter()
    with serve_forge(folder / "state", clock, tells_when) as (embedded, base, limited):
        limited.recent_writes.extend(
            clock.now - 3590 + 3500 * n / max(before, 1) for n in range(before)
        )
        path = up_fixture.create_repository(folder, "work", files=1)
        up_fixture.git("remote", "add", "origin", f"{base}/{NAME}.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        shas = up_fixture.create_commits(
            path, [f"Change\n\nFyre-Run: exit {n % 10}\n" for n in range(count)]
        )
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        forge, engine = (
            TimedClient(base + "/api", embedded.service_token, clock),
            SimulatedCluster(clock),
        )
        write_queue = WriteQueue(
            clock=clock.read, wait=clock.wait, budget=WriteBudget(GITHUB_LIMITS)
        )
        index, mirrors = (
            RunIndex(engine),
            LocalCommitReader(lambda r: embedded.repository_git_dir(r.name)),
        )
        ledger = StatusReporter(
            forge, engine, index, lambda key: f"{base}/{key}", write_queue=write_queue
        )
        ledger.start()
        receiver = Controller(Executor(forge, mirrors, engine, index, ledger))
        receiver.process_until_done(SweepEvent())
        start, clock.held = clock.now, False
        while not all(
            record.reported and "pending" not in record.reported
            for record in engine.query_runs(ALL_RUNS)
        ):
            time.sleep(0.02)
        ledger.stop()
        mirrors.close()
        (repository,) = forge.list_repositories()
        right = sum(
            forge.list_statuses(repository, sha)[0].status.state
            == ("success" if n % 10 else "failure")
            for n, sha in enumerate(shas)
        )
    ended = {record.run.sha: record.ended_at or 0.0 for record in engine.query_runs(ALL_RUNS)}
    lags = [at - ended[sha] for sha, state, at in forge.created if state != "pending"]
    return {
        "right_statuses": right,
        "writes": len(forge.created),
        "writes_per_run": len(forge.created) / count,
        "refused": limited.refusals_by_path.total(),
        "refused_most_for_one_status": max(limited.refusals_by_path.values(), default=0),
        "lag": spread(lags),
        "floor_lag": spread(floor_lags(sorted(ended.values()), before, start)),
        "last_end_after": round(max(ended.values()) - start),
        "last_status_after": round(forge.created[-1][2] - start),
        "real_seconds": round(time.perf_counter() - begun, 1),
    }


def floor_lags(ends: list[float], before: int, start: float) -> list[float]:
    """Return the delays of a writer who knows every limit, and the writes of others before."""
    sent, lags = [start - 3590 + 3500 * n / max(before, 1) for n in range(before)], []
    for end in ends:
        room = [sent[-limit] + span for limit, span in GITHUB_LIMITS.windows if len(sent) >= limit]
        sent.append(max([end, *room, *(at + GITHUB_LIMITS.min_interval for at in sent[-1:])]))
        lags.append(sent[-1] - end)
    return lags


def spread(values: list[float]) -> dict[str, int]:
    """Return the median, the 95th percentile and the maximum, in whole seconds."""
    cut = statistics.quantiles(values, n=20)
    return {
        "median": round(statistics.median(values)),
        "p95": round(cut[18]),
        "most": round(max(values)),
    }


def main(count: int) -> None:
    """Run the three scenes, and print."""
    scenes = {
        "alone": (0, True),
        "300_writes_before": (300, True),
        "300_before_and_refusals_are_bare": (300, False),
    }
    report: dict[str, Any] = {"runs": count, "run_seconds": DURATIONS}
    for name, (before, tells_when) in scenes.items():
        with up_fixture.temporary_folder() as folder:
            report[name] = run_scene(folder, count, before, tells_when=tells_when)
    print(json.dumps(report, indent=2))
    sys.exit(any(report[name]["right_statuses"] != count for name in scenes))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
