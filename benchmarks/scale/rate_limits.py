"""500 runs in one push under GitHub's ceilings: right statuses, writes a run, how far the ledger
lags, what is refused.

Forge, push, receiver, ledger and HTTP are the real ones. The cluster is simulated (every run
starts at once), and so is time: it passes only while the ledger waits, and 0.3 s with each POST.
Three scenes: nobody else writes; 300 writes were made within the hour before (by somebody else, or
by us before a restart); the same, where refusals do not say for how long. The floor is a writer
who knows the ceilings and writes nothing but ends, in the order in which they come.

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
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture
from fyre.controller.executor import Executor
from fyre.controller.loop import Controller, SweepEvent
from fyre.engines.run_index import RunIndex
from fyre.git.commit_reader import LocalCommitReader
from fyre.github import client as forges
from fyre.github.rate_limit import GITHUB_LIMITS, RateLimitHeaders, WriteBudget
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge as EmbeddedForge
from fyre.local_forge.rate_limits import RateLimitMiddleware
from fyre.reporter.status_reporter import StatusReporter
from fyre.reporter.write_queue import WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState

NAME = "bench/rate-limits"
LATENCY = 0.3
LASTS = (10.0, 300.0)  # seconds of a run, evenly spread


class Clock:
    """Time that passes only when somebody waits; what falls due meanwhile is done on the way."""

    def __init__(self) -> None:
        self.now, self.held = time.time(), True
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def read(self) -> float:
        """Seconds since the epoch, as things are simulated."""
        return self.now

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Have something done at that time."""
        heapq.heappush(self._due, (when, next(self._numbers), do))

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Let time pass up to the next event; none passes while it is held, or where nothing is due."""
        if self.held or (seconds is None and not self._due):
            condition.wait(0.01)
            return
        until = self.now + seconds if seconds is not None else self._due[0][0]
        self.pass_until(min([until, *(due[0] for due in self._due[:1])]))

    def pass_until(self, until: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= until:
            when, _, do = heapq.heappop(self._due)
            self.now = max(self.now, when)
            do()
        self.now = max(self.now, until)


class Cluster:
    """An engine with room for all: a run starts at once, and ends when its time has come; every tenth fails."""

    name = "simulated"

    def __init__(self, clock: Clock) -> None:
        self._clock, self._random = clock, random.Random(4)
        self._known: dict[str, RunRecord] = {}
        self._subscribers: list[Callable[[str], None]] = []

    def launch(self, run: Run) -> bool:
        """It runs at once."""
        if run.key in self._known:
            return False
        lasts = self._random.uniform(*LASTS)
        self._known[run.key] = RunRecord(run, RunState.RUNNING, tries=1, started_at=self._clock.now)
        self._clock.at(self._clock.now + lasts, lambda: self._end(run.key))
        return True

    def _end(self, key: str) -> None:
        code = 3 if self._known[key].run.spec.command.endswith("0") else 0
        state = RunState.FAILED if code else RunState.SUCCEEDED
        self._known[key] = replace(
            self._known[key], state=state, exit_code=code, ended_at=self._clock.now
        )
        for changed in self._subscribers:
            changed(key)

    def list_records(self) -> Collection[RunRecord]:
        """All of them."""
        return list(self._known.values())

    def get_record(self, key: str) -> RunRecord | None:
        """One of them."""
        return self._known.get(key)

    def annotate(self, key: str, *, reported: str | None = None, carried: tuple[str, ...] | None = None,
                 end_posted: bool = False) -> None:  # fmt: skip
        """Keep a note."""
        del end_posted
        given = {"reported": reported, "carried": carried}
        self._known[key] = replace(
            self._known[key], **{n: v for n, v in given.items() if v is not None}
        )  # type: ignore[arg-type]

    def cancel(self, key: str, requested_by: str) -> bool:
        """Not here."""
        raise NotImplementedError(f"nobody ({requested_by}) cancels {key} here")

    def read_log(self, key: str, *, follow: bool = False) -> Iterator[bytes]:
        """Not here."""
        raise NotImplementedError(f"{key} has no log to follow ({follow})")

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Tell of every end."""
        self._subscribers.append(on_change)

    def close(self) -> None:
        """Nothing to stop."""


class Timed(forges.GitHubClient):
    """The forge, and when it took which status."""

    def __init__(self, url: str, token: str, clock: Clock) -> None:
        super().__init__(url, lambda: token)
        self._clock, self.took = clock, list[tuple[str, str, float]]()

    def create_status(
        self, repository: Repository, sha: str, status: CommitStatus
    ) -> RateLimitHeaders:
        """One POST takes its time."""
        told = super().create_status(repository, sha, status)
        self.took.append((sha, status.state, self._clock.now))
        self._clock.pass_until(self._clock.now + LATENCY)
        return told


@contextmanager
def served(
    root: Path,
    clock: Clock,
    says_when: bool,  # noqa: FBT001
) -> Iterator[tuple[EmbeddedForge, str, RateLimitMiddleware]]:
    """The embedded forge below its ceilings."""
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    forge = EmbeddedForge(root, base_url=base)
    ceiled = RateLimitMiddleware(
        routes.create_forge_app(forge), clock.read, send_retry_after=says_when
    )
    server = uvicorn.Server(
        uvicorn.Config(ceiled, lifespan="off", log_level="warning", date_header=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield forge, base, ceiled
    finally:
        server.should_exit = True
        thread.join()
        forge.stop()


def scene(folder: Path, count: int, before: int, *, says_when: bool) -> dict[str, Any]:
    """Push, launch, let time pass, and look at what the forge has."""
    clock, begun = Clock(), time.perf_counter()
    with served(folder / "state", clock, says_when) as (embedded, base, ceiled):
        ceiled.recent_writes.extend(
            clock.now - 3590 + 3500 * n / max(before, 1) for n in range(before)
        )
        path = up_fixture.create_repository(folder, "work", files=1)
        up_fixture.git("remote", "add", "origin", f"{base}/{NAME}.git", cwd=path)
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        shas = up_fixture.create_commits(
            path, [f"Change\n\nFyre-Run: exit {n % 10}\n" for n in range(count)]
        )
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        forge, engine = Timed(base + "/api", embedded.service_token, clock), Cluster(clock)
        turns = WriteQueue(clock=clock.read, wait=clock.wait, budget=WriteBudget(GITHUB_LIMITS))
        index, mirrors = (
            RunIndex(engine),
            LocalCommitReader(lambda r: embedded.repository_git_dir(r.name)),
        )
        ledger = StatusReporter(
            forge, engine, index, lambda key: f"{base}/{key}", write_queue=turns
        )
        ledger.start()
        receiver = Controller(Executor(forge, mirrors, engine, index, ledger))
        receiver.process_until_done(SweepEvent())
        start, clock.held = clock.now, False
        while not all(
            record.reported and "pending" not in record.reported for record in engine.list_records()
        ):
            time.sleep(0.02)
        ledger.stop()
        mirrors.close()
        (repository,) = forge.list_repositories()
        right = sum(forge.list_statuses(repository, sha)[0].status.state == ("success" if n % 10 else "failure")
                    for n, sha in enumerate(shas))  # fmt: skip
    ended = {record.run.sha: record.ended_at or 0.0 for record in engine.list_records()}
    lags = [at - ended[sha] for sha, state, at in forge.took if state != "pending"]
    return {
        "right_statuses": right,
        "writes": len(forge.took),
        "writes_per_run": len(forge.took) / count,
        "refused": ceiled.refusals_by_path.total(),
        "refused_most_for_one_status": max(ceiled.refusals_by_path.values(), default=0),
        "lag": spread(lags),
        "floor_lag": spread(floor(sorted(ended.values()), before, start)),
        "last_end_after": round(max(ended.values()) - start),
        "last_status_after": round(forge.took[-1][2] - start),
        "real_seconds": round(time.perf_counter() - begun, 1),
    }


def floor(ends: list[float], before: int, start: float) -> list[float]:
    """The lags of a writer who knows every ceiling, and what others wrote before."""
    sent, lags = [start - 3590 + 3500 * n / max(before, 1) for n in range(before)], []
    for end in ends:
        room = [sent[-limit] + span for limit, span in GITHUB_LIMITS.windows if len(sent) >= limit]
        sent.append(max([end, *room, *(at + GITHUB_LIMITS.min_interval for at in sent[-1:])]))
        lags.append(sent[-1] - end)
    return lags


def spread(values: list[float]) -> dict[str, int]:
    """Median, 95th percentile and most, in whole seconds."""
    cut = statistics.quantiles(values, n=20)
    return {
        "median": round(statistics.median(values)),
        "p95": round(cut[18]),
        "most": round(max(values)),
    }


def main(count: int) -> None:
    """The three scenes."""
    scenes = {
        "alone": (0, True),
        "300_writes_before": (300, True),
        "300_before_and_refusals_are_bare": (300, False),
    }
    report: dict[str, Any] = {"runs": count, "run_seconds": LASTS}
    for name, (before, says_when) in scenes.items():
        with up_fixture.temporary_folder() as folder:
            report[name] = scene(folder, count, before, says_when=says_when)
    print(json.dumps(report, indent=2))
    sys.exit(any(report[name]["right_statuses"] != count for name in scenes))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
