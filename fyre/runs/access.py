"""Judge who may launch, from which ref, and how much at once, by the admin's rules. Pure.

The answer is ``Allowed``, ``Denied``, or ``FactNeeded`` if a rule can't be judged yet, so that the
forge is asked only for facts that decide, and for nothing if a commit requests nothing. Identity is
the actor whom the forge names, never what a commit says of its author. Every denial by a rule ends
with somebody who can change it.

Forks: a push to a fork is a push to another repository, which ``Policy.repositories`` has to name.
A forge shows a fork's commits under its parent's SHAs as well, so a commit that is not the branch's
tip has to be an ancestor of it. If the policy allows it, a fork's pull request takes the branch's
place, for one SHA that a comment approves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase

from fyre.runs import commit_status
from fyre.runs.policy import Policy
from fyre.runs.status_text import PUSH_REFUSAL_HINTS, REFUSED, SEPARATOR
from fyre.runs.trigger import Trigger, TriggerKind

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
"""Roles that somebody may have in a repository, in GitHub's words, the least first."""

VALID = "valid"
"""The forge's word for a signature that it has verified."""

ADMIN = "ask Fyre's admin"
"""Remedy for what the policy says."""

(
    _OWN_ACCOUNT,
    _TO_ANOTHER,
    _TO_BRANCH,
    _REPOSITORY_ADMIN,
    _TEAM_MAINTAINER,
    _FEWER,
) = PUSH_REFUSAL_HINTS
"""The remedies of denials that are of the push (who, where, how many), not of the commit itself.

Such a denial is no last word: else whoever may not launch could bar a commit by being the first to
push it.
"""

RERUN = "/fyre rerun"
"""Remedy for what somebody who may write has to read first."""

_LATER = "/fyre rerun later"


class AuthFact(Enum):
    """A fact that only the forge or the repository can tell."""

    ROLE = auto()
    TEAM = auto()
    SIGNATURE = auto()
    BRANCH = auto()
    ORIGIN = auto()


@dataclass(frozen=True, slots=True)
class CommitOrigin:
    """The writer of a pushed commit's message, where that is not somebody who may push.

    The pusher is trusted, but whoever merges a pull request pushes text of other people.
    """

    writer: str = ""
    """A login or another name; "" if the text is of those who may push."""

    missing_right: str = ""
    """The right without which the forge can't be asked for pull requests; then ``writer`` is only
    whom the forge takes for the author."""

    problem: str = ""
    """Why the writer can't be found out."""


@dataclass(frozen=True, slots=True)
class AuthFacts:
    """The facts that are known so far; None for those that were not asked for yet."""

    role: str | None = None
    """One of ``ROLES``."""

    team: bool | None = None
    """True if the actor is in one of the policy's teams."""

    signature: str | None = None
    """``VALID``, else the forge's word for why it is not."""

    branch: bool | None = None
    """True if the commit is on the trigger's ref, or, without one, on any that may launch."""

    origin: CommitOrigin | None = None

    denied: str = ""
    """Why a question got no answer."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Answer: no rule objects."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Answer: it may not launch. It holds why, and what somebody can do about it."""

    reason: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """The reason and the remedy; the reason is cut if a status can't hold both."""
        if not self.remedy:
            return self.reason
        ending = SEPARATOR + self.remedy
        room = commit_status.DESCRIPTION_MAX - len(REFUSED) - len(ending)
        reason = self.reason
        return (reason if len(reason) <= room else reason[: room - 1] + "…") + ending


@dataclass(frozen=True, slots=True)
class FactNeeded:
    """Answer: it can't be judged yet. Find this fact out, and ask again."""

    fact: AuthFact


@dataclass(frozen=True, slots=True)
class Usage:
    """The runs that a repository has launched already."""

    at_once: int = 0
    """Runs that have not ended."""

    today: int = 0
    """Runs launched in the last 24 hours, reruns included."""


Answer = Allowed | Denied | FactNeeded


def authorize(policy: Policy, trigger: Trigger, sha: str, facts: AuthFacts) -> Answer:
    """Judge whether this trigger may launch runs of a commit, by the policy of its repository."""
    return next(_objections(policy, trigger, sha, facts), Allowed())


def may_launch(policy: Policy, ref: str) -> bool:
    """Return True if the policy lets a ref launch.

    It is a branch (``refs/heads/…``), or a fork's commit that was approved (``refs/pull/7/head``);
    no other kind of ref ever may.
    """
    if ref.startswith("refs/pull/"):
        return policy.approved_forks
    branch = ref.removeprefix("refs/heads/")
    return branch != ref and any(fnmatchcase(branch, glob) for glob in policy.refs)


def may_write(role: str) -> bool:
    """Return True if a role may push."""
    return _role_rank(role) >= ROLES.index("write")


def check_quota(policy: Policy, requested: int, usage: Usage) -> Allowed | Denied:
    """Judge whether so many runs together are too many.

    Runs that exceed a cap are refused, and do not wait: to wait would take a queue of Fyre's own
    that survives restarts, and clusters have better ones (a profile's ``queue``). A push is refused
    as a whole: nobody wants a random half of it. Several receivers count each for themselves, so
    pushes at the same moment may pass a cap together.
    """
    at_once, per_day = policy.runs_at_once, policy.runs_per_day
    if requested > policy.runs_per_push:
        limit = f"at most {policy.runs_per_push} are taken at once"
        return Denied(f"this push asks for {requested} runs, {limit}", _FEWER)
    request = f"and {requested} more asked for, at most"
    if at_once is not None and usage.at_once + requested > at_once:
        return Denied(f"{usage.at_once} runs of this repository are on {request} {at_once}", _LATER)
    if per_day is not None and usage.today + requested > per_day:
        return Denied(f"{usage.today} runs of this repository in 24 h {request} {per_day}", _LATER)
    return Allowed()


_Objections = Iterator[Denied | FactNeeded]


def _objections(policy: Policy, trigger: Trigger, sha: str, facts: AuthFacts) -> _Objections:
    """Yield the objections of all rules, first of those that cost nothing."""
    if not trigger.actor:
        yield Denied("the forge named nobody who pushed", _OWN_ACCOUNT)
    if trigger.ref and not may_launch(policy, trigger.ref):
        branch = trigger.ref.removeprefix("refs/heads/")[:60]
        yield Denied(f"branch {branch} may not launch, but {_listed(policy.refs)}", _TO_ANOTHER)
    if facts.denied:
        yield Denied(f"the forge did not say whether it may: {facts.denied}", ADMIN)
    yield from _role_rule(policy, trigger, facts)
    yield from _team_rule(policy, trigger, facts)
    if not trigger.is_head(sha):
        yield from _branch_rule(policy, trigger, facts)
    yield from _signature_rule(policy, facts)
    yield from _origin_rule(policy, trigger, facts)


def _role_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    """Object to an actor whose role is too low."""
    if policy.permission == "none":
        return
    if facts.role is None:
        yield FactNeeded(AuthFact.ROLE)
    elif _role_rank(facts.role) < _role_rank(policy.permission):
        has_role = f"{trigger.actor} has {facts.role} permission"
        yield Denied(f"{has_role}, {policy.permission} is needed", _REPOSITORY_ADMIN)


def _role_rank(role: str) -> int:
    """Return how much a role may do; an unknown word is no permission."""
    return ROLES.index(role) if role in ROLES else 0


def _team_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    """Object to an actor who is in none of the policy's teams."""
    if not policy.teams:
        return
    if facts.team is None:
        yield FactNeeded(AuthFact.TEAM)
    elif not facts.team:
        yield Denied(f"{trigger.actor} is not in {_listed(policy.teams)}", _TEAM_MAINTAINER)


def _branch_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    """Object to a commit that is not on its trigger's ref, or on no branch that may launch."""
    if facts.branch is None:
        yield FactNeeded(AuthFact.BRANCH)
    elif not facts.branch and trigger.ref:
        yield Denied(f"it is not on {trigger.ref.removeprefix('refs/heads/')}", _TO_BRANCH)
    elif not facts.branch:
        yield Denied(f"it is on no branch that may launch: {_listed(policy.refs)}", _TO_ANOTHER)


def _signature_rule(policy: Policy, facts: AuthFacts) -> _Objections:
    """Object to a commit whose signature the forge has not verified."""
    if not policy.verified_signatures:
        return
    if facts.signature is None:
        yield FactNeeded(AuthFact.SIGNATURE)
    elif facts.signature != VALID:
        reason = f"the forge has not verified the signature: {facts.signature}"
        yield Denied(reason, "sign, amend, push again")


def _origin_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    """Object to a pushed commit whose text was written by somebody who may not push.

    A comment or a click asks for that very commit, so its actor has read it.
    """
    if policy.merged_forks or trigger.kind not in (TriggerKind.PUSH, TriggerKind.RUN_END):
        return
    if facts.origin is None:
        yield FactNeeded(AuthFact.ORIGIN)
    elif facts.origin.missing_right:
        what = f"written by {facts.origin.writer}, pushed by {trigger.actor}; missing right: "
        yield Denied(what + facts.origin.missing_right, RERUN)
    elif facts.origin.problem:
        yield Denied(f"who wrote it is not known: {facts.origin.problem}", RERUN)
    elif facts.origin.writer:
        yield Denied(f"written by {facts.origin.writer}, merged by {trigger.actor}", RERUN)


def _listed(words: tuple[str, ...]) -> str:
    """Return the words as a list for people."""
    return " or ".join(words) or "none"
