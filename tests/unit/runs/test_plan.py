"""What a push launches, over real git stories: the rules for carried, amended and moved trailers as
a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fyre.git import git_command
from fyre.git.commit_reader import LocalCommitReader
from fyre.message import fyre_ids, request
from fyre.runs import commit_status, plan, repo_config
from fyre.runs.access import Allowed, AuthFact, AuthFacts, CommitOrigin, Denied, FactNeeded
from fyre.runs.commit_status import CommitStatus
from fyre.runs.plan import (
    Action,
    CommitEvent,
    Decision,
    Launch,
    ObservedState,
    PostStatus,
    ReuseOutcome,
    StatusesNeeded,
)
from fyre.runs.policy import DAY, Policy
from fyre.runs.repo_config import RepoConfigError, RunDefaults
from fyre.runs.run import Commit, Repository, RunRecord
from fyre.runs.state import RunState
from fyre.runs.status_text import DELAY_HINTS, PUSH_REFUSAL_HINTS, parse_status
from fyre.runs.trigger import Trigger, TriggerKind

REPOSITORY = Repository("http://forge/api", 1, "ada/lab")


OWN = AuthFacts(origin=CommitOrigin())


@dataclass
class World:
    """A repository of the user's, and everything that the receiver would remember."""

    repo: Path
    mirrors: LocalCommitReader
    records: dict[str, RunRecord] = field(default_factory=dict)
    ledger: dict[tuple[str, str], CommitStatus] = field(default_factory=dict)
    now: float = field(default_factory=time.time)
    policy: Policy = field(default_factory=Policy)
    asked: list[tuple[AuthFact, str]] = field(default_factory=list)
    cut_short_keys: set[str] = field(default_factory=set)

    def git(self, *args: str, **env: str) -> str:
        return git_command.git_output(*args, cwd=self.repo, env=env or None)

    def commit(
        self, command: str = "make", fyre_id: str | None = None, change: str = "x", **env: str
    ) -> str:
        """A commit that changes a file and asks for a run; ``fyre_id`` "" leaves the Id out."""
        path = self.repo / "code"
        path.write_text((path.read_text() if path.exists() else "") + change + "\n")
        self.git("add", "code")
        minted = fyre_ids.new_fyre_id(self.now) if fyre_id is None else fyre_id
        trailers = f"Fyre-Run: {command}\n" + (f"Fyre-Id: {minted}\n" if minted else "")
        self.git("commit", "-q", "-m", f"Change {change}\n\n{trailers}", **env)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def push(
        self,
        *shas: str,
        ref: str = "refs/heads/main",
        actor: str = "ada",
        over: str = "",
        tip: str = "",
    ) -> list[str]:
        """What hearing of these commits does: the actions taken, as words, in order."""
        return [word for sha in shas for word in self._commit(sha, ref, actor, over, tip or sha)]

    def _commit(self, sha: str, ref: str, actor: str, over: str, tip: str) -> Iterator[str]:
        commit = self.mirrors.read_commit(REPOSITORY, sha)
        trigger = Trigger(TriggerKind.PUSH, actor, ref, tip)
        quota = Denied(over) if over else Allowed()
        event = CommitEvent(
            REPOSITORY, commit, trigger, request.parse_message(commit.message), quota=quota
        )
        fyre_id = event.request.fyre_id
        here = tuple(r for r in self.records.values() if r.run.sha == sha)
        same = tuple(r for r in self.records.values() if fyre_id and r.run.fyre_id == fyre_id)
        seen = ObservedState(here, same, cut_short_keys=frozenset(self.cut_short_keys))
        answer = plan.plan(event, seen, self.policy, self.now)
        if isinstance(answer, StatusesNeeded):
            posted = {context: said for (at, context), said in self.ledger.items() if at == sha}
            seen = replace(seen, own_statuses=posted)
            answer = plan.plan(event, seen, self.policy, self.now)
        while isinstance(answer, FactNeeded):
            self.asked.append((answer.fact, sha[:7]))
            seen = replace(seen, facts=self.know(answer.fact, event, seen.facts))
            answer = plan.plan(event, seen, self.policy, self.now)
        assert isinstance(answer, Decision), "looked twice"
        for action in answer.actions:
            yield self._do(action)

    def _do(self, action: Action) -> str:
        match action:
            case Launch(run):
                assert run.key not in self.records, "the same key was launched twice"
                ended = RunRecord(run, RunState.SUCCEEDED, 1, self.now, self.now, 0)
                self.records[run.key] = ended
                self.ledger[run.sha, run.context] = commit_status.status_from_record(ended)
                return f"launch {run.name}"
            case ReuseOutcome(key, sha):
                record = self.records[key]
                self.records[key] = replace(record, carried=(*record.carried, sha))
                self.ledger[sha, record.run.context] = commit_status.status_from_record(
                    record, carried=True
                )
                return f"carry {record.run.name}"
            case PostStatus(sha, said):
                self.ledger[sha, said.context.lower()] = said
                return f"{said.context} {said.state}: {said.description}"

    def know(self, fact: AuthFact, event: CommitEvent, facts: AuthFacts) -> AuthFacts:
        """What the forge knows of the people and commits of these stories."""
        match fact:
            case AuthFact.ROLE:
                return replace(
                    facts, role={"ada": "write", "bob": "write"}.get(event.trigger.actor, "read")
                )
            case AuthFact.TEAM:
                return replace(facts, team=event.trigger.actor == "ada")
            case AuthFact.BRANCH:
                below = (
                    "merge-base",
                    "--is-ancestor",
                    event.commit.sha,
                    event.trigger.head_sha or "main",
                )
                return replace(
                    facts,
                    branch=git_command.run_git(*below, cwd=self.repo, check=False).returncode == 0,
                )
            case AuthFact.SIGNATURE:
                return replace(
                    facts, signature="valid" if "signed" in event.commit.message else "unsigned"
                )
            case AuthFact.ORIGIN:
                return replace(facts, origin=CommitOrigin())

    def green(self, sha: str) -> bool:
        return any(said.state == "success" for (at, _), said in self.ledger.items() if at == sha)


@pytest.fixture
def world(repo: Path) -> Iterator[World]:
    mirrors = LocalCommitReader(lambda _: repo / ".git")
    yield World(repo, mirrors)
    mirrors.close()


def amend(
    world: World, *, code: str = "", message: str = "", date: str = "2026-01-01T00:00:00"
) -> str:
    """``git commit --amend`` without Fyre's hooks, so that the Fyre-Id stays."""
    if code:
        (world.repo / "code").write_text(code)
    extra = ("-m", message) if message else ("--no-edit",)
    world.git("commit", "-q", "--amend", "-a", *extra, "--date", date)
    return world.head()


def story_plain(w: World) -> list[str]:
    return w.push(w.commit())


def story_redelivered(w: World) -> list[str]:
    sha = w.commit()
    return w.push(sha) + w.push(sha, sha)


def story_amend_before_push(w: World) -> list[str]:
    w.commit()
    return w.push(amend(w, code="y"))


def story_amend_code_after_push(w: World) -> list[str]:
    return w.push(w.commit()) + w.push(amend(w, code="y"))


def story_amend_date_after_push(w: World) -> list[str]:
    return w.push(w.commit()) + w.push(amend(w))


def story_amend_command_after_push(w: World) -> list[str]:
    first = w.commit()
    said = w.git("log", "-1", "--format=%B", first).replace("make", "make all")
    return w.push(first) + w.push(amend(w, message=said))


def story_amend_twice(w: World) -> list[str]:
    words = w.push(w.commit()) + w.push(amend(w, code="y"))
    return words + w.push(amend(w, code="z")) + w.push(amend(w, date="2026-02-02T00:00:00"))


def story_pull_rebase_before_push(w: World) -> list[str]:
    first = w.head()
    w.commit()
    w.git("checkout", "-q", "-b", "theirs", first)
    (w.repo / "other").write_text("theirs\n")
    w.git("add", "other")
    w.git("commit", "-q", "-m", "Theirs")
    w.git("checkout", "-q", "main")
    w.git("rebase", "-q", "theirs")
    return w.push(w.head())


def story_rebased_after_push(w: World) -> list[str]:
    base = w.head()
    words = w.push(w.commit())
    w.git("checkout", "-q", "-b", "theirs", base)
    (w.repo / "other").write_text("theirs\n")
    w.git("add", "other")
    w.git("commit", "-q", "-m", "Theirs")
    w.git("checkout", "-q", "main")
    w.git("rebase", "-q", "theirs")
    words += w.push(w.head())
    assert not w.green(w.head())
    return words


def story_9_40_rebased_after_a_second_run(w: World) -> list[str]:
    words = w.push(w.commit())
    w.now += 60
    newest = amend(w, code="y")
    words += w.push(newest)
    parent = w.git("commit-tree", "HEAD^^{tree}", "-p", "HEAD^", "-m", "Theirs")
    (w.repo / "other").write_text("theirs\n")
    w.git("add", "other")
    tree = w.git("write-tree")
    said = w.git("log", "-1", "--format=%B")
    words += w.push(w.git("commit-tree", tree, "-p", parent, "-m", said))
    assert f"ran at {newest[:7]}" in words[-1]
    return words


def story_cherry_pick(w: World) -> list[str]:
    base = w.head()
    sha = w.commit()
    words = w.push(sha)
    w.git("checkout", "-q", "-b", "release", base)
    (w.repo / "other").write_text("release\n")
    w.git("add", "other")
    w.git("commit", "-q", "-m", "Release")
    w.git("cherry-pick", sha)
    return words + w.push(w.head(), ref="refs/heads/release")


def story_rebase_merge_on_an_unmoved_base(w: World) -> list[str]:
    """GitHub's rebase merge rewrites the committer: another SHA, the same tree."""
    words = w.push(w.commit(), ref="refs/heads/topic")
    w.git(
        "commit",
        "-q",
        "--amend",
        "--no-edit",
        GIT_COMMITTER_NAME="GitHub",
        GIT_COMMITTER_DATE="2026-03-03T00:00:00Z",
    )
    return words + w.push(w.head())


def story_squash(w: World) -> list[str]:
    base = w.head()
    words = w.push(w.commit(change="a"), w.commit(change="b"), ref="refs/heads/topic")
    w.git("checkout", "-q", "-b", "merged", base)
    w.git("merge", "-q", "--squash", "main")
    w.git("commit", "-q", "--no-edit")
    return words + w.push(w.head())


def story_two_branches(w: World) -> list[str]:
    sha = w.commit()
    return w.push(sha) + w.push(sha, ref="refs/heads/other")


def story_deleted_and_pushed_again_after_the_record_is_gone(w: World) -> list[str]:
    sha = w.commit()
    words = w.push(sha)
    w.records.clear()
    return words + w.push(sha)


def story_record_gone_while_pending(w: World) -> list[str]:
    sha = w.commit()
    words = w.push(sha)
    w.records.clear()
    w.ledger[sha, "fyre/run"] = CommitStatus("fyre/run", "pending", "running")
    return words + w.push(sha) + w.push(sha)


def story_9_24_record_cut_short_while_it_waited(w: World) -> list[str]:
    sha = w.commit()
    words = w.push(sha)
    w.cut_short_keys = {*w.records}
    w.records.clear()
    w.ledger[sha, "fyre/run"] = CommitStatus("fyre/run", "pending", "queued")
    return words + w.push(sha) + w.push(sha)


def story_copied_id(w: World) -> list[str]:
    first = w.commit()
    words = w.push(first)
    w.commit(
        fyre_id=request.parse_message(w.mirrors.read_commit(REPOSITORY, first).message).fyre_id,
        change="evil",
    )
    words += w.push(w.head())
    assert not w.green(w.head())
    return words


def story_clock_ahead(w: World) -> list[str]:
    return w.push(w.commit(fyre_id=fyre_ids.new_fyre_id(w.now + 3601)))


def story_clock_a_little_ahead(w: World) -> list[str]:
    return w.push(w.commit(fyre_id=fyre_ids.new_fyre_id(w.now + 300)))


def story_clock_behind(w: World) -> list[str]:
    return w.push(w.commit(fyre_id=fyre_ids.new_fyre_id(w.now - 30 * DAY)))


def story_ten_days_late(w: World) -> list[str]:
    sha = w.commit()
    w.now += 10 * DAY + 60
    return w.push(sha) + w.push(sha)


def story_imported(w: World) -> list[str]:
    old = "2020-01-01T00:00:00Z"
    shas = [w.commit(fyre_id="", change=str(n), GIT_COMMITTER_DATE=old) for n in range(3)]
    return w.push(*shas)


def story_nobody(w: World) -> list[str]:
    return w.push(w.commit(), actor="")


def story_over_the_cap(w: World) -> list[str]:
    return w.push(w.commit(), over="too many")


def story_lab(w: World) -> list[str]:
    passing_by = w.commit()
    entry = w.git("rev-parse", "HEAD^{tree}")
    message = (
        f"Run\n\nFyre-Run: make\nFyre-Id: {fyre_ids.new_fyre_id(w.now)}\nFyre-From: {passing_by}\n"
    )
    sha = w.git("commit-tree", entry, "-p", passing_by, "-m", message)
    return w.push(passing_by, sha, ref="refs/heads/fyre/ada")


def story_malformed(w: World) -> list[str]:
    w.git(
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "S\n\nFyre-Run: a\nFyre-Tiemout: 2h\nFyre-Run: b\nFyre-Name: two",
    )
    sha = w.head()
    return w.push(sha) + w.push(sha)


def story_same_command_twice(w: World) -> list[str]:
    w.git(
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        f"S\n\nFyre-Run: a\nFyre-Run: a\nFyre-Id: {fyre_ids.new_fyre_id(w.now)}",
    )
    return w.push(w.head(), w.head())


RAN_BEFORE = "fyre/moved error: ran at"
STORIES: list[tuple[Callable[[World], list[str]], list[str]]] = [
    (story_plain, ["launch run"]),
    (story_redelivered, ["launch run"]),
    (story_amend_before_push, ["launch run"]),
    (story_amend_code_after_push, ["launch run", "launch run"]),
    (story_amend_date_after_push, ["launch run", "carry run"]),
    (story_amend_command_after_push, ["launch run", "launch run"]),
    (story_amend_twice, ["launch run", "launch run", "launch run", "carry run"]),
    (story_pull_rebase_before_push, ["launch run"]),
    (story_rebased_after_push, ["launch run", RAN_BEFORE]),
    (story_9_40_rebased_after_a_second_run, ["launch run", "launch run", RAN_BEFORE]),
    (story_cherry_pick, ["launch run", RAN_BEFORE]),
    (story_rebase_merge_on_an_unmoved_base, ["launch run", "carry run"]),
    (story_squash, ["launch run", "launch run"]),
    (story_two_branches, ["launch run"]),
    (story_deleted_and_pushed_again_after_the_record_is_gone, ["launch run"]),
    (story_record_gone_while_pending, ["launch run", "fyre/run error: lost"]),
    (story_9_24_record_cut_short_while_it_waited, ["launch run", "launch run"]),
    (story_copied_id, ["launch run", RAN_BEFORE]),
    (story_clock_ahead, ["fyre/run error: refused: made 1h 00m in the future"]),
    (story_clock_a_little_ahead, ["launch run"]),
    (story_clock_behind, ["fyre/run error: refused: made 30 days ago"]),
    (story_ten_days_late, ["fyre/run error: refused: made 10 days ago"]),
    (story_imported, ["fyre/run error: refused: made"] * 3),
    (story_nobody, ["fyre/run error: refused: the forge named nobody"]),
    (story_over_the_cap, ["fyre/run error: refused: too many"]),
    (story_lab, ["launch run"]),
    (
        story_malformed,
        ["fyre/run error: not launched: line 4", "fyre/two error: not launched: line 4"],
    ),
    (story_same_command_twice, ["launch run", "launch run-2"]),
]


@pytest.mark.parametrize(
    ("story", "expected"), STORIES, ids=lambda value: getattr(value, "__name__", "")
)
def test_git_story(world: World, story: Callable[[World], list[str]], expected: list[str]) -> None:
    words = story(world)
    assert [word.startswith(start) for word, start in zip(words, expected, strict=False)] == [
        True
    ] * len(expected), words
    assert len(words) == len(expected), words


def planned(
    world: World, commit: Commit, policy: Policy, defaults: RunDefaults | RepoConfigError
) -> Action:
    """The one thing that is done about a commit that was pushed to main just now."""
    trigger = Trigger(TriggerKind.PUSH, "ada", "refs/heads/main", commit.sha)
    event = CommitEvent(
        REPOSITORY, commit, trigger, request.parse_message(commit.message), defaults
    )
    decision = plan.plan(event, ObservedState(own_statuses={}, facts=OWN), policy, world.now)
    assert isinstance(decision, Decision)
    (action,) = decision.actions
    return action


def test_a_malformed_file_spoils_every_run_and_quotes_its_line(world: World) -> None:
    sha = world.commit()
    commit = world.mirrors.read_commit(REPOSITORY, sha)
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config("image: python\ntimeout: soon\n")
    post = planned(world, commit, Policy(), caught.value)
    assert isinstance(post, PostStatus)
    assert "line 2: 'timeout: soon'" in post.status.description


def test_defaults_are_settled_into_the_run(world: World) -> None:
    commit = world.mirrors.read_commit(REPOSITORY, world.commit())
    defaults = repo_config.parse_repo_config(
        "timeout: 2h\nenv: {A: 1}\nsetup: [uv sync]\nnames: {run: {retries: 2}}\n"
    )
    launch = planned(world, commit, Policy(), defaults)
    assert isinstance(launch, Launch)
    spec = launch.run.spec
    assert (spec.timeout, spec.retries, spec.env, spec.setup) == (
        7200,
        2,
        (("A", "1"),),
        ("uv sync",),
    )


def test_what_the_policy_forbids_is_refused_with_the_defaults_settled_first(world: World) -> None:
    commit = world.mirrors.read_commit(REPOSITORY, world.commit())
    defaults = repo_config.parse_repo_config(
        "timeout: 2h\nnames: {run: {image: evil.example.net/x}}\n"
    )
    for policy, offence in (
        (Policy(timeout_max=60), "refused: asks for a timeout of 2h, at most 1m"),
        (Policy(profiles={}, images=("python:*",)), "refused: image evil.example.net/x is outside"),
    ):
        post = planned(world, commit, policy, defaults)
        assert isinstance(post, PostStatus)
        assert (post.status.state, post.status.description.startswith(offence)) == ("error", True)


def test_the_policys_timeout_is_the_runs_where_nobody_named_one(world: World) -> None:
    commit = world.mirrors.read_commit(REPOSITORY, world.commit())
    launch = planned(world, commit, Policy(timeout_max=60), RunDefaults())
    assert isinstance(launch, Launch)
    assert launch.run.spec.timeout == 60


def ended_event(world: World, sha: str, *records: RunRecord) -> CommitEvent | None:
    """The event as which a commit is planned when a run of it has ended."""
    commit = world.mirrors.read_commit(REPOSITORY, sha)
    event = CommitEvent(
        REPOSITORY,
        commit,
        Trigger(TriggerKind.RUN_END, "", at=world.now),
        request.parse_message(commit.message),
    )
    trigger = plan.run_end_trigger(event, records)
    return None if trigger is None else replace(event, trigger=trigger)


def test_an_end_is_planned_as_the_newest_push_that_launched_a_run_of_the_commit(
    world: World,
) -> None:
    sha = world.commit()
    assert world.push(sha, actor="bob") == ["launch run"]
    (record,) = world.records.values()
    event = ended_event(world, sha, record)
    assert event is not None
    trigger = event.trigger
    assert (trigger.actor, trigger.ref, trigger.id) == ("bob", "refs/heads/main", "")
    assert trigger.is_head(sha)  # so that a branch that has moved on is no objection
    later = replace(record, run=replace(record.run, actor="ada", created_at=world.now + 1))
    newest = ended_event(world, sha, later, record)
    assert newest is not None
    assert newest.trigger.actor == "ada"


def test_an_end_of_what_no_push_has_launched_is_no_reason_to_plan(world: World) -> None:
    sha = world.commit()
    world.push(sha)
    (record,) = world.records.values()
    by_comment = replace(record, run=replace(record.run, key="f" * 26, attempt=2))
    assert ended_event(world, sha, by_comment) is None
    assert ended_event(world, sha) is None
    assert ended_event(world, sha, by_comment, record) is not None


def test_a_run_that_is_identified_by_its_sha_is_a_push_s_as_well(world: World) -> None:
    world.push(world.commit())
    amended = amend(world, code="y")
    assert world.push(amended) == ["launch run"]
    (record,) = (one for one in world.records.values() if one.run.sha == amended)
    assert ended_event(world, amended, record) is not None


@pytest.mark.parametrize("remedy", [*PUSH_REFUSAL_HINTS, "ask Fyre's admin"])
def test_an_end_launches_nothing_that_was_refused_and_a_push_what_another_push_was_refused(
    world: World, remedy: str
) -> None:
    commit = world.mirrors.read_commit(REPOSITORY, world.commit())
    refused = commit_status.refused_status("fyre/run", f"it may not · {remedy}")
    seen = ObservedState(own_statuses={"fyre/run": refused}, facts=OWN)
    launched = {}
    for kind in (TriggerKind.PUSH, TriggerKind.RUN_END):
        trigger = Trigger(kind, "ada", "refs/heads/main", commit.sha)
        event = CommitEvent(REPOSITORY, commit, trigger, request.parse_message(commit.message))
        decision = plan.plan(event, seen, Policy(permission="none"), world.now)
        assert isinstance(decision, Decision)
        launched[kind] = [type(action) for action in decision.actions]
    by_push = remedy in PUSH_REFUSAL_HINTS
    assert launched == {TriggerKind.PUSH: [Launch] * by_push, TriggerKind.RUN_END: []}


@pytest.mark.parametrize("told", [commit_status.delayed_status, commit_status.given_up_status])
def test_9_26_a_run_that_its_status_calls_refused_for_now_is_launched(
    world: World, told: Callable[[str, str], CommitStatus]
) -> None:
    sha = world.commit()
    world.ledger[sha, "fyre/run"] = told("fyre/run", "exceeded quota: few" + ", more" * 30)
    assert world.push(sha) == ["launch run"]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("failure", "exit 1"), ("success", "exit 0"), ("error", "evicted"), ("pending", "running")],
)
@pytest.mark.parametrize("hint", DELAY_HINTS)
def test_9_26_no_other_status_that_ends_so_launches_a_run_again(
    world: World, state: str, outcome: str, hint: str
) -> None:
    sha = world.commit()
    world.ledger[sha, "fyre/run"] = CommitStatus("fyre/run", state, f"{outcome} · {hint}")
    assert "launch run" not in world.push(sha)


def test_9_26_a_status_of_a_refused_run_ends_as_version_0_1_needs_it_to_launch_the_run() -> None:
    status = commit_status.delayed_status("fyre/run", "x" * 200)
    assert len(status.description) <= commit_status.DESCRIPTION_MAX
    for hint in DELAY_HINTS:
        assert hint.endswith(PUSH_REFUSAL_HINTS)
    assert status.description.endswith(PUSH_REFUSAL_HINTS)
    assert parse_status(status.state, status.description).state is RunState.WAITING
