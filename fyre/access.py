"""Who may launch, from where, and how much at once: the admin's rules over what the forge says of a push. Pure.

A rule that can't be judged yet answers with the ``Fact`` that it lacks, so that the forge is asked only what decides,
and nothing where a commit asks for nothing. Identity is the actor whom the forge names, never what a commit says of
its author. Every refusal ends with who can mend it.

Forks: what is pushed to a fork is pushed to another repository, which ``Policy.repositories`` has to name. A forge
shows a fork's commits under its parent's SHAs as well, so a commit that is not the branch's tip has to stand below it.
Where the policy lets them, a fork's pull request takes the branch's place, for one SHA that a comment approves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase

from fyre import status
from fyre.policy import Policy
from fyre.status_text import PUSH_REFUSAL_HINTS, REFUSED, SEPARATOR

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
"""What somebody may do in a repository, in GitHub's words, the least first."""

VALID = "valid"
"""The forge's word for a signature that it has verified."""

ADMIN = "ask Fyre's admin"
"""Who can mend what the policy says."""

# Such a refusal is no last word: else whoever may not launch could bar a commit by being the first to push it.
_OWN_ACCOUNT, _TO_ANOTHER, _THERE, _OF_REPOSITORY, _OF_TEAM, _FEWER = PUSH_REFUSAL_HINTS


class Fact(Enum):
    """Something that only the forge or the repository can say."""

    ROLE = auto()
    TEAM = auto()
    SIGNATURE = auto()
    BRANCH = auto()


@dataclass(frozen=True, slots=True)
class Facts:
    """What has been asked so far; None: not yet."""

    role: str | None = None  # one of ROLES
    team: bool | None = None  # whether the actor is in one of the policy's teams
    signature: str | None = None  # VALID, else the forge's word for why it is not
    branch: bool | None = None  # whether the commit stands on the ref that the event names, or on any that may launch
    denied: str = ""  # why a question got no answer


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request to launch comes from, as the forge reports it."""

    actor: str  # "" when it named nobody
    ref: str = ""  # full, of a push; "" for a comment, which stands on a commit and names no branch
    at_tip: bool = False  # whether the commit is where the event says that the ref is now


@dataclass(frozen=True, slots=True)
class Load:
    """What a repository has launched already."""

    at_once: int = 0  # runs that have not ended
    today: int = 0  # runs launched in the last 24 hours, reruns among them


def verdict(policy: Policy, origin: Origin, facts: Facts) -> Fact | str:
    """Why this may not launch, or the fact that decides it; "" when it may. ``policy`` is that of the repository."""
    return next(_verdicts(policy, origin, facts), "")


def may_launch(policy: Policy, ref: str) -> bool:
    """Whether the policy lets a branch (``refs/heads/…``) launch, or a fork's commit that was approved
    (``refs/pull/7/head``); no other kind of ref ever does."""
    if ref.startswith("refs/pull/"):
        return policy.forks
    branch = ref.removeprefix("refs/heads/")
    return branch != ref and any(fnmatchcase(branch, glob) for glob in policy.refs)


def over(policy: Policy, asked: int, load: Load) -> str:
    """Why so many runs together are too many; "" when they are not.

    What is over a cap is refused, and does not wait: to wait would take a queue of Fyre's own that survives restarts,
    and clusters have better ones (a profile's ``queue``). A push is refused whole: nobody wants a random half of it.
    Several receivers count each for themselves, so that pushes at the same moment may pass a cap together.
    """
    if asked > policy.runs_per_push:
        return mended(f"this push asks for {asked} runs, at most {policy.runs_per_push} are taken at once", _FEWER)
    if policy.runs_at_once is not None and load.at_once + asked > policy.runs_at_once:
        return mended(
            f"{load.at_once} runs of this repository are on and {asked} more asked for, at most {policy.runs_at_once}",
            "/fyre rerun later",
        )
    if policy.runs_per_day is not None and load.today + asked > policy.runs_per_day:
        return mended(
            f"{load.today} runs of this repository in 24 h and {asked} more asked for, at most {policy.runs_per_day}",
            "/fyre rerun later",
        )
    return ""


def mended(reason: str, by: str) -> str:
    """The reason and who can mend it; the reason is cut where a status holds no more."""
    room = status.DESCRIPTION_MAX - len(REFUSED) - len(SEPARATOR + by)
    return f"{reason if len(reason) <= room else reason[: room - 1] + '…'}{SEPARATOR}{by}"


def _verdicts(policy: Policy, origin: Origin, facts: Facts) -> Iterator[Fact | str]:
    """What costs nothing first."""
    if not origin.actor:
        yield mended("the forge named nobody who pushed", _OWN_ACCOUNT)
    if origin.ref and not may_launch(policy, origin.ref):
        branch = origin.ref.removeprefix("refs/heads/")
        yield mended(f"branch {branch[:60]} may not launch, but {_listed(policy.refs)}", _TO_ANOTHER)
    if facts.denied:
        yield mended(f"the forge did not say whether it may: {facts.denied}", ADMIN)
    yield from _of_role(policy, origin, facts)
    yield from _of_teams(policy, origin, facts)
    yield from _of_branch(policy, origin, facts)
    yield from _of_signature(policy, facts)


def _of_role(policy: Policy, origin: Origin, facts: Facts) -> Iterator[Fact | str]:
    if policy.permission == "none":
        return
    if facts.role is None:
        yield Fact.ROLE
    elif _rank(facts.role) < _rank(policy.permission):
        said = f"{origin.actor} has {facts.role} permission, {policy.permission} is needed"
        yield mended(said, _OF_REPOSITORY)


def _rank(role: str) -> int:
    """A word that nobody knows is no permission."""
    return ROLES.index(role) if role in ROLES else 0


def _of_teams(policy: Policy, origin: Origin, facts: Facts) -> Iterator[Fact | str]:
    if not policy.teams:
        return
    if facts.team is None:
        yield Fact.TEAM
    elif not facts.team:
        yield mended(f"{origin.actor} is not in {_listed(policy.teams)}", _OF_TEAM)


def _of_branch(policy: Policy, origin: Origin, facts: Facts) -> Iterator[Fact | str]:
    if origin.at_tip:
        return
    if facts.branch is None:
        yield Fact.BRANCH
    elif not facts.branch and origin.ref:
        yield mended(f"it is not on {origin.ref.removeprefix('refs/heads/')}", _THERE)
    elif not facts.branch:
        yield mended(f"it is on no branch that may launch: {_listed(policy.refs)}", _TO_ANOTHER)


def _of_signature(policy: Policy, facts: Facts) -> Iterator[Fact | str]:
    if not policy.signed:
        return
    if facts.signature is None:
        yield Fact.SIGNATURE
    elif facts.signature != VALID:
        yield mended(f"the forge has not verified the signature: {facts.signature}", "sign, amend, push again")


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(words) or "none"
