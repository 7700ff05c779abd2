"""From what is asked and what is seen to what is to be done: the decision in the middle, a pure function.

Level-triggered: it looks at what is, never at which event woke it. A redelivered webhook, a sweep, a restart and a
second replica all ask the same question, and after the first answer was carried out the next one is "nothing".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from fyre import access, ident, repofile, state, status, units
from fyre import policy as policies
from fyre import run as runs
from fyre.access import Fact, Facts, Origin
from fyre.asked import Asked
from fyre.policy import Policy
from fyre.repofile import BadFileError, Defaults
from fyre.run import Commit, Record, Repository, Run
from fyre.spec import Spec
from fyre.status import Status
from fyre.status_text import LOST_PREFIX, is_push_refusal, parse_status


@dataclass(frozen=True, slots=True)
class Heard:
    """A commit of a push, and what it asks for."""

    repository: Repository
    commit: Commit
    ref: str
    actor: str  # who pushed, as the forge says; "" when it named nobody
    asked: Asked
    defaults: Defaults | BadFileError = Defaults()  # noqa: RUF009 - a frozen record is safe to share
    over: str = ""  # why the whole push is refused
    tip: str = ""  # the SHA where the event says that the ref is now; "" for a comment


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known that bears on one commit."""

    here: tuple[Record, ...] = ()  # runs launched for this very SHA
    same_id: tuple[Record, ...] = ()  # runs launched under this commit's Fyre-Id, wherever
    posted: Mapping[str, Status] | None = None  # our statuses on this SHA by lower-case context; None: not read yet
    facts: Facts = Facts()  # noqa: RUF009 - a frozen record is safe to share
    ours: str | None = None  # where the statuses lead that this engine answers for; None: all of them are


@dataclass(frozen=True, slots=True)
class Launch:
    """Hand this run to the engine."""

    run: Run


@dataclass(frozen=True, slots=True)
class Post:
    """Write a status for which no engine keeps a record."""

    sha: str
    status: Status


@dataclass(frozen=True, slots=True)
class Carry:
    """Let this SHA share the outcome of a run: same tree, same trailers."""

    key: str
    sha: str


@dataclass(frozen=True, slots=True)
class Look:
    """Read our statuses on this SHA, and plan again: the ledger remembers what engines forgot."""

    sha: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Find this out, and plan again: it decides whether the commit may launch."""

    fact: Fact


Action = Launch | Post | Carry | Look | Ask


def plan(heard: Heard, observed: Observed, policy: Policy, now: float) -> tuple[Action, ...]:
    """What to do about one commit. Empty when all of it is done already."""
    if not (heard.asked.runs or heard.asked.problems) or only_passing_by(heard, policy):
        return ()
    open_ = [run for run in _wanted(heard, policy, now) if not _launched_here(run, observed)]
    spoilt = _spoilt(heard)
    if not open_ and not spoilt:
        return ()
    if observed.posted is None:
        return (Look(heard.commit.sha),)
    if spoilt:
        return tuple(Post(heard.commit.sha, s) for s in spoilt if s.context.lower() not in observed.posted)
    actions = tuple(action for run in open_ for action in _decide(run, heard, observed, policy, now))
    return next(((one,) for one in actions if isinstance(one, Ask)), actions)


def as_run(heard: Heard, spec: Spec, name: str, policy: Policy, *, key: str, now: float, attempt: int = 1) -> Run:
    """The run of a commit, with the repository's defaults settled, then the policy's."""
    defaults = heard.defaults if isinstance(heard.defaults, Defaults) else Defaults()
    return Run(
        key=key,
        repository=heard.repository,
        sha=heard.commit.sha,
        tree=heard.commit.tree,
        parents=heard.commit.parents,
        ref=heard.ref,
        actor=heard.actor,
        name=name,
        spec=policies.settle(policies.of(policy, heard.repository.name), repofile.settle(spec, name, defaults)),
        digest=spec.digest,
        fyre_id=heard.asked.fyre_id,
        attempt=attempt,
        created_at=now,
    )


def only_passing_by(heard: Heard, policy: Policy) -> bool:
    """On a lab branch the code that a run stands on comes along; only the notebook's own entries launch."""
    return heard.ref.startswith(policy.lab) and not heard.asked.fyre_from


def _wanted(heard: Heard, policy: Policy, now: float) -> Iterable[Run]:
    """The commit's runs under the identity they have when nothing of this Fyre-Id was launched before."""
    identity = heard.asked.fyre_id or heard.commit.sha
    for spec, name, ordinal in zip(heard.asked.runs, heard.asked.names, _ordinals(heard.asked.runs), strict=True):
        key = runs.key(heard.repository, identity, spec.digest, ordinal)
        yield as_run(heard, spec, name, policy, key=key, now=now)


def _ordinals(specs: tuple[Spec, ...]) -> Iterable[int]:
    """Count equal digests from 0, so that asking twice for the same runs it twice."""
    counters: dict[str, count[int]] = {}
    return [next(counters.setdefault(spec.digest, count())) for spec in specs]


def _launched_here(run: Run, observed: Observed) -> bool:
    return any(record.run.context.lower() == run.context.lower() for record in observed.here)


def _spoilt(heard: Heard) -> tuple[Status, ...]:
    """What a malformed message or ``.fyre.yaml`` says under each context it asked for: none is left in the dark."""
    names = heard.asked.names or ("run",)
    if heard.asked.problems:
        of_run = {p.run or 0: f"line {p.line}: {p.message}" for p in reversed(heard.asked.problems)}
        first = f"line {heard.asked.problems[0].line}: {heard.asked.problems[0].message}"
        return tuple(status.malformed(f"fyre/{name}", of_run.get(i, first)) for i, name in enumerate(names))
    if isinstance(heard.defaults, BadFileError):
        return tuple(status.malformed(f"fyre/{name}", str(heard.defaults)) for name in names)
    return ()


def _decide(run: Run, heard: Heard, observed: Observed, policy: Policy, now: float) -> Iterable[Action]:
    """One run that has no record under its own SHA."""
    posted = (observed.posted or {}).get(run.context.lower())
    known = [record for record in observed.same_id if record.run.sha != run.sha]
    twins = [r for r in known if r.run.tree == run.tree and r.run.name == run.name and _same_or_rerun(r, run, known)]
    twin = max(twins, key=lambda r: r.run.attempt, default=None)
    if twin is not None:
        return () if run.sha in twin.carried else (Carry(twin.run.key, run.sha),)
    turned_away = posted is not None and is_push_refusal(posted.state, posted.description)
    if posted is not None and not turned_away:
        return _forgotten(run, posted, observed)
    if known and not _asks_anew(run, known):
        return _moved(run, known, observed)
    reason = refusal(run, heard, observed.facts, policy, now)
    if isinstance(reason, Fact):
        return (Ask(reason),)
    if reason:
        # Once is enough. A refusal of the push is no last word: somebody who may merges the commit to where it may.
        return () if turned_away else (Post(run.sha, status.refused(run.context, reason)),)
    return (Launch(_on_its_own(run) if known else run),)


def refusal(run: Run, heard: Heard, facts: Facts, policy: Policy, now: float) -> Fact | str:
    """Why a push may not launch this run, or the fact that decides it; "" when it may."""
    if heard.over:
        return heard.over
    minted = ident.minted_at(run.fyre_id) if run.fyre_id else None
    if minted is not None and minted > now + policy.ahead:
        return f"made {units.text_of(minted - now)} in the future: set the clock, amend, push again"
    made = heard.commit.committed_at if minted is None else min(minted, heard.commit.committed_at)
    if now - made > policy.history:
        return f"made {units.text_of(now - made).split(' ')[0].replace('d', ' days')} ago · /fyre rerun"
    return forbidden(run, heard, facts, policy)


def forbidden(run: Run, heard: Heard, facts: Facts, policy: Policy) -> Fact | str:
    """What the policy has against this run, by whatever way it was asked for, or the fact that decides it."""
    here = policies.of(policy, heard.repository.name)
    offence = policies.offence(here, run.spec)
    if run.actor and offence:
        return access.mended(offence, f"amend, or {access.ADMIN}")
    return access.verdict(here, Origin(run.actor, heard.ref, at_tip=heard.commit.sha == heard.tip), facts)


def _same_run(record: Record, run: Run) -> bool:
    """Whether a record is this run of the message: the trailers are the same, and so is its place among equals."""
    return record.run.digest == run.digest and record.run.name == run.name


def _same_or_rerun(record: Record, run: Run, known: list[Record]) -> bool:
    """Whether a record is this run of the message, or a later attempt at it on the same commit."""
    return _same_run(record, run) or any(
        _same_run(first, run) and first.run.sha == record.run.sha and first.run.attempt < record.run.attempt
        for first in known
    )


def _asks_anew(run: Run, known: list[Record]) -> bool:
    """Whether a Fyre-Id seen elsewhere asks for something new: changed trailers, or an amended commit."""
    same = [record for record in known if _same_run(record, run)]
    return not same or any(record.run.parents == run.parents for record in same)


def _on_its_own(run: Run) -> Run:
    """The run identified by its SHA, because its Fyre-Id was launched before; the name stands for the ordinal."""
    return replace(run, key=runs.key(run.repository, run.sha, run.digest + run.name, 0))


def _moved(run: Run, known: list[Record], observed: Observed) -> Iterable[Action]:
    """Rebased or copied onto other code: nothing runs, and nothing turns green."""
    if status.MOVED_CONTEXT in (observed.posted or {}):
        return ()
    ran_at = next(record for record in known if _same_run(record, run)).run.sha
    return (Post(run.sha, status.moved(ran_at)),)


def _forgotten(run: Run, posted: Status, observed: Observed) -> Iterable[Action]:
    """No engine knows it, the ledger does: leave it alone, but let no pending stand for ever, if it is ours."""
    if observed.ours not in (None, posted.target_url):
        return ()
    if parse_status(posted.state, posted.description).state in state.PENDING:
        lost = Status(
            run.context, state.on_github(state.State.ERROR), f"{LOST_PREFIX}no engine knows it any more · /fyre rerun"
        )
        return (Post(run.sha, lost),)
    return ()
