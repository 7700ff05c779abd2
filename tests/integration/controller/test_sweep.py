"""The requests of a sweep, against a real forge that counts requests as GitHub does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import uvicorn

from fyre.controller import sweep_state
from fyre.controller.events import RunEndEvent, SweepEvent
from fyre.controller.executor import Executor
from fyre.controller.loop import Controller
from fyre.controller.sweep_state import ProcessedPushes, SweepCursor
from fyre.engines.local import LocalEngine
from fyre.engines.run_index import RunIndex
from fyre.errors import TransientError
from fyre.git.commit_reader import LocalCommitReader
from fyre.github.client import GitHubClient, RefUpdate, RefUpdates
from fyre.github.webhook import PushEvent
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge as EmbeddedForge
from fyre.local_forge.rate_limits import RateLimitMiddleware
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.run import Commit, Repository
from fyre.runs.run_query import ALL_RUNS
from fyre.server import http_server
from tests.conftest import git
from tests.support.first_push import push_to_forge
from tests.support.waiting import until

NAME = "ada/lab"


class Disk(LocalCommitReader):
    """Commits on a disk that can't be read for a while."""

    away: bool = False

    def read_commit(self, repository: Repository, sha: str) -> Commit:
        if self.away:
            raise TransientError("the disk is away")
        return super().read_commit(repository, sha)


@dataclass
class Sweeper:
    """A receiver that sweeps when it is told to, and what that costs."""

    receiver: Controller
    ceiled: RateLimitMiddleware
    disk: Disk
    repo: Path
    engine: LocalEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.receiver.executor.engine  # type: ignore[assignment]

    def sweep(self) -> int:
        """Sweep once; how many requests that were counted."""
        before = self.ceiled.counted_requests
        self.receiver._process_event(SweepEvent())
        return self.ceiled.counted_requests - before

    def push(self, command: str, branch: str = "main") -> str:
        git("commit", "-q", "--allow-empty", "-m", f"Work\n\nFyre-Run: {command}", cwd=self.repo)
        git("push", "-q", "origin", f"HEAD:{branch}", cwd=self.repo)
        return git("rev-parse", "HEAD", cwd=self.repo)

    def ran(self) -> set[str]:
        return {record.run.sha for record in self.engine.query_runs(ALL_RUNS)}


@pytest.fixture
def sweeper(tmp_path: Path, repo: Path) -> Iterator[Sweeper]:
    socket = http_server.bind_socket("127.0.0.1", 0, "")
    base = f"http://127.0.0.1:{socket.getsockname()[1]}"
    embedded = EmbeddedForge(tmp_path / "forge", base_url=base)
    ceiled = RateLimitMiddleware(routes.create_forge_app(embedded))
    server = uvicorn.Server(
        uvicorn.Config(ceiled, lifespan="off", log_level="warning", date_header=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    push_to_forge(embedded, NAME, repo)
    forge, disk = (
        GitHubClient(base + "/api", lambda: embedded.service_token),
        Disk(lambda r: embedded.repository_git_dir(r.name)),
    )
    engine = LocalEngine(
        tmp_path / "engine", find_git_dir=lambda r: embedded.repository_git_dir(r.name), jobs=2
    )
    index = RunIndex(engine)
    ledger = StatusReporter(
        forge, engine, index, lambda key: f"{base}/{key}"
    )  # never started: it would be counted too
    yield Sweeper(Controller(Executor(forge, disk, engine, index, ledger)), ceiled, disk, repo)
    engine.close()
    disk.close()
    server.should_exit = True
    thread.join()
    embedded.stop()


def test_a_sweep_of_what_is_idle_costs_nothing_and_a_push_is_found_by_the_next(
    sweeper: Sweeper,
) -> None:
    first = sweeper.push("true")
    assert sweeper.sweep() > 0
    assert [sweeper.sweep() for _ in range(5)] == [0] * 5
    second = sweeper.push("true")
    assert sweeper.sweep() > 0
    assert sweeper.ran() == {first, second}
    assert sweeper.sweep() == 0


def test_what_could_not_be_planned_is_asked_for_in_full_until_it_is(sweeper: Sweeper) -> None:
    sweeper.sweep()
    sweeper.disk.away = True
    sha = sweeper.push("true")
    for _ in range(3):
        assert sweeper.sweep() > 0
    assert sweeper.ran() == set()
    sweeper.disk.away = False
    sweeper.sweep()
    assert sweeper.ran() == {sha}
    assert sweeper.sweep() == 0


def test_a_push_that_fails_keeps_none_from_being_dealt_with_once(sweeper: Sweeper) -> None:
    sweeper.sweep()
    sweeper.disk.away = True
    sweeper.push("true", "stuck")
    sweeper.sweep()
    sweeper.disk.away = False
    sha = sweeper.push("true")
    assert sweeper.sweep() > 0
    assert sha in sweeper.ran()
    until(lambda: all(record.state.is_final for record in sweeper.engine.query_runs(ALL_RUNS)))
    assert len(sweeper.engine.query_runs(ALL_RUNS)) == len(sweeper.ran())


def test_what_a_webhook_told_of_is_not_asked_for_again(sweeper: Sweeper) -> None:
    sweeper.sweep()
    (repository,) = sweeper.receiver.executor.forge.list_repositories()
    costs = []
    for told in (False, True):
        time.sleep(
            1.01 - time.time() % 1
        )  # repositories are listed with the second of their last push
        before, sha = git("rev-parse", "HEAD", cwd=sweeper.repo), sweeper.push("true")
        if told:
            sweeper.receiver._process_event(
                PushEvent(repository, "refs/heads/main", before, sha, "ada", (sha,))
            )
        costs.append(sweeper.sweep())
        assert sha in sweeper.ran()
    assert costs[1] < costs[0]


def run_end(sweeper: Sweeper, sha: str) -> RunEndEvent:
    """Return the end of the one run of a commit, once it has ended."""
    (run,) = (one.run for one in sweeper.engine.query_runs(ALL_RUNS) if one.run.sha == sha)
    until(lambda: sweeper.engine.get_record(run.key).state.is_final)  # type: ignore[union-attr]
    return RunEndEvent(run.repository, sha, run.key)


def test_the_end_of_a_run_asks_the_forge_nothing_while_each_run_has_a_record(
    sweeper: Sweeper,
) -> None:
    shas = [sweeper.push("true") for _ in range(3)]
    sweeper.sweep()
    ends = [run_end(sweeper, sha) for sha in shas]
    before = sweeper.ceiled.counted_requests
    for ended in ends * 2:
        assert sweeper.receiver._process_event(ended)
    assert sweeper.ceiled.counted_requests == before
    assert len(sweeper.engine.query_runs(ALL_RUNS)) == 3


def test_the_end_of_a_run_is_looked_at_again_where_its_commit_can_not_be_read_for_a_while(
    sweeper: Sweeper,
) -> None:
    sha = sweeper.push("true")
    sweeper.sweep()
    ended, sweeper.disk.away = run_end(sweeper, sha), True
    for _ in range(2):  # reported twice, it waits once
        assert not sweeper.receiver._process_event(ended)
    assert sweeper.receiver.queue_length() == 1
    sweeper.disk.away = False
    assert sweeper.receiver._process_item(sweeper.receiver._retries.pop())
    assert sweeper.receiver.queue_length() == 0


def test_the_oldest_processed_push_is_forgotten_first() -> None:
    pushes = ProcessedPushes(2)
    for number in (1, 2, 1, 3):  # 1 was processed once more: 2 is the oldest now
        pushes.mark(number)
    assert [number in pushes for number in (1, 2, 3)] == [True, False, True]


def test_how_far_back_the_first_sweep_looks_bounds_no_later_one(sweeper: Sweeper) -> None:
    executor, sweeper.receiver.backfill = sweeper.receiver.executor, 60.0
    sweeper.sweep()
    sha = sweeper.push("true")
    executor.clock = lambda: (
        time.time() + 600
    )  # the next sweep is late, or this clock is ahead of the forge's
    sweeper.sweep()
    assert sweeper.ran() == {sha}


def test_a_clock_that_is_behind_has_nothing_waited_for_longer(sweeper: Sweeper) -> None:
    (repository,) = sweeper.receiver.executor.forge.list_repositories()
    before, sha, gone = git("rev-parse", "HEAD", cwd=sweeper.repo), sweeper.push("true"), "1" * 40
    push = PushEvent(repository, "refs/heads/main", before, gone, "ada", (sha, gone))
    assert not sweeper.receiver._process_event(push, time.time() - 1)
    assert sweeper.ran() == set()
    assert sweeper.receiver._process_event(
        push, time.time() + 600
    )  # as the forge's activity has it
    assert sweeper.ran() == {sha}


def test_what_somebody_else_pushes_again_is_found_though_a_webhook_told_of_the_first_time(
    sweeper: Sweeper,
) -> None:
    sweeper.sweep()
    (repository,) = sweeper.receiver.executor.forge.list_repositories()
    before, sha = git("rev-parse", "HEAD", cwd=sweeper.repo), sweeper.push("true")
    nobody = PushEvent(
        repository, "refs/heads/main", before, sha, "", (sha,)
    )  # who may launch nothing
    sweeper.receiver._process_event(nobody)
    assert sweeper.ran() == set()
    sweeper.sweep()
    assert sweeper.ran() == {sha}


def test_a_sweep_comes_round_and_finds_what_nobody_told_of(sweeper: Sweeper) -> None:
    receiver = sweeper.receiver
    receiver.sweep_every = 0.05
    receiver.start()
    until(lambda: receiver.last_sweep_at)
    sha = sweeper.push("true")
    until(lambda: sha in sweeper.ran())
    receiver.stop()


def entry(at: float, after: str) -> RefUpdate:
    return RefUpdate("refs/heads/main", "0" * 40, after * 40, "ada", at)


def test_what_is_dealt_with_is_not_heard_again_and_more_of_that_time_may_come() -> None:
    a, late, b, c = entry(100, "a"), entry(199, "d"), entry(200, "b"), entry(200, "c")
    until_then = SweepCursor().advance(RefUpdates((a, b), "one"), [])
    assert until_then == SweepCursor(200 - sweep_state.LISTING_DELAY, frozenset({b}), "one")
    assert until_then.since <= late.timestamp
    assert until_then.advance(RefUpdates((), "one"), []) == until_then
    assert until_then.advance(RefUpdates((late, b, c), "two"), []).done == {late, b, c}


def test_what_failed_and_nothing_else_is_to_be_planned_again() -> None:
    a, b, c = entry(100, "a"), entry(200, "b"), entry(300, "c")
    until_then = SweepCursor().advance(RefUpdates((a, b, c), "one"), [b])
    assert until_then == SweepCursor(200, frozenset({c}), "")
    assert until_then.advance(RefUpdates((b, c), "one"), []) == SweepCursor(
        300 - sweep_state.LISTING_DELAY, frozenset({c}), "one"
    )


def test_a_push_that_the_forge_lists_after_a_newer_one_is_found(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge, real = sweeper.receiver.executor.forge, sweeper.receiver.executor.forge.list_ref_updates
    first = sweeper.push("true", "one")
    git("reset", "-q", "--hard", "HEAD~1", cwd=sweeper.repo)
    second = sweeper.push("exit 0", "two")

    def aged(repository: Repository, since: float, tag: str = "") -> RefUpdates:
        """The first push a second before the second one."""
        found = real(repository, 0.0, tag)
        entries = (
            replace(one, timestamp=one.timestamp - 1) if one.after == first else one
            for one in found.updates
        )
        return RefUpdates(tuple(one for one in entries if one.timestamp >= since), found.etag)

    def without(repository: Repository, since: float, tag: str = "") -> RefUpdates:
        found = aged(repository, since, tag)
        return RefUpdates(
            tuple(one for one in found.updates if one.after != first), "before it was there"
        )

    monkeypatch.setattr(forge, "list_ref_updates", without)
    sweeper.sweep()
    assert sweeper.ran() == {second}
    monkeypatch.setattr(forge, "list_ref_updates", aged)
    sweeper.sweep()
    assert sweeper.ran() == {first, second}
