"""Decide what to do about a commit, from what it requests and what is known of it: a pure function.

Level-triggered: it looks at what is, never at which event woke it. A redelivered webhook, a sweep,
a restart and a second replica all ask the same question, and after the first answer was carried out
the next one is "nothing".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from fyre.message import fyre_ids, notation
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
from fyre.runs.status_text import LOST_PREFIX, is_push_refusal, parse_status
from fyre.runs.trigger import Trigger


@dataclass(frozen=True, slots=True)
class CommitEvent:
    """A commit, what its message requests, and what brought it here."""

    repository: Repository
    commit: Commit
    trigger: Trigger
    request: RunRequest
    defaults: RunDefaults | RepoConfigError = RunDefaults()  # noqa: RUF009 - frozen, and so safe to share
    quota: Allowed | Denied = Allowed()  # noqa: RUF009 - frozen, and so safe to share
    """What the caps say of the whole push."""


@dataclass(frozen=True, slots=True)
class ObservedState:
    """What is known that bears on one commit."""

    runs_on_sha: tuple[RunRecord, ...] = ()
    """Runs launched for this very SHA."""

    runs_with_fyre_id: tuple[RunRecord, ...] = ()
    """Runs launched under this commit's Fyre-Id, on whatever commit."""

    own_statuses: Mapping[str, CommitStatus] | None = None
    """Our statuses on this SHA by lower-case context; None: not read yet."""

    facts: AuthFacts = AuthFacts()  # noqa: RUF009 - frozen, and so safe to share

    own_run_url: str | None = None
    """Where the statuses lead that this engine answers for; None: all of them are."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Hand this run to the engine."""

    run: Run


@dataclass(frozen=True, slots=True)
class PostStatus:
    """Write a status for which no engine keeps a record."""

    sha: str
    status: CommitStatus


@dataclass(frozen=True, slots=True)
class ReuseOutcome:
    """Let this SHA share the outcome of a run: same tree, same trailers."""

    key: str
    sha: str


Action = Launch | PostStatus | ReuseOutcome


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done; empty when all of it is done already."""

    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusesNeeded:
    """Read our statuses on this SHA, and plan again: the ledger remembers what engines forgot."""


def plan(
    event: CommitEvent, observed: ObservedState, policy: Policy, now: float
) -> Decision | StatusesNeeded | FactNeeded:
    """Decide what to do about one commit, or say what has to be found out first."""
    requests_something = event.request.runs or event.request.problems
    if not requests_something or is_lab_ancestor(event, policy):
        return Decision()
    requested = _requested_runs(event, policy, now)
    new_runs = [run for run in requested if not _has_record(run, observed)]
    malformed = _malformed_statuses(event)
    if not new_runs and not malformed:
        return Decision()
    posted, sha = observed.own_statuses, event.commit.sha
    if posted is None:
        return StatusesNeeded()
    if malformed:
        unsaid = (one for one in malformed if one.context.lower() not in posted)
        return Decision(tuple(PostStatus(sha, one) for one in unsaid))
    actions: list[Action] = []
    for run in new_runs:
        match _plan_run(run, event, observed, policy, now):
            case FactNeeded() as question:
                return question
            case planned:
                actions += planned
    return Decision(tuple(actions))


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

    Only the notebook's own entries launch there.
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
        ahead = notation.format_duration(minted_at - now)
        return Denied(f"made {ahead} in the future: set the clock, amend, push again")
    made_at = committed_at if minted_at is None else min(minted_at, committed_at)
    if now - made_at > policy.history:
        days = notation.format_duration(now - made_at).split(" ")[0].replace("d", " days")
        return Denied(f"made {days} ago", "/fyre rerun")
    return authorize_run(run, event, facts, policy)


def authorize_run(run: Run, event: CommitEvent, facts: AuthFacts, policy: Policy) -> Answer:
    """Judge whether the policy lets this run launch, by whatever way it was asked for."""
    own_policy = policies.for_repository(policy, event.repository.name)
    violation = policies.find_violation(own_policy, run.spec)
    if run.actor and violation:
        return Denied(violation, f"amend, or {access.ADMIN}")
    return access.authorize(own_policy, event.trigger, event.commit.sha, facts)


def _requested_runs(event: CommitEvent, policy: Policy, now: float) -> Iterable[Run]:
    """Yield the commit's runs under the identity that they have if their Fyre-Id is a new one."""
    request = event.request
    identity = request.fyre_id or event.commit.sha
    ordinals = _ordinals(request.runs)
    for spec, name, ordinal in zip(request.runs, request.run_names, ordinals, strict=True):
        key = runs.run_key(event.repository, identity, spec.digest, ordinal)
        yield build_run(event, spec, name, policy, key=key, now=now)


def _ordinals(specs: tuple[RunSpec, ...]) -> Iterable[int]:
    """Count equal digests from 0, so that asking twice for the same runs it twice."""
    counters: dict[str, count[int]] = {}
    return [next(counters.setdefault(spec.digest, count())) for spec in specs]


def _has_record(run: Run, observed: ObservedState) -> bool:
    context = run.context.lower()
    return any(record.run.context.lower() == context for record in observed.runs_on_sha)


def _malformed_statuses(event: CommitEvent) -> tuple[CommitStatus, ...]:
    """Return what a malformed message or ``.fyre.yaml`` says under each context it asks for.

    None is left in the dark.
    """
    names, problems = event.request.run_names or ("run",), event.request.problems
    if problems:
        lines = [f"line {problem.line}: {problem.message}" for problem in problems]
        first_last = reversed(list(zip(problems, lines, strict=True)))
        by_run = {problem.run_index or 0: line for problem, line in first_last}
        reasons = [by_run.get(index, lines[0]) for index in range(len(names))]
    elif isinstance(event.defaults, RepoConfigError):
        reasons = [str(event.defaults)] * len(names)
    else:
        return ()
    told = zip(names, reasons, strict=True)
    return tuple(commit_status.malformed_status(f"fyre/{name}", reason) for name, reason in told)


def _plan_run(
    run: Run, event: CommitEvent, observed: ObservedState, policy: Policy, now: float
) -> tuple[Action, ...] | FactNeeded:
    """Decide what to do about one run that has no record under its own SHA."""
    posted = (observed.own_statuses or {}).get(run.context.lower())
    known = [record for record in observed.runs_with_fyre_id if record.run.sha != run.sha]
    twin = _newest_twin(run, known)
    if twin is not None:
        return () if run.sha in twin.carried else (ReuseOutcome(twin.run.key, run.sha),)
    turned_away = posted is not None and is_push_refusal(posted.state, posted.description)
    if posted is not None and not turned_away:
        return _record_lost(run, posted, observed)
    if known and not _is_new_request(run, known):
        return _code_changed(run, known, observed)
    match authorize_push(run, event, observed.facts, policy, now):
        case FactNeeded() as question:
            return question
        case Denied() as denied:
            # Once is enough. A denial of the push is no last word: somebody who may merges the
            # commit to where it may.
            refused = PostStatus(run.sha, commit_status.refused_status(run.context, denied.text))
            return () if turned_away else (refused,)
        case Allowed():
            return (Launch(_keyed_by_sha(run) if known else run),)


def _newest_twin(run: Run, known: list[RunRecord]) -> RunRecord | None:
    """Return the newest attempt at this run on a commit with the same tree, if there is one."""
    same_code = (one for one in known if (one.run.tree, one.run.name) == (run.tree, run.name))
    twins = (record for record in same_code if _same_run_or_rerun(record, run, known))
    return max(twins, key=lambda record: record.run.attempt, default=None)


def _same_run(record: RunRecord, run: Run) -> bool:
    """Return True if a record is this run of the message.

    The trailers are the same, and so is its place among equals.
    """
    return record.run.digest == run.digest and record.run.name == run.name


def _same_run_or_rerun(record: RunRecord, run: Run, known: list[RunRecord]) -> bool:
    """Return True if a record is this run, or a later attempt at it on the same commit."""
    again, same = record.run, (one.run for one in known if _same_run(one, run))
    is_rerun = (first.sha == again.sha and first.attempt < again.attempt for first in same)
    return _same_run(record, run) or any(is_rerun)


def _is_new_request(run: Run, known: list[RunRecord]) -> bool:
    """Return True if a Fyre-Id seen elsewhere asks for something new.

    Its trailers have changed, or its commit was amended.
    """
    same = [record for record in known if _same_run(record, run)]
    return not same or any(record.run.parents == run.parents for record in same)


def _keyed_by_sha(run: Run) -> Run:
    """Return the run identified by its SHA, because its Fyre-Id was launched before.

    The name stands for the ordinal.
    """
    return replace(run, key=runs.run_key(run.repository, run.sha, run.digest + run.name, 0))


def _code_changed(run: Run, known: list[RunRecord], observed: ObservedState) -> tuple[Action, ...]:
    """Say that it was rebased or copied onto other code: nothing runs, and nothing turns green."""
    if commit_status.MOVED_CONTEXT in (observed.own_statuses or {}):
        return ()
    ran_at = next(record for record in known if _same_run(record, run)).run.sha
    return (PostStatus(run.sha, commit_status.moved_status(ran_at)),)


def _record_lost(run: Run, posted: CommitStatus, observed: ObservedState) -> tuple[Action, ...]:
    """Leave alone what the ledger knows and no engine does; but no pending may stand for ever.

    Another engine's pending may.
    """
    if observed.own_run_url not in (None, posted.target_url):
        return ()
    if parse_status(posted.state, posted.description).state not in state.PENDING_STATES:
        return ()
    reason = f"{LOST_PREFIX}no engine knows it any more · /fyre rerun"
    lost = CommitStatus(run.context, state.to_github_state(state.RunState.ERROR), reason)
    return (PostStatus(run.sha, lost),)
