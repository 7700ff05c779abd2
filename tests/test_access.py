"""Who may launch: every rule by itself, what is asked for it and nothing more, and who can mend what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre import access, status
from fyre.access import Fact, Facts, Load, Origin
from fyre.policy import Policy
from fyre.status_text import is_push_refusal

TIP = Origin("ada", "refs/heads/main", at_tip=True)
BELOW = Origin("ada", "refs/heads/main")
SAID = Origin("ada")  # by a comment
ALL = Policy(refs=("main", "release/*"), permission="write", teams=("acme/ml", "acme/infra"), signed=True)
GOOD = Facts("write", team=True, signature="valid", branch=True)


@pytest.mark.parametrize(
    ("policy", "origin", "facts", "verdict"),
    [
        (Policy(), TIP, Facts(), ""),
        (Policy(), Origin(""), GOOD, "the forge named nobody who pushed · push again with an account of your own"),
        (Policy(), BELOW, Facts(), Fact.BRANCH),
        (Policy(), BELOW, Facts(branch=False), "it is not on main · push it there"),
        (Policy(), SAID, Facts(), Fact.BRANCH),
        (ALL, SAID, Facts("admin", team=True, branch=False), "it is on no branch that may launch: main or release/*"),
        (ALL, Origin("ada", "refs/heads/dev"), GOOD, "branch dev may not launch, but main or release/* · push it to"),
        (ALL, Origin("ada", "refs/heads/main-2"), GOOD, "branch main-2 may not launch"),
        (ALL, Origin("ada", "refs/heads/x/main"), GOOD, "branch x/main may not launch"),
        (ALL, Origin("ada", "refs/tags/main"), GOOD, "branch refs/tags/main may not launch"),
        (Policy(), Origin("ada", "refs/tags/main"), GOOD, "branch refs/tags/main may not launch"),
        (ALL, Origin("ada", "refs/heads/release/1/2"), GOOD, ""),
        (ALL, BELOW, Facts(), Fact.ROLE),
        (ALL, BELOW, Facts("read"), "ada has read permission, write is needed · ask an admin of the repository"),
        (ALL, BELOW, Facts("superuser"), "ada has superuser permission, write is needed"),
        (ALL, BELOW, Facts("write"), Fact.TEAM),
        (ALL, BELOW, Facts("admin", team=False), "ada is not in acme/ml or acme/infra · ask a maintainer of the team"),
        (ALL, BELOW, Facts("maintain", team=True), Fact.BRANCH),
        (ALL, BELOW, Facts("write", team=True, branch=True), Fact.SIGNATURE),
        (ALL, BELOW, Facts("write", team=True, branch=True, signature="unknown_key"),
         "the forge has not verified the signature: unknown_key · sign, amend, push again"),
        (ALL, BELOW, Facts("write", team=True, branch=True, signature=""), "the forge has not verified the signature"),
        (ALL, BELOW, GOOD, ""),
        (ALL, BELOW, Facts(denied="HTTP 403"), "the forge did not say whether it may: HTTP 403 · ask Fyre's admin"),
        (Policy(refs=()), TIP, GOOD, "branch main may not launch, but none"),
    ],
)  # fmt: skip
def test_a_verdict_or_the_fact_that_it_takes(policy: Policy, origin: Origin, facts: Facts, verdict: Fact | str) -> None:
    said = access.verdict(policy, origin, facts)
    if isinstance(verdict, Fact) or not verdict:
        assert said == verdict
    else:
        assert isinstance(said, str)
        assert said.startswith(verdict)
        assert " · " in said  # who can mend it


@pytest.mark.parametrize("needed", access.ROLES)
def test_who_has_more_than_is_needed_may(needed: str) -> None:
    policy = Policy(permission=needed)
    allowed = [role for role in access.ROLES if not access.verdict(policy, TIP, Facts(role))]
    assert allowed == list(access.ROLES[access.ROLES.index(needed) :])


@pytest.mark.parametrize(
    ("policy", "asked", "load", "says"),
    [
        (Policy(runs_per_push=3), 3, Load(10**6, 10**6), ""),
        (Policy(runs_per_push=3), 4, Load(), "this push asks for 4 runs, at most 3 are taken at once · push fewer"),
        (Policy(runs_at_once=5), 2, Load(3, 3), ""),
        (Policy(runs_at_once=5), 2, Load(4, 4), "4 runs of this repository are on and 2 more asked for, at most 5 ·"),
        (Policy(runs_per_day=5), 2, Load(0, 3), ""),
        (Policy(runs_per_day=5), 2, Load(0, 4), "4 runs of this repository in 24 h and 2 more asked for, at most 5 ·"),
    ],
)
def test_caps(policy: Policy, asked: int, load: Load, says: str) -> None:
    said = access.over(policy, asked, load)
    assert said.startswith(says)
    assert bool(said) == bool(says)


def test_only_a_refusal_of_the_push_is_no_last_word() -> None:
    closed = Policy(refs=("main",), permission="write", teams=("acme/ml",), signed=True)
    turned_away = [
        *(
            access.verdict(closed, origin, facts)
            for origin, facts in (
                (Origin(""), GOOD),
                (Origin("ada", "refs/heads/" + "x" * 200), GOOD),
                (TIP, Facts("read")),
                (TIP, Facts("write", team=False)),
                (BELOW, Facts("write", team=True, branch=False)),
                (SAID, Facts("write", team=True, branch=False)),
            )
        ),
        access.over(Policy(runs_per_push=1), 2, Load()),
    ]
    final = [
        access.verdict(closed, TIP, Facts("write", team=True, signature="unsigned")),
        access.verdict(closed, TIP, Facts(denied="HTTP 403")),
        access.over(Policy(runs_at_once=1), 2, Load()),
        access.over(Policy(runs_per_day=1), 2, Load()),
    ]
    for reason in (*turned_away, *final):
        assert isinstance(reason, str)
        said = status.refused("fyre/run", reason)
        assert is_push_refusal(said.state, said.description) == (reason in turned_away), said


@given(st.text(), st.sampled_from([access.ADMIN, "ask an admin of the repository", "sign, amend, push again"]))
def test_who_can_mend_it_is_never_cut_away(reason: str, by: str) -> None:
    assert status.refused("fyre/run", access.mended(reason, by)).description.endswith(by)


def test_a_forks_pull_request_takes_a_branchs_place_only_where_the_policy_lets_it() -> None:
    ref = "refs/pull/7/head"
    assert not access.may_launch(Policy(), ref)
    assert access.may_launch(Policy(forks=True, refs=("main",)), ref)
    assert access.verdict(Policy(), Origin("ada", ref, at_tip=True), Facts())
    assert access.verdict(Policy(forks=True), Origin("ada", ref, at_tip=True), Facts()) == ""
    assert access.verdict(Policy(forks=True), Origin("ada", ref), Facts()) is Fact.BRANCH
    assert access.verdict(Policy(forks=True), Origin("ada", ref), Facts(branch=False))
    assert access.verdict(Policy(forks=True), Origin("", ref, at_tip=True), Facts())
