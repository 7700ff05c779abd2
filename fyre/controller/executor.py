"""Execute the plan: read commits, fetch the facts that the policy needs, carry out actions.

Nothing is decided here: ``fyre.runs.plan`` and ``fyre.runs.access`` decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from fyre.controller.delayed_launches import DelayedLaunches
from fyre.controller.launch_delays import EqualRefusals, LaunchDelays, LaunchPass
from fyre.controller.origin_facts import OriginFacts
from fyre.controller.ttl_cache import TTLCache
from fyre.engines.protocol import Engine, cut_short_keys
from fyre.engines.run_index import RunIndex
from fyre.errors import TooLargeError, TransientError, UserError
from fyre.github import permissions
from fyre.github.client import GitHubClient
from fyre.github.errors import NEEDS_OPERATOR, NotFoundError, NotVisibleError, UnauthenticatedError
from fyre.message import request as message_request
from fyre.message.request import MessageProblem, RunRequest
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs import access, commit_status, plan, repo_config
from fyre.runs import policy as policies
from fyre.runs.access import (
    Allowed,
    AuthFact,
    AuthFacts,
    Denied,
    FactNeeded,
    Usage,
)
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
from fyre.runs.run import Commit, Repository, Run, RunRecord
from fyre.runs.run_query import RunQuery
from fyre.runs.state import PENDING_STATES
from fyre.runs.trigger import Trigger, TriggerKind

FACT_TTL = 60.0
"""Seconds for which GitHub's answer about a person or a signature is kept: a right that was taken
away still counts for so long."""

API_LAG_MAX = 300.0
"""Seconds after a push for which GitHub's API may not list it yet, or not know its commits."""

ANCESTORS_MAX = 10_000
"""Commits below the head of a branch among which a pushed one is looked for; no push has more."""


class CommitReader(Protocol):
    """Read commits and files: from mirrors on this machine, or from the forge itself."""

    def read_commit(self, repository: Repository, sha: str) -> Commit:
        """Return the facts of a commit. Raises ``NotFoundError``."""
        ...

    def find_commit(self, repository: Repository, sha: str) -> Commit | None:
        """Return a commit that is on this machine already, or None."""
        ...

    def read_file(self, repository: Repository, sha: str, path: str) -> bytes | None:
        """Return a file of a commit, or None."""
        ...

    def list_ancestors(self, repository: Repository, head_sha: str, limit: int) -> list[str]:
        """Return the newest ``limit`` SHAs of a commit and its ancestors, oldest first.

        Raises ``NotFoundError``.
        """
        ...

    def branches_containing(self, repository: Repository, sha: str) -> list[str]:
        """Return the branches (``refs/heads/…``) that a commit is on."""
        ...

    def pull_head(self, repository: Repository, pull_number: int) -> str:
        """Return the SHA of a pull request's head, once it and its ancestors can be read.

        Raises ``NotFoundError``.
        """
        ...


@dataclass
class Executor:
    """Everything that the plan's questions and actions need. Thread-safe.

    One thread at a time plans and executes what is about a repository.
    """

    forge: GitHubClient
    commit_reader: CommitReader
    engine: Engine
    index: RunIndex
    reporter: StatusReporter
    policy: Policy = field(default_factory=Policy)
    clock: Callable[[], float] = time.time
    own_run_url: str | None = None
    """The target URL of the statuses that this engine reports; None if it reports all of them."""

    is_known_without_pulls: Callable[[Repository], bool] = lambda _: False
    """Return True if a repository is known, without a request, to have no pull request."""

    launch_delays: LaunchDelays = field(init=False)
    delayed_clicks: DelayedLaunches = field(default_factory=DelayedLaunches)
    delayed_comments: DelayedLaunches = field(default_factory=DelayedLaunches)

    _facts: TTLCache = field(default_factory=lambda: TTLCache(FACT_TTL, 10_000))
    _origins: OriginFacts = field(default_factory=OriginFacts)
    _ancestors: TTLCache = field(default_factory=lambda: TTLCache(FACT_TTL, 4))
    """Few, as each holds SHAs by the thousand."""

    def __post_init__(self) -> None:
        """Have the refusals of launches told by the reporter."""
        self.launch_delays = LaunchDelays(self.reporter)

    def read_request(
        self,
        repository: Repository,
        sha: str,
        trigger: Trigger,
    ) -> CommitEvent | None:
        """Read a commit and what its message requests; return None if that is nothing."""
        commit = self.commit_reader.read_commit(repository, sha)
        request = _parse_request(commit)
        if request.asks_nothing:
            return None
        return CommitEvent(
            repository, commit, trigger, request, self.read_defaults(repository, sha)
        )

    def read_event(self, repository: Repository, sha: str, trigger: Trigger) -> CommitEvent:
        """Read a commit, and what its message requests, if anything.

        Raises ``NotFoundError``, ``TransientError``.
        """
        commit = self.commit_reader.read_commit(repository, sha)
        request = _parse_request(commit)
        if request.asks_nothing:
            request = RunRequest()
        return CommitEvent(
            repository, commit, trigger, request, self.read_defaults(repository, sha)
        )

    def read_defaults(self, repository: Repository, sha: str) -> RunDefaults | RepoConfigError:
        """Return the repository's ``.fyre.yaml`` at that commit, or what is wrong with it."""
        try:
            content = self.commit_reader.read_file(repository, sha, repo_config.CONFIG_PATH)
            return (
                repo_config.parse_repo_config(content.decode("utf-8", "replace"))
                if content
                else RunDefaults()
            )
        except TooLargeError:
            return repo_config.too_large_error("")
        except RepoConfigError as error:
            return error

    def runs_on_commit(self, repository: Repository, sha: str) -> tuple[RunRecord, ...]:
        """Return the runs of a SHA: those whose outcome it shares, then its own."""
        request = RunRequest()
        with suppress(NotFoundError):  # a commit of a fork of which nothing ran
            request = _parse_request(self.commit_reader.read_commit(repository, sha))
        return self.index.find_on_commit(repository.id, sha, request.fyre_id)

    def known_runs_on_commit(self, repository: Repository, sha: str) -> tuple[RunRecord, ...]:
        """Return the same as far as it is known without a fetch."""
        commit = self.commit_reader.find_commit(repository, sha)
        fyre_id = _parse_request(commit).fyre_id if commit is not None else ""
        return self.index.find_on_commit(repository.id, sha, fyre_id)

    def decide(self, event: CommitEvent) -> tuple[Action, ...]:
        """Return what the plan wants done about a commit, after answering all of its questions.

        Raises ``TransientError``.
        """
        repository, sha = event.repository, event.commit.sha
        observed = ObservedState(
            self.index.find_by_sha(repository.id, sha),
            self.index.find_by_fyre_id(repository.id, event.request.fyre_id),
            own_run_url=self.own_run_url,
            cut_short_keys=cut_short_keys(self.engine),
        )
        while True:
            match plan.plan(event, observed, self.policy, self.clock()):
                case Decision(actions):
                    return actions
                case StatusesNeeded():
                    posted = self.reporter.read_statuses(repository, sha)
                    observed = replace(observed, own_statuses=posted)
                case FactNeeded(fact):
                    facts = self.fetch_fact(event, fact, observed.facts)
                    observed = replace(observed, facts=facts)

    def authorize_run(self, run: Run, event: CommitEvent) -> Allowed | Denied:
        """Return what the policy says of a run that a comment asks for.

        Raises ``TransientError``.
        """
        facts = AuthFacts()
        while True:
            match plan.authorize_run(run, event, facts, self.policy):
                case FactNeeded(fact):
                    facts = self.fetch_fact(event, fact, facts)
                case verdict:
                    return verdict

    def check_quota(self, repository: Repository, requested: int) -> Allowed | Denied:
        """Return what the quotas of a repository say of so many additional runs."""
        policy = policies.for_repository(self.policy, repository.name)
        has_quota = policy.runs_at_once is not None or policy.runs_per_day is not None
        usage = self._usage(repository) if has_quota else Usage()
        return access.check_quota(policy, requested, usage)

    def _usage(self, repository: Repository) -> Usage:
        """Count the runs of a repository each time: a counter that is kept would drift."""
        unfinished = RunQuery(repository_id=repository.id, states=PENDING_STATES)
        today = RunQuery(repository_id=repository.id, created_after=self.clock() - DAY)
        return Usage(*(len(self.engine.query_runs(query)) for query in (unfinished, today)))

    def fetch_fact(self, event: CommitEvent, fact: AuthFact, facts: AuthFacts) -> AuthFacts:
        """Return the facts with one more of them; a refusal of GitHub to say is a fact as well.

        Raises ``TransientError``.
        """
        try:
            match fact:
                case AuthFact.ROLE:
                    return replace(facts, role=self._role(event))
                case AuthFact.TEAM:
                    return replace(facts, team=self._is_team_member(event))
                case AuthFact.SIGNATURE:
                    return replace(facts, signature=self._signature(event))
                case AuthFact.BRANCH:
                    return replace(facts, branch=self._is_on_branch(event))
                case AuthFact.ORIGIN:
                    without_pulls = self.is_known_without_pulls
                    origin = self._origins.find(self.forge, event, without_pulls)
                    return replace(facts, origin=origin)
        except UnauthenticatedError as error:
            # It says nothing of who pushed: somebody has to fix our credential.
            raise TransientError(error.message) from error
        except UserError as error:
            trigger = event.trigger
            is_new = abs(self.clock() - trigger.at) < API_LAG_MAX
            if isinstance(error, NotFoundError) and trigger.kind is TriggerKind.PUSH and is_new:
                raise TransientError(error.message) from error
            return replace(facts, denied=error.message)

    def _role(self, event: CommitEvent) -> str:
        repository, actor = event.repository, event.trigger.actor
        ask = partial(permissions.get_role, self.forge, repository, actor)
        return self._facts.get((AuthFact.ROLE, repository.id, actor), ask)

    def _is_team_member(self, event: CommitEvent) -> bool:
        repository, actor = event.repository, event.trigger.actor
        ask = partial(permissions.is_team_member, self.forge, repository)
        return any(
            self._facts.get((AuthFact.TEAM, team, actor), partial(ask, team, actor))
            for team in policies.for_repository(self.policy, repository.name).teams
        )

    def _signature(self, event: CommitEvent) -> str:
        repository, sha = event.repository, event.commit.sha
        ask = partial(permissions.get_signature_state, self.forge, repository, sha)
        return self._facts.get((AuthFact.SIGNATURE, repository.id, sha), ask)

    def _is_on_branch(self, event: CommitEvent) -> bool:
        """Return True if a commit is on the branch that its trigger needs.

        For a push that is below the pushed head, or on the branch if that head was taken back
        since. For a comment it is any branch that may launch, now or when the commit was launched
        there.
        """
        if event.trigger.ref:
            return self._is_on_ref(event.repository, event.commit.sha, event.trigger)
        repository, sha = event.repository, event.commit.sha
        policy = policies.for_repository(self.policy, repository.name)
        launched_refs = (record.run.ref for record in self.index.find_by_sha(repository.id, sha))
        if any(access.may_launch(policy, ref) for ref in launched_refs):
            return True
        branches = self.commit_reader.branches_containing(repository, sha)
        return any(access.may_launch(policy, ref) for ref in branches)

    def _is_on_ref(self, repository: Repository, sha: str, trigger: Trigger) -> bool:
        head = trigger.head_sha

        def ancestors() -> frozenset[str]:
            return frozenset(self.commit_reader.list_ancestors(repository, head, ANCESTORS_MAX))

        try:
            return sha in self._ancestors.get((repository.id, head), ancestors)
        except NotVisibleError:
            raise
        except NotFoundError:
            return trigger.ref in self.commit_reader.branches_containing(repository, sha)

    def process_commit(self, event: CommitEvent, equal: EqualRefusals | None = None) -> None:
        """Plan a commit and execute the plan. Raises ``TransientError`` if a part is left to do.

        A run that the engine refuses for now says so on the commit, and keeps no other from being
        launched. ``equal`` is shared by the commits of a push.
        """
        repository = event.repository
        launches = LaunchPass(partial(self._launch, repository), equal)
        for action in self.decide(event):
            if isinstance(action, Launch):
                self._launch_or_tell(repository, action, launches)
            else:
                self.execute(repository, action)
        self.launch_delays.forget_others(repository, event.commit.sha, launches.refusals)
        launches.end()

    def _launch_or_tell(self, repository: Repository, action: Launch, launches: LaunchPass) -> None:
        """Launch a run; where it is refused for now, say so on its commit."""
        run = action.run
        was_queued = self.reporter.drop_status(repository, run.sha, run.context)
        refusal = launches.launch(run)
        if refusal is not None:
            told = "" if was_queued else action.told_delay
            self.launch_delays.tell(repository, run.sha, run.context, str(refusal), told)

    def execute(self, repository: Repository, action: Action) -> None:
        """Carry out one action. Raises ``TransientError`` if it may work later."""
        match action:
            case Launch(run):
                self._launch(repository, run)
            case ReuseOutcome(key, sha):
                self._reuse_outcome(repository, key, sha)
            case PostStatus(sha, status):
                self.reporter.queue_status(repository, sha, status)

    def _launch(self, repository: Repository, run: Run) -> None:
        self.reporter.drop_status(repository, run.sha, run.context)
        try:
            self.engine.launch(run)
        except NEEDS_OPERATOR as error:
            raise TransientError(error.message) from error
        except UserError as error:
            status = commit_status.malformed_status(run.context, error.message)
            self.reporter.queue_status(repository, run.sha, status)
        else:
            self.index.add_run(run)
            self.reporter.on_record_change(run.key)
        self.launch_delays.forget(repository, run.sha, run.context)

    def _reuse_outcome(self, repository: Repository, key: str, sha: str) -> None:
        record = self.engine.get_record(key)
        if record is not None:
            self.reporter.drop_status(repository, sha, record.run.context)
            self.engine.annotate(key, carried=tuple(dict.fromkeys((*record.carried, sha))))
            self.reporter.on_record_change(key)


def _parse_request(commit: Commit) -> RunRequest:
    """Return what a commit requests; if its message is not read, the problem with it."""
    if commit.message_problem:
        return RunRequest(problems=(MessageProblem(0, commit.message_problem),))
    return message_request.parse_message(commit.message)
