"""Which of the runs that share one status is shown, and that each end is told once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fyre.engines.run_index import RunIndex
from fyre.errors import TransientError
from fyre.github.client import PostedStatus
from fyre.github.errors import RateLimitError
from fyre.github.rate_limit import RateLimitHeaders
from fyre.message.spec import RunSpec
from fyre.reporter.status_group import group_of
from fyre.reporter.status_reporter import StatusReporter
from fyre.reporter.write_queue import WriteQueue
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import RunQuery, select_records
from fyre.runs.state import RunState

REPOSITORY = Repository("https://api.github.com", 1, "ada/lab")
SHAS = ("a" * 40, "b" * 40)
NAMES = ("run",)


def a_record(
    sha: str = SHAS[0], name: str = "run", attempt: int = 1, **fields: object
) -> RunRecord:
    run = Run(
        f"{name}-{sha[0]}-{attempt}", REPOSITORY, sha, "tree", (), "refs/heads/main", "ada", name,
        RunSpec("true"), "digest", fyre_id="one", attempt=attempt,
    )  # fmt: skip
    return RunRecord(run, **fields)  # type: ignore[arg-type] # whatever the test asks for


def page_url(key: str) -> str:
    return f"https://fyre/{key}"


def shown_on(sha: str, *records: RunRecord) -> str:
    """The key of the run that is shown, the same for each member that asks."""
    keys = {group_of(record, sha, records).derive_status(page_url).run_key for record in records}
    (key,) = keys
    return key


@pytest.mark.parametrize("seed", range(4))
def test_the_newest_attempt_is_shown(seed: int) -> None:
    records = [a_record(attempt=number) for number in (1, 2, 10)]
    random.Random(seed).shuffle(records)
    assert shown_on(SHAS[0], *records) == "run-a-10"


def test_on_a_sha_that_shares_an_outcome_its_own_run_is_shown() -> None:
    shared, own = a_record(attempt=3, carried=(SHAS[1],)), a_record(SHAS[1])
    assert shown_on(SHAS[1], shared, own) == "run-b-1"
    assert shown_on(SHAS[1], shared) == "run-a-3"


def test_of_two_outcomes_that_a_sha_shares_the_newest_is_shown() -> None:
    first, second = (a_record(attempt=number, carried=(SHAS[1],)) for number in (1, 2))
    assert shown_on(SHAS[1], second, first) == "run-a-2"


def test_runs_of_other_names_are_no_members() -> None:
    record, other = a_record(), a_record(name="train", attempt=2)
    group = group_of(record, SHAS[0], (record, other))
    assert group.records == (record,)
    assert group.is_owned_by("run-a-1")
    assert not group.is_owned_by("train-a-2")


def test_a_run_that_the_index_does_not_know_yet_is_a_member() -> None:
    record, before = a_record(attempt=2), a_record()
    assert group_of(record, SHAS[0], (before,)).is_owned_by("run-a-2")


def test_the_status_is_that_of_the_shown_run_and_is_noted_with_it() -> None:
    record = a_record(carried=(SHAS[1],), state=RunState.FAILED, exit_code=3)
    unposted = group_of(record, SHAS[1], ()).derive_status(page_url)
    assert (unposted.sha, unposted.run_key, unposted.state_word) == (SHAS[1], "run-a-1", "failed")
    assert unposted.status.state == "failure"
    assert unposted.status.target_url == "https://fyre/run-a-1"


class Crash(BaseException):
    """The end of the process, at whatever point."""


def rate_limit_error() -> RateLimitError:
    return RateLimitError("HTTP 403", RateLimitHeaders(refused=True, retry_after=5.0))


class Forge:
    """The statuses of a repository.

    The next POST may fail, before or after it was made, and so may the next look at them.
    """

    def __init__(self) -> None:
        self.posted: list[tuple[str, CommitStatus]] = []
        self.faults: list[tuple[BaseException | None, bool]] = []  # and whether it was made
        self.read_faults: list[Exception] = []

    def rate_limit_account(self, repository: Repository) -> str:
        return ""

    def is_own_login(self, login: str) -> bool:
        return login == "fyre[bot]"

    def list_statuses(self, repository: Repository, sha: str) -> list[PostedStatus]:
        if self.read_faults:
            raise self.read_faults.pop()
        return [PostedStatus(status, "fyre[bot]", 0.0) for status in self.statuses_on(sha)]

    def statuses_on(self, sha: str) -> list[CommitStatus]:
        """What is there, the newest first."""
        return [status for posted_sha, status in reversed(self.posted) if posted_sha == sha]

    def create_status(
        self, repository: Repository, sha: str, status: CommitStatus
    ) -> RateLimitHeaders:
        fault, is_made = self.faults.pop() if self.faults else (None, True)
        if is_made:
            self.posted.append((sha, status))
        if fault is not None:
            raise fault
        return RateLimitHeaders()


class Engine:
    """Records in memory, which outlive the reporter."""

    name = "memory"

    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}
        self.subscribers: list[Callable[[str], None]] = []

    def query_runs(self, query: RunQuery) -> list[RunRecord]:
        return select_records(list(self.records.values()), query)

    def get_record(self, key: str) -> RunRecord | None:
        return self.records.get(key)

    def update(self, record: RunRecord) -> None:
        self.records[record.run.key] = record
        for changed in self.subscribers:
            changed(record.run.key)

    def annotate(self, key: str, *, end_posted: bool = False, **notes: object) -> None:
        given = {name: value for name, value in notes.items() if value is not None}
        self.records[key] = replace(self.records[key], **given)  # type: ignore[arg-type]

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        self.subscribers.append(on_change)


class StatusesOfGroups(RuleBasedStateMachine):
    """Attempts, ends, shared outcomes and restarts in any order, against a naive model.

    Time passes only while writes wait; the reporter stops where none do.
    """

    @initialize()
    def start(self) -> None:
        self.forge, self.engine, self.now, self.is_settled = Forge(), Engine(), 0.0, True
        self.restart()

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        waiting = (
            writes for one in self.queue._account_queues.values() for writes in one.waiting.values()
        )
        if seconds is None or not any(waiting):
            self.queue.stopped = True
        else:
            self.now += seconds

    @rule()
    def restart(self) -> None:
        """A new process: what was not noted is forgotten."""
        self.forge.faults.clear()
        self.engine.subscribers.clear()
        self.queue = WriteQueue(lambda: self.now, self.wait)
        index = RunIndex(self.engine)  # type: ignore[arg-type] # what the reporter needs of it
        self.reporter = StatusReporter(
            self.forge, self.engine, index, page_url, write_queue=self.queue  # type: ignore[arg-type]
        )  # fmt: skip
        self.reporter.start()
        thread = self.reporter._thread
        assert thread is not None
        thread.join(30)
        self.is_settled = True

    def write_all(self) -> None:
        self.queue.stopped = False
        try:
            self.reporter._write_loop()
        except Crash:
            self.restart()
        self.is_settled = True

    write = rule()(write_all)

    @rule()
    def pass_a_minute(self) -> None:
        """Notes of pending states are saved."""
        self.now += 61.0
        self.write_all()

    @rule(
        fault=st.sampled_from([TransientError("HTTP 502"), RuntimeError("a bug"), Crash()]),
        is_made=st.booleans(),
    )
    def let_a_post_fail(self, fault: BaseException, is_made: bool) -> None:
        self.forge.faults.append((fault, is_made))

    @rule()
    def refuse_a_post(self) -> None:
        self.forge.faults.append((rate_limit_error(), False))

    @rule(fault=st.sampled_from([TransientError("HTTP 502"), RuntimeError("a bug"), None]))
    def let_a_read_fail(self, fault: Exception | None) -> None:
        """Also over a restart; None for a rate limit."""
        self.forge.read_faults.append(fault or rate_limit_error())

    def change(self, record: RunRecord) -> None:
        self.is_settled = False
        self.engine.update(record)

    def members(self, sha: str, name: str) -> list[RunRecord]:
        """The naive model: the last is shown; a SHA's own runs come after those that it shares."""
        records = sorted(
            (one for one in self.engine.records.values() if one.run.name == name),
            key=lambda record: record.run.attempt,
        )
        return [one for one in records if sha in one.carried] + [
            one for one in records if one.run.sha == sha
        ]

    def pick(self, records: list[RunRecord], number: int) -> RunRecord:
        return records[number % len(records)]

    @rule(sha=st.sampled_from(SHAS), name=st.sampled_from(NAMES))
    def launch(self, sha: str, name: str) -> None:
        """The first attempt or the next: none starts while one is unfinished."""
        members = self.members(sha, name)
        if all(record.state.is_final for record in members):
            attempt = max((record.run.attempt for record in members), default=0) + 1
            self.change(a_record(sha, name, attempt))

    def unfinished(self) -> list[RunRecord]:
        return [one for one in self.engine.records.values() if not one.state.is_final]

    @precondition(lambda self: self.unfinished())
    @rule(number=st.integers(0, 9))
    def begin(self, number: int) -> None:
        self.change(replace(self.pick(self.unfinished(), number), state=RunState.RUNNING))

    @precondition(lambda self: self.unfinished())
    @rule(number=st.integers(0, 9), code=st.sampled_from([0, 3]))
    def end(self, number: int, code: int) -> None:
        record = self.pick(self.unfinished(), number)
        state = RunState.FAILED if code else RunState.SUCCEEDED
        self.change(replace(record, state=state, exit_code=code))

    @rule(sha=st.sampled_from(SHAS), name=st.sampled_from(NAMES))
    def share(self, sha: str, name: str) -> None:
        """As the plan does: a SHA without a run of its own shares the newest attempt's outcome."""
        others = [one for one in self.engine.records.values() if one.run.name == name]
        newest = max(others, key=lambda record: record.run.attempt, default=None)
        if newest and sha not in newest.carried and all(one.run.sha != sha for one in others):
            self.change(replace(newest, carried=(*newest.carried, sha)))

    @invariant()
    def each_state_is_posted_once(self) -> None:
        posts = Counter((sha, status.target_url, status.state) for sha, status in self.forge.posted)
        assert all(count == 1 for count in posts.values()), posts

    @invariant()
    def every_commit_shows_the_right_run(self) -> None:
        if not self.is_settled:
            return
        for sha, name in self.places():
            shown = self.members(sha, name)[-1]
            newest = self.newest_status(sha, name)
            words = {RunState.SUCCEEDED: "success", RunState.FAILED: "failure"}
            assert newest.target_url == page_url(shown.run.key)
            assert newest.state == words.get(shown.state, "pending")

    def newest_status(self, sha: str, name: str) -> CommitStatus:
        return next(one for one in self.forge.statuses_on(sha) if one.context == f"fyre/{name}")

    def places(self) -> Iterator[tuple[str, str]]:
        for sha in SHAS:
            for name in NAMES:
                if self.members(sha, name):
                    yield sha, name

    def teardown(self) -> None:
        """Whatever happened, it is right in the end, and a new process finds nothing to post."""
        self.write_all()
        self.every_commit_shows_the_right_run()
        self.pass_a_minute()
        before = list(self.forge.posted)
        self.restart()
        assert self.forge.posted == before
        self.each_state_is_posted_once()


def test_an_older_attempt_that_is_late_does_not_cover_a_newer_one() -> None:
    """On a SHA that shares both, where the older one's POST fails until the newer one's is made."""
    machine, late = StatusesOfGroups(), TransientError("HTTP 502")
    machine.start()
    for _ in range(2):
        machine.launch(SHAS[0], "run")
        machine.share(SHAS[1], "run")
        machine.end(0, 0)
    machine.forge.faults += [(late, False), (None, True), (late, False)]
    machine.teardown()
    assert machine.newest_status(SHAS[1], "run").target_url == page_url("run-a-2")


def test_a_doubt_outlives_a_rate_limit_that_the_look_up_meets() -> None:
    """The process ended after the POST; the next one is refused when it looks for that status."""
    machine = StatusesOfGroups()
    machine.start()
    machine.forge.faults.append((Crash(), True))
    machine.forge.read_faults.append(rate_limit_error())
    machine.launch(SHAS[0], "run")
    machine.write_all()
    assert machine.forge.read_faults == []
    machine.teardown()
    assert [status.state for _, status in machine.forge.posted] == ["pending"]


def test_a_post_without_an_answer_is_not_repeated_after_a_rate_limited_look_up() -> None:
    machine = StatusesOfGroups()
    machine.start()
    machine.launch(SHAS[0], "run")
    machine.end(0, 0)
    machine.forge.faults.append((TransientError("HTTP 502"), True))
    machine.forge.read_faults.append(rate_limit_error())
    machine.teardown()
    assert [status.state for _, status in machine.forge.posted] == ["success"]


def test_any_order_of_events_ends_with_the_right_statuses() -> None:
    run_state_machine_as_test(
        StatusesOfGroups,
        settings=hypothesis.settings(stateful_step_count=40),
    )
