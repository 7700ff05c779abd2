"""Decide what to do about a commit, from its requests and what is known of it: a pure function.

Level-triggered: it looks at the state of things, never at which event woke it. A redelivered
webhook, a sweep, a restart and a second replica all ask the same question, and once the first
answer is carried out the next one is "nothing".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from fyre.message import fyre_ids, value_parsers
from fyre.message.request import RunRequest
from fyre.message.spec import RunSpec
from fyre.runs import access, commit_status, repo_config, state
from fyre.runs import policy as policies
from fyre.runs import run as runs
from fyre.runs.access import Allowed, Answer, AuthFacts, Denied, FactNeeded
from fyre.runs.commit_status import CommitStatus
from fyre.runs.policy import Policy
from fyre.runs.repo_config import RepoConfigError, RunDefaults
from fyre.runs.run import Commit, Repository, Run, RunRecord
from fyre.runs.status_text import (
    LOST_PREFIX,
    is_launch_delayed,
    is_push_refusal,
    parse_status,
)
from fyre.runs.trigger import Trigger, TriggerKind


@dataclass(frozen=True, slots=True)
class CommitEvent:
    """A commit, the runs that its message requests, and the trigger that brought it here."""

    repository: Repository
    commit: Commit
    trigger: Trigger
    request: RunRequest
    defaults: RunDefaults | RepoConfigError = RunDefaults()  # noqa: RUF009 - frozen, and so safe to share
    quota: Allowed | Denied = Allowed()  # noqa: RUF009 - frozen, and so safe to share
    """The answer of the caps for the whole push."""


@dataclass(frozen=True, slots=True)
class ObservedState:
    """Everything known that matters for one commit."""

    runs_on_sha: tuple[RunRecord, ...] = ()
    """Runs launched for this very SHA."""

    runs_with_fyre_id: tuple[RunRecord, ...] = ()
    """Runs launched under this commit's Fyre-Id, on any commit."""

    own_statuses: Mapping[str, CommitStatus] | None = None
    """Our statuses on this SHA by lower-case context; None: not read yet."""

    facts: AuthFacts = AuthFacts()  # noqa: RUF009 - frozen, and so safe to share

    own_run_url: str | None = None
    """URL to which the statuses lead that this engine answers for; None: it answers for all."""

    cut_short_keys: frozenset[str] = frozenset()
    """Keys of runs that the engine lost before they started."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Action: hand this run to the engine."""

    run: Run
    told_delay: str = ""
    """The status that says why an earlier try failed; "" for none."""


@dataclass(frozen=True, slots=True)
class PostStatus:
    """Action: post a status for which no engine keeps a record."""

    sha: str
    status: CommitStatus


@dataclass(frozen=True, slots=True)
class ReuseOutcome:
    """Action: let this SHA share the outcome of a run with the same tree and trailers."""

    key: str
    sha: str


Action = Launch | PostStatus | ReuseOutcome


@dataclass(frozen=True, slots=True)
class Decision:
    """The actions to be taken; empty if everything is done already."""

    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusesNeeded:
    """Read our statuses on this SHA, and plan again: they tell of runs that engines forgot."""


def plan(
    event: CommitEvent, observed: ObservedState, policy: Policy, now: float
) -> Decision | StatusesNeeded | FactNeeded:
    """Decide what to do about one commit, or say what has to be found out first."""
    if event.request.asks_nothing or is_lab_ancestor(event, policy):
        return Decision()
    requested = _requested_runs(event, policy, now)
    known = _contexts_of(observed.runs_on_sha)
    new_runs = [run for run in requested if run.context.lower() not in known]
    malformed = _malformed_statuses(event)
    if not new_runs and not malformed:
        return Decision()
    own_statuses, sha = observed.own_statuses, event.commit.sha
    if own_statuses is None:
        return StatusesNeeded()
    if malformed:
        unposted = (status for status in malformed if status.context.lower() not in own_statuses)
        return Decision(tuple(PostStatus(sha, status) for status in unposted))
    actions: list[Action] = []
    for run in new_runs:
        match _plan_run(run, event, observed, policy, now):
            case FactNeeded() as question:
                return question
            case planned:
                actions += planned
    return Decision(tuple(actions))


def run_end_trigger(event: CommitEvent, records: Iterable[RunRecord]) -> Trigger | None:
    """Return the trigger with which a commit is planned when a run of it has ended.

    It is the newest push that launched a run of this commit, by the keys of its ``records``: where
    that was launched, the rest of the message may be. None if no push has launched one: a comment
    or a click asks for what it names, and for nothing else of the message.
    """
    keys_of_push = _keys_of_push(event)
    launched = (record.run for record in records if record.run.key in keys_of_push)
    newest = max(launched, key=lambda run: run.created_at, default=None)
    if newest is None:
        return None
    return replace(event.trigger, actor=newest.actor, ref=newest.ref, head_sha=newest.sha)


def count_unlaunched(event: CommitEvent, records: Iterable[RunRecord]) -> int:
    """Return how many runs of the message have none of the commit's ``records``."""
    known = _contexts_of(records)
    return sum(f"fyre/{name}".lower() not in known for name in event.request.run_names)


def build_run(
    event: CommitEvent,
    spec: RunSpec,
    name: str,
    policy: Policy,
    *,
    key: str,
    now: float,
    attempt: int = 1,
) -> Run:
    """Build the run of a commit, with the repository's defaults applied, then the policy's."""
    defaults = event.defaults if isinstance(event.defaults, RunDefaults) else RunDefaults()
    own_policy = policies.for_repository(policy, event.repository.name)
    return Run(
        key=key,
        repository=event.repository,
        sha=event.commit.sha,
        tree=event.commit.tree,
        parents=event.commit.parents,
        ref=event.trigger.ref,
        actor=event.trigger.actor,
        name=name,
        spec=policies.apply_policy_defaults(
            own_policy, repo_config.apply_repo_defaults(spec, name, defaults)
        ),
        digest=spec.digest,
        fyre_id=event.request.fyre_id,
        attempt=attempt,
        created_at=now,
    )


def is_lab_ancestor(event: CommitEvent, policy: Policy) -> bool:
    """Return True if a commit only comes along on a lab branch, as code that a run stands on.

    Only the lab branch's own snapshots launch there.
    """
    return event.trigger.ref.startswith(policy.lab_prefix) and not event.request.fyre_from


def authorize_push(
    run: Run,
    event: CommitEvent,
    facts: AuthFacts,
    policy: Policy,
    now: float,
) -> Answer:
    """Judge whether a push may launch this run."""
    if isinstance(event.quota, Denied):
        return event.quota
    committed_at = event.commit.committed_at
    minted_at = fyre_ids.fyre_id_time(run.fyre_id) if run.fyre_id else None
    if minted_at is not None and minted_at > now + policy.max_clock_skew:
        ahead = value_parsers.format_duration(minted_at - now)
        return Denied(f"made {ahead} in the future: set the clock, amend, push again")
    made_at = committed_at if minted_at is None else min(minted_at, committed_at)
    if now - made_at > policy.history:
        days = value_parsers.format_duration(now - made_at).split(" ")[0].replace("d", " days")
        return Denied(f"made {days} ago", "/fyre rerun")
    return authorize_run(run, event, facts, policy)


def authorize_run(run: Run, event: CommitEvent, facts: AuthFacts, policy: Policy) -> Answer:
    """Judge whether the policy lets this run launch, whatever the trigger."""
    own_policy = policies.for_repository(policy, event.repository.name)
    violation = policies.find_violation(own_policy, run.spec)
    if run.actor and violation:
        return Denied(violation, f"amend, or {access.ADMIN}")
    return access.authorize(own_policy, event.trigger, event.commit.sha, facts)


def _requested_runs(event: CommitEvent, policy: Policy, now: float) -> Iterable[Run]:
    """Yield the commit's runs, with the identity that they have if their Fyre-Id is a new one."""
    request = event.request
    for spec, name, key in zip(request.runs, request.run_names, _first_keys(event), strict=True):
        yield build_run(event, spec, name, policy, key=key, now=now)


def _first_keys(event: CommitEvent) -> list[str]:
    """Return the keys of the commit's runs, in their order, if their Fyre-Id is a new one."""
    specs = event.request.runs
    identity = event.request.fyre_id or event.commit.sha
    return [
        runs.run_key(event.repository, identity, spec.digest, ordinal)
        for spec, ordinal in zip(specs, _ordinals(specs), strict=True)
    ]


def _keys_of_push(event: CommitEvent) -> set[str]:
    """Return all keys under which a push may have launched the commit's runs.

    A comment's or a click's are others: their id is hashed into them.
    """
    named_specs = zip(event.request.run_names, event.request.runs, strict=True)
    by_sha = (
        _key_by_sha(event.repository, event.commit.sha, spec.digest, name)
        for name, spec in named_specs
    )
    return {*_first_keys(event), *by_sha}


def _ordinals(specs: tuple[RunSpec, ...]) -> Iterable[int]:
    """Count equal digests from 0.

    So a message that requests the same run twice runs it twice.
    """
    counters: dict[str, count[int]] = {}
    return [next(counters.setdefault(spec.digest, count())) for spec in specs]


def _contexts_of(records: Iterable[RunRecord]) -> set[str]:
    """Return the contexts, in lower case, for which a run was launched."""
    return {record.run.context.lower() for record in records}


def _malformed_statuses(event: CommitEvent) -> tuple[CommitStatus, ...]:
    """Return the statuses for a malformed message or ``.fyre.yaml``.

    There is one for each context that the commit requests, so that each is explained.
    """
    names, problems = event.request.run_names or ("run",), event.request.problems
    if problems:
        lines = [problem.described for problem in problems]
        last_first = reversed(list(zip(problems, lines, strict=True)))
        by_run = {problem.run_index or 0: line for problem, line in last_first}
        reasons = [by_run.get(index, lines[0]) for index in range(len(names))]
    elif isinstance(event.defaults, RepoConfigError):
        reasons = [str(event.defaults)] * len(names)
    else:
        return ()
    named_reasons = zip(names, reasons, strict=True)
    return tuple(
        commit_status.malformed_status(f"fyre/{name}", reason) for name, reason in named_reasons
    )


def _plan_run(
    run: Run, event: CommitEvent, observed: ObservedState, policy: Policy, now: float
) -> tuple[Action, ...] | FactNeeded:
    """Decide what to do about one run that has no record under its own SHA."""
    posted = (observed.own_statuses or {}).get(run.context.lower())
    other_records = [record for record in observed.runs_with_fyre_id if record.run.sha != run.sha]
    twin = _newest_twin(run, other_records)
    if twin is not None:
        return () if run.sha in twin.carried else (ReuseOutcome(twin.run.key, run.sha),)
    push_was_refused = posted is not None and is_push_refusal(posted.state, posted.description)
    # Only another push may be allowed more than the one that was refused.
    is_new_push = event.trigger.kind is not TriggerKind.RUN_END
    is_delayed = posted is not None and is_launch_delayed(posted.state, posted.description)
    may_launch = is_delayed or (push_was_refused and is_new_push) or _is_cut_short(run, observed)
    if posted is not None and not may_launch:
        return _record_lost(run, posted, observed)
    if other_records and not _is_new_request(run, other_records):
        return _code_changed(run, other_records, observed)
    match authorize_push(run, event, observed.facts, policy, now):
        case FactNeeded() as question:
            return question
        case Denied() as denied:
            # One status is enough. A denial of the push is not final: somebody who may launch can
            # still merge the commit to a branch that may.
            refused = PostStatus(run.sha, commit_status.refused_status(run.context, denied.text))
            return () if push_was_refused else (refused,)
        case Allowed():
            told_delay = posted.description if posted is not None and is_delayed else ""
            return (Launch(_keyed_by_sha(run) if other_records else run, told_delay),)


def _is_cut_short(run: Run, observed: ObservedState) -> bool:
    """Return True if a run was lost before it started, under either of its keys."""
    return not observed.cut_short_keys.isdisjoint((run.key, _keyed_by_sha(run).key))


def _newest_twin(run: Run, other_records: list[RunRecord]) -> RunRecord | None:
    """Return the newest attempt at this run on a commit with the same tree, if there is one."""
    same_code_records = (
        record
        for record in other_records
        if (record.run.tree, record.run.name) == (run.tree, run.name)
    )
    twins = (
        record for record in same_code_records if _same_run_or_rerun(record, run, other_records)
    )
    return max(twins, key=lambda record: record.run.attempt, default=None)


def _same_run(record: RunRecord, run: Run) -> bool:
    """Return True if a record is of this run of the message.

    The trailers are the same, and so is its place among equals.
    """
    return record.run.digest == run.digest and record.run.name == run.name


def _same_run_or_rerun(record: RunRecord, run: Run, records: list[RunRecord]) -> bool:
    """Return True if a record is of this run, or of a later attempt at it on the same commit."""
    rerun, same_runs = record.run, (other.run for other in records if _same_run(other, run))
    rerun_checks = (first.sha == rerun.sha and first.attempt < rerun.attempt for first in same_runs)
    return _same_run(record, run) or any(rerun_checks)


def _is_new_request(run: Run, records: list[RunRecord]) -> bool:
    """Return True if a Fyre-Id that is known from other commits requests something new.

    Its trailers have changed, or its commit was amended.
    """
    same_run_records = [record for record in records if _same_run(record, run)]
    return not same_run_records or any(
        record.run.parents == run.parents for record in same_run_records
    )


def _keyed_by_sha(run: Run) -> Run:
    """Return the run identified by its SHA, because its Fyre-Id was launched before."""
    return replace(run, key=_key_by_sha(run.repository, run.sha, run.digest, run.name))


def _key_by_sha(repository: Repository, sha: str, digest: str, name: str) -> str:
    """Return the key of a run that is identified by its SHA; the name stands for the ordinal."""
    return runs.run_key(repository, sha, digest + name, 0)


def _code_changed(
    run: Run, other_records: list[RunRecord], observed: ObservedState
) -> tuple[Action, ...]:
    """Post that the commit was rebased or copied onto other code: nothing runs or turns green."""
    if commit_status.MOVED_CONTEXT in (observed.own_statuses or {}):
        return ()
    same_runs = (record.run for record in other_records if _same_run(record, run))
    newest = max(same_runs, key=lambda other: other.created_at)
    return (PostStatus(run.sha, commit_status.moved_status(newest.sha)),)


def _record_lost(run: Run, posted: CommitStatus, observed: ObservedState) -> tuple[Action, ...]:
    """Post that a run is lost if its status is pending for ever, and not another engine's."""
    if observed.own_run_url not in (None, posted.target_url):
        return ()
    if parse_status(posted.state, posted.description).state not in state.PENDING_STATES:
        return ()
    reason = f"{LOST_PREFIX}no engine knows it any more · /fyre rerun"
    lost = CommitStatus(run.context, state.to_github_state(state.RunState.ERROR), reason)
    return (PostStatus(run.sha, lost),)
