"""Who may launch: every rule by itself, what is asked for it and nothing more, and who can mend
what it refuses.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.runs import access, commit_status
from fyre.runs.access import Allowed, AuthFact, AuthFacts, CommitOrigin, Denied, FactNeeded, Usage
from fyre.runs.policy import Policy
from fyre.runs.status_text import is_push_refusal
from fyre.runs.trigger import Trigger, TriggerKind

SHA = "a" * 40
Answer = Allowed | Denied | FactNeeded


def push(actor: str, ref: str = "refs/heads/main", head_sha: str = "b" * 40) -> Trigger:
    return Trigger(TriggerKind.PUSH, actor, ref, head_sha)


TIP = push("ada", head_sha=SHA)
BELOW = push("ada")
SAID = Trigger(TriggerKind.COMMENT, "ada")
ALL = Policy(
    refs=("main", "release/*"),
    permission="write",
    teams=("acme/ml", "acme/infra"),
    verified_signatures=True,
)
OWN = CommitOrigin()
GOOD = AuthFacts("write", team=True, signature="valid", branch=True, origin=OWN)


@pytest.mark.parametrize(
    ("policy", "trigger", "facts", "answer"),
    [
        (Policy(), TIP, AuthFacts(), FactNeeded(AuthFact.ORIGIN)),
        (Policy(), TIP, AuthFacts(origin=OWN), Allowed()),
        (Policy(merged_forks=True), TIP, AuthFacts(), Allowed()),
        (Policy(merged_forks=True), TIP, AuthFacts(origin=CommitOrigin("eve")), Allowed()),
        (Policy(), TIP, AuthFacts(origin=CommitOrigin("eve")),
         "written by eve, merged by ada · /fyre rerun"),
        (Policy(), TIP, AuthFacts(origin=CommitOrigin("eve", "pull requests: read")),
         "written by eve, pushed by ada; missing right: pull requests: read · /fyre rerun"),
        (Policy(), replace(TIP, kind=TriggerKind.RUN_END), AuthFacts(),
         FactNeeded(AuthFact.ORIGIN)),
        (Policy(), SAID, AuthFacts(branch=True), Allowed()),
        (Policy(), replace(SAID, kind=TriggerKind.RERUN), AuthFacts(branch=True), Allowed()),
        (Policy(), push(""), GOOD,
         "the forge named nobody who pushed · push again with an account of your own"),
        (Policy(), BELOW, AuthFacts(), FactNeeded(AuthFact.BRANCH)),
        (Policy(), BELOW, AuthFacts(branch=False), "it is not on main · push it there"),
        (Policy(), SAID, AuthFacts(), FactNeeded(AuthFact.BRANCH)),
        (ALL, SAID, AuthFacts("admin", team=True, branch=False),
         "it is on no branch that may launch: main or release/*"),
        (ALL, push("ada", "refs/heads/dev"), GOOD,
         "branch dev may not launch, but main or release/* · push it to"),
        (ALL, push("ada", "refs/heads/main-2"), GOOD, "branch main-2 may not launch"),
        (ALL, push("ada", "refs/heads/x/main"), GOOD, "branch x/main may not launch"),
        (ALL, push("ada", "refs/tags/main"), GOOD, "branch refs/tags/main may not launch"),
        (Policy(), push("ada", "refs/tags/main"), GOOD, "branch refs/tags/main may not launch"),
        (ALL, push("ada", "refs/heads/release/1/2"), GOOD, Allowed()),
        (ALL, BELOW, AuthFacts(), FactNeeded(AuthFact.ROLE)),
        (ALL, BELOW, AuthFacts("read"),
         "ada has read permission, write is needed · ask an admin of the repository"),
        (ALL, BELOW, AuthFacts("superuser"), "ada has superuser permission, write is needed"),
        (ALL, BELOW, AuthFacts("write"), FactNeeded(AuthFact.TEAM)),
        (ALL, BELOW, AuthFacts("admin", team=False),
         "ada is not in acme/ml or acme/infra · ask a maintainer of the team"),
        (ALL, BELOW, AuthFacts("maintain", team=True), FactNeeded(AuthFact.BRANCH)),
        (ALL, BELOW, AuthFacts("write", team=True, branch=True), FactNeeded(AuthFact.SIGNATURE)),
        (ALL, BELOW, AuthFacts("write", team=True, branch=True, signature="unknown_key"),
         "the forge has not verified the signature: unknown_key · sign, amend, push again"),
        (ALL, BELOW, AuthFacts("write", team=True, branch=True, signature=""),
         "the forge has not verified the signature"),
        (ALL, BELOW, GOOD, Allowed()),
        (ALL, BELOW, AuthFacts(denied="HTTP 403"),
         "the forge did not say whether it may: HTTP 403 · ask Fyre's admin"),
        (Policy(refs=()), TIP, GOOD, "branch main may not launch, but none"),
    ],
)  # fmt: skip
def test_a_verdict_or_the_fact_that_it_takes(
    policy: Policy, trigger: Trigger, facts: AuthFacts, answer: Allowed | FactNeeded | str
) -> None:
    said = access.authorize(policy, trigger, SHA, facts)
    if isinstance(answer, FactNeeded | Allowed):
        assert said == answer
    else:
        assert isinstance(said, Denied)
        assert said.text.startswith(answer)
        assert " · " in said.text  # who can mend it


@pytest.mark.parametrize("needed", access.ROLES)
def test_who_has_more_than_is_needed_may(needed: str) -> None:
    policy = Policy(permission=needed)
    allowed = [
        role
        for role in access.ROLES
        if access.authorize(policy, TIP, SHA, AuthFacts(role, origin=OWN)) == Allowed()
    ]
    assert allowed == list(access.ROLES[access.ROLES.index(needed) :])


@pytest.mark.parametrize(
    ("policy", "asked", "usage", "says"),
    [
        (Policy(runs_per_push=3), 3, Usage(10**6, 10**6), Allowed()),
        (
            Policy(runs_per_push=3),
            4,
            Usage(),
            "this push asks for 4 runs, at most 3 are taken at once · push fewer",
        ),
        (Policy(runs_at_once=5), 2, Usage(3, 3), Allowed()),
        (
            Policy(runs_at_once=5),
            2,
            Usage(4, 4),
            "4 runs of this repository are on and 2 more asked for, at most 5 ·",
        ),
        (Policy(runs_per_day=5), 2, Usage(0, 3), Allowed()),
        (
            Policy(runs_per_day=5),
            2,
            Usage(0, 4),
            "4 runs of this repository in 24 h and 2 more asked for, at most 5 ·",
        ),
    ],
)
def test_caps(policy: Policy, asked: int, usage: Usage, says: str | Allowed) -> None:
    said = access.check_quota(policy, asked, usage)
    if isinstance(says, Allowed):
        assert said == says
    else:
        assert isinstance(said, Denied)
        assert said.text.startswith(says)


def test_only_a_refusal_of_the_push_is_no_last_word() -> None:
    closed = Policy(
        refs=("main",), permission="write", teams=("acme/ml",), verified_signatures=True
    )
    turned_away = [
        *(
            access.authorize(closed, trigger, SHA, facts)
            for trigger, facts in (
                (push(""), GOOD),
                (push("ada", "refs/heads/" + "x" * 200), GOOD),
                (TIP, AuthFacts("read")),
                (TIP, AuthFacts("write", team=False)),
                (BELOW, AuthFacts("write", team=True, branch=False)),
                (SAID, AuthFacts("write", team=True, branch=False)),
            )
        ),
        access.check_quota(Policy(runs_per_push=1), 2, Usage()),
    ]
    final = [
        access.authorize(closed, TIP, SHA, AuthFacts("write", team=True, signature="unsigned")),
        access.authorize(closed, TIP, SHA, AuthFacts(denied="HTTP 403")),
        access.check_quota(Policy(runs_at_once=1), 2, Usage()),
        access.check_quota(Policy(runs_per_day=1), 2, Usage()),
    ]
    for denied in (*turned_away, *final):
        assert isinstance(denied, Denied)
        said = commit_status.refused_status("fyre/run", denied.text)
        assert is_push_refusal(said.state, said.description) == (denied in turned_away), said


@pytest.mark.parametrize(
    ("description", "is_of_push"),
    [
        (
            "refused: the forge named nobody who pushed · push again with an account of your own",
            True,
        ),
        ("refused: branch dev may not launch, but main · push it to one that may", True),
        ("refused: it is on no branch that may launch: main · push it to one that may", True),
        ("refused: it is not on main · push it there", True),
        (
            "refused: eve has read permission, write is needed · ask an admin of the repository",
            True,
        ),
        ("refused: eve is not in acme/ml · ask a maintainer of the team", True),
        (
            "refused: this push asks for 4 runs, at most 3 are taken at once · push fewer at once",
            True,
        ),
        (
            (
                "refused: 3 runs of this repository in 24 h and 1 more asked for, at most 3"
                " · /fyre rerun later"
            ),
            False,
        ),
        ("refused: the forge did not say whether it may: HTTP 403 · ask Fyre's admin", False),
        ("refused: asks for a timeout of 2h, at most 1m · amend, or ask Fyre's admin", False),
        ("refused: made 30 days ago · /fyre rerun", False),
        ("exit 0 · 3s", False),
    ],
)
def test_statuses_that_stand_on_forges_are_read_back(description: str, is_of_push: bool) -> None:
    assert is_push_refusal("error", description) is is_of_push


@given(
    st.text(),
    st.sampled_from([access.ADMIN, "ask an admin of the repository", "sign, amend, push again"]),
)
def test_who_can_mend_it_is_never_cut_away(reason: str, by: str) -> None:
    assert commit_status.refused_status("fyre/run", Denied(reason, by).text).description.endswith(
        by
    )


def test_a_forks_pull_request_takes_a_branchs_place_only_where_the_policy_lets_it() -> None:
    ref = "refs/pull/7/head"
    assert not access.may_launch(Policy(), ref)
    assert access.may_launch(Policy(approved_forks=True, refs=("main",)), ref)
    at_tip, facts = push("ada", ref, SHA), AuthFacts(origin=OWN)

    def judged(policy: Policy, trigger: Trigger, facts: AuthFacts = facts) -> Answer:
        return access.authorize(policy, trigger, SHA, facts)

    assert isinstance(judged(Policy(), at_tip), Denied)
    assert judged(Policy(approved_forks=True), at_tip) == Allowed()
    assert judged(Policy(approved_forks=True), push("ada", ref)) == FactNeeded(AuthFact.BRANCH)
    assert isinstance(
        judged(Policy(approved_forks=True), push("ada", ref), AuthFacts(branch=False)), Denied
    )
    assert isinstance(judged(Policy(approved_forks=True), push("", ref, SHA)), Denied)
