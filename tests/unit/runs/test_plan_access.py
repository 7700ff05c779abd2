"""Who may launch what from where, over real git stories: attacks seen elsewhere, and what is asked
to tell them.
"""

from __future__ import annotations

import pytest

from fyre.runs.access import AuthFact
from fyre.runs.policy import Policy
from tests.unit.runs.test_plan import World, world

__all__ = ["world"]  # a fixture

CLOSED = Policy(refs=("main",), permission="write")


def test_an_authors_name_is_no_identity(world: World) -> None:
    world.policy = Policy(permission="write")
    sha = world.commit(
        GIT_AUTHOR_NAME="ada", GIT_COMMITTER_NAME="ada", GIT_COMMITTER_EMAIL="ada@example.org"
    )
    (refusal,) = world.push(sha, actor="mallory")
    assert refusal == (
        "fyre/run error: refused: mallory has read permission, write is needed"
        " · ask an admin of the repository"
    )


def test_whoever_may_push_it_launches_what_another_wrote(world: World) -> None:
    world.policy = CLOSED
    sha = world.commit(GIT_AUTHOR_NAME="mallory")
    assert world.push(sha, actor="mallory")[0].startswith(
        "fyre/run error: refused: mallory has read"
    )
    assert world.push(sha, actor="mallory") == []  # once is enough
    assert world.push(sha, actor="ada", ref="refs/heads/dev") == []
    assert world.push(sha, actor="ada") == ["launch run"]
    assert world.push(sha, actor="mallory") == []


def test_a_branch_that_may_not_launch_and_the_merge_to_one_that_may(world: World) -> None:
    world.policy = CLOSED
    sha = world.commit()
    (refusal,) = world.push(sha, ref="refs/heads/dev")
    assert (
        refusal
        == "fyre/run error: refused: branch dev may not launch, but main · push it to one that may"
    )
    assert world.asked == []  # the ref is known without asking
    assert world.push(sha) == ["launch run"]


def test_a_commit_of_a_fork_that_a_push_is_said_to_hold(world: World) -> None:
    tip = world.commit(change="tip")
    world.git("checkout", "-q", "--orphan", "fork")
    foreign = world.commit(change="foreign")
    assert world.push(foreign, tip=tip) == [
        "fyre/run error: refused: it is not on main · push it there"
    ]
    assert world.push(tip) == ["launch run"]


def test_a_commit_below_the_tip_launches(world: World) -> None:
    first, second = world.commit(change="a"), world.commit(change="b")
    assert world.push(first, second, tip=second) == ["launch run", "launch run"]
    on_branch = [sha for fact, sha in world.asked if fact is AuthFact.BRANCH]
    assert on_branch == [first[:7]]  # the tip is where the event says


def test_only_verified_signatures_where_the_policy_says_so(world: World) -> None:
    world.policy = Policy(verified_signatures=True)
    plain, signed = world.commit(), world.commit("echo signed")
    (refusal,) = world.push(plain)
    assert refusal.endswith("has not verified the signature: unsigned · sign, amend, push again")
    assert world.push(signed) == ["launch run"]


def test_teams(world: World) -> None:
    world.policy = Policy(teams=("acme/ml",))
    (refusal,) = world.push(world.commit(), actor="bob")
    assert refusal.endswith("bob is not in acme/ml · ask a maintainer of the team")
    assert world.push(world.commit()) == ["launch run"]


def test_nothing_is_asked_for_what_asks_for_nothing_or_is_refused_anyway(world: World) -> None:
    world.policy = Policy(
        permission="write", teams=("acme/ml",), verified_signatures=True, timeout_max=60
    )
    world.git("commit", "-q", "--allow-empty", "-m", "Nothing")
    plain = world.head()
    broken = world.commit("make\nFyre-Nmae: x")
    old = world.commit(fyre_id="", GIT_COMMITTER_DATE="2020-01-01T00:00:00+0000")
    long = world.commit("make\nFyre-Timeout: 2h")
    words = world.push(plain, broken, old, long, long, old, tip=long)
    assert (len(words), world.asked) == (3, [])
    assert world.push(world.commit(), over="too many") == ["fyre/run error: refused: too many"]
    assert world.asked == []


def test_what_was_launched_or_carried_is_not_asked_about_again(world: World) -> None:
    world.policy = Policy(permission="write", verified_signatures=True)
    sha = world.commit("echo signed")
    world.push(sha)
    asked = list(world.asked)
    facts = (AuthFact.ROLE, AuthFact.SIGNATURE, AuthFact.ORIGIN)
    assert asked == [(fact, sha[:7]) for fact in facts]
    world.push(sha, sha, actor="mallory")
    assert world.asked == asked


@pytest.mark.parametrize("name", ["ada/lab", "Ada/Lab"])
def test_an_override_holds_for_its_repository(world: World, name: str) -> None:
    world.policy = Policy(
        overrides=((name, {"permission": "admin", "timeout_max": 60}), ("*", {"timeout_max": 1}))
    )
    assert (
        "asks for a timeout of 2h, at most 1m"
        in world.push(world.commit("make\nFyre-Timeout: 2h"))[0]
    )
    assert "ada has write permission, admin is needed" in world.push(world.commit())[0]
