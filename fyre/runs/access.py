"""Judge who may launch, from where, and how much at once, by the admin's rules. Pure.

The answer is ``Allowed``, ``Denied``, or ``FactNeeded`` where a rule can't be judged yet, so that
the forge is asked only what decides, and nothing where a commit asks for nothing. Identity is the
actor whom the forge names, never what a commit says of its author. Every denial by a rule ends with
who can mend it.

Forks: what is pushed to a fork is pushed to another repository, which ``Policy.repositories`` has
to name. A forge shows a fork's commits under its parent's SHAs as well, so a commit that is not the
branch's tip has to stand below it. Where the policy lets them, a fork's pull request takes the
branch's place, for one SHA that a comment approves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase

from fyre.runs import commit_status
from fyre.runs.policy import Policy
from fyre.runs.status_text import PUSH_REFUSAL_HINTS, REFUSED, SEPARATOR
from fyre.runs.trigger import Trigger

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
"""What somebody may do in a repository, in GitHub's words, the least first."""

VALID = "valid"
"""The forge's word for a signature that it has verified."""

ADMIN = "ask Fyre's admin"
"""Who can mend what the policy says."""

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

_LATER = "/fyre rerun later"


class AuthFact(Enum):
    """Something that only the forge or the repository can say."""

    ROLE = auto()
    TEAM = auto()
    SIGNATURE = auto()
    BRANCH = auto()


@dataclass(frozen=True, slots=True)
class AuthFacts:
    """What has been asked so far; None: not yet."""

    role: str | None = None
    """One of ``ROLES``."""

    team: bool | None = None
    """True if the actor is in one of the policy's teams."""

    signature: str | None = None
    """``VALID``, else the forge's word for why it is not."""

    branch: bool | None = None
    """True if the commit stands on the trigger's ref, or, without one, on any that may launch."""

    denied: str = ""
    """Why a question got no answer."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Nothing stands against it."""


@dataclass(frozen=True, slots=True)
class Denied:
    """It may not launch: why, and what somebody can do about it."""

    reason: str
    remedy: str = ""

    @property
    def by_push(self) -> bool:
        """Return True if this is of the push, and so no last word on the commit."""
        return self.remedy in PUSH_REFUSAL_HINTS

    @property
    def text(self) -> str:
        """The reason and the remedy; the reason is cut where a status holds no more."""
        if not self.remedy:
            return self.reason
        ending = SEPARATOR + self.remedy
        room = commit_status.DESCRIPTION_MAX - len(REFUSED) - len(ending)
        reason = self.reason
        return (reason if len(reason) <= room else reason[: room - 1] + "…") + ending


@dataclass(frozen=True, slots=True)
class FactNeeded:
    """It can't be judged yet: find this fact out, and ask again."""

    fact: AuthFact


@dataclass(frozen=True, slots=True)
class Usage:
    """What a repository has launched already."""

    at_once: int = 0
    """Runs that have not ended."""

    today: int = 0
    """Runs launched in the last 24 hours, reruns among them."""


Answer = Allowed | Denied | FactNeeded


def authorize(policy: Policy, trigger: Trigger, sha: str, facts: AuthFacts) -> Answer:
    """Judge whether this trigger may launch runs of a commit, by the policy of its repository."""
    return next(_objections(policy, trigger, sha, facts), Allowed())


def may_launch(policy: Policy, ref: str) -> bool:
    """Return True if the policy lets a ref launch.

    It is a branch (``refs/heads/…``), or a fork's commit that was approved (``refs/pull/7/head``);
    no other kind of ref ever does.
    """
    if ref.startswith("refs/pull/"):
        return policy.approved_forks
    branch = ref.removeprefix("refs/heads/")
    return branch != ref and any(fnmatchcase(branch, glob) for glob in policy.refs)


def check_quota(policy: Policy, requested: int, usage: Usage) -> Allowed | Denied:
    """Judge whether so many runs together are too many.

    What exceeds a cap is refused, and does not wait: to wait would take a queue of Fyre's own that
    survives restarts, and clusters have better ones (a profile's ``queue``). A push is refused
    whole: nobody wants a random half of it. Several receivers count each for themselves, so that
    pushes at the same moment may pass a cap together.
    """
    at_once, per_day = policy.runs_at_once, policy.runs_per_day
    if requested > policy.runs_per_push:
        most = f"at most {policy.runs_per_push} are taken at once"
        return Denied(f"this push asks for {requested} runs, {most}", _FEWER)
    more = f"and {requested} more asked for, at most"
    if at_once is not None and usage.at_once + requested > at_once:
        return Denied(f"{usage.at_once} runs of this repository are on {more} {at_once}", _LATER)
    if per_day is not None and usage.today + requested > per_day:
        return Denied(f"{usage.today} runs of this repository in 24 h {more} {per_day}", _LATER)
    return Allowed()


_Objections = Iterator[Denied | FactNeeded]


def _objections(policy: Policy, trigger: Trigger, sha: str, facts: AuthFacts) -> _Objections:
    """Yield what stands against it, what costs nothing first."""
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


def _role_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    if policy.permission == "none":
        return
    if facts.role is None:
        yield FactNeeded(AuthFact.ROLE)
    elif _role_rank(facts.role) < _role_rank(policy.permission):
        held = f"{trigger.actor} has {facts.role} permission"
        yield Denied(f"{held}, {policy.permission} is needed", _REPOSITORY_ADMIN)


def _role_rank(role: str) -> int:
    """Return how much a role may do; a word that nobody knows is no permission."""
    return ROLES.index(role) if role in ROLES else 0


def _team_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    if not policy.teams:
        return
    if facts.team is None:
        yield FactNeeded(AuthFact.TEAM)
    elif not facts.team:
        yield Denied(f"{trigger.actor} is not in {_listed(policy.teams)}", _TEAM_MAINTAINER)


def _branch_rule(policy: Policy, trigger: Trigger, facts: AuthFacts) -> _Objections:
    """Object to a commit that is not where its trigger says, or on no branch that may launch."""
    if facts.branch is None:
        yield FactNeeded(AuthFact.BRANCH)
    elif not facts.branch and trigger.ref:
        yield Denied(f"it is not on {trigger.ref.removeprefix('refs/heads/')}", _TO_BRANCH)
    elif not facts.branch:
        yield Denied(f"it is on no branch that may launch: {_listed(policy.refs)}", _TO_ANOTHER)


def _signature_rule(policy: Policy, facts: AuthFacts) -> _Objections:
    if not policy.verified_signatures:
        return
    if facts.signature is None:
        yield FactNeeded(AuthFact.SIGNATURE)
    elif facts.signature != VALID:
        reason = f"the forge has not verified the signature: {facts.signature}"
        yield Denied(reason, "sign, amend, push again")


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(words) or "none"
