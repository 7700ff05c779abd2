"""Other people's text inside a pull request of the repository itself, however deep it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from fyre.github import nested_pulls
from fyre.local_forge.api import pull_api, routes
from fyre.local_forge.api.rest import ApiRequest, ApiResponse
from fyre.runs.policy import Policy
from tests.integration.controller.test_access import push_as
from tests.integration.controller.test_merged_forks import (
    ASKED,
    CLOSED,
    OUTSIDE,
    REPO,
    Known,
    ask_as_github,
    asked,
    described,
    known,
    offered,
)
from tests.support.ci_marks import long_case
from tests.support.person import Person

__all__ = ["asked", "known", "offered"]  # fixtures

UNCLEAR = "refused: who wrote it is not known: "
LISTING = f"{REPO}/pulls/{{number}}/commits"


@dataclass
class Listing:
    """The commits of pull requests, as a forge shows them that has bad days."""

    refusals: list[int] = field(default_factory=list)
    """The codes of its next answers."""

    times: int = 1
    """How often each list is repeated, as if it were so long."""

    asked: int = 0

    def answer(self, call: ApiRequest) -> ApiResponse:
        self.asked += 1
        if self.refusals:
            return ApiResponse({"message": "later"}, self.refusals.pop(), {"retry-after": "0"})
        return ApiResponse(pull_api.list_pull_commits(call).data * self.times)


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """Asked for before ``person``, whose forge answers so."""
    listing = Listing()
    monkeypatch.setitem(routes._HANDLERS, ("GET", LISTING), listing.answer)
    return listing


@pytest.fixture
def inner(known: Known, person: Person, offered: tuple[int, str]) -> Callable[..., int]:
    """Opens a pull request of ada's, from one branch to another; only main launches."""
    ask_as_github(person)
    person.up.controller.executor.policy = replace(CLOSED, refs=("main",))

    def opened(head: str, base: str = "main") -> int:
        push_as(person, "ada", head)
        return int(person.api("/pulls", title=head, head=head, base=base)["number"])

    return opened


def made(person: Person, known: Known, number: int, text: str) -> str:
    """Commit on this branch what GitHub makes of a pull request that it squashes or rebases."""
    person.git("commit", "-q", "--allow-empty", "-m", text)
    sha = person.git("rev-parse", "HEAD")
    known.pulls[sha] = number
    return sha


def on(person: Person, branch: str, base: str = "main") -> None:
    person.git("checkout", "-q", "-B", branch, base)


def test_9_2_a_squash_of_an_own_pull_request_may_hold_a_forks_text(
    known: Known, person: Person, offered: tuple[int, str], inner: Callable[..., int]
) -> None:
    text = "Merge pull request #1 from mallory/patch\n\nFyre-Run: echo title"
    on(person, "feature")
    person.git("merge", "-q", "--no-ff", "-m", text, "patch")
    number = inner("feature")
    person.git("checkout", "-q", "main")
    commits = "feature (#2)\n\n* add a\n\n* outside\n\nFyre-Run:  echo outside"
    shas = [
        made(person, known, number, commits),
        made(person, known, number, "feature (#2)\n\n* Merge\n\nFyre-Run: echo title"),
        made(person, known, number, "feature (#2)\n\nFyre-Run: echo something else"),
    ]
    push_as(person, "ada")
    mixed = f"{UNCLEAR}pull request #{number} also has runs of mallory · /fyre rerun"
    assert [described(person, sha) for sha in shas] == [OUTSIDE, OUTSIDE, mixed]
    assert person.ran() == []


@long_case
def test_9_2_a_forks_text_is_found_below_two_squashes_in_any_bytes(
    known: Known, person: Person, offered: tuple[int, str], inner: Callable[..., int]
) -> None:
    first = "Fyre-Run: echo ü"
    on(person, "feature")
    made(person, known, offered[0], f"outside (#1)\n\n{first}")
    second = inner("feature", "main")
    on(person, "next")
    made(person, known, second, f"feature (#2)\n\n* outside (#1)\n\n{first}")
    third = inner("next")
    person.git("checkout", "-q", "main")
    sha = made(person, known, third, f"next (#3)\n\n* feature (#2)\n\n* outside\n\n{first}")
    person.git("config", "i18n.commitEncoding", "latin1")
    person.git("commit", "-q", "--amend", "--allow-empty", "--no-edit")
    known.pulls[sha := person.git("rev-parse", "HEAD")] = third
    push_as(person, "ada")
    assert described(person, sha) == OUTSIDE
    assert person.ran() == []


@long_case
def test_9_2_of_rebased_commits_each_counts_by_its_own_text_and_a_pick_is_the_pickers(
    known: Known, person: Person, offered: tuple[int, str], inner: Callable[..., int]
) -> None:
    on(person, "feature", "patch")
    person.commit("Fyre-Run: echo own")
    person.commit("On what others ask for:", "  Fyre-Run: echo outside", "Not so.")
    number = inner("feature")
    person.git("checkout", "-q", "main")
    person.commit()  # else what is picked within the same second is the same commit
    on(person, "picked")
    person.git("cherry-pick", "--allow-empty", offered[1])
    picks = inner("picked")
    person.git("checkout", "-q", "main")
    theirs = made(person, known, number, "Rebased\n\nFyre-Run: echo outside")
    own = made(person, known, number, "Rebased\n\nFyre-Run: echo own")
    picked = made(person, known, picks, "picked (#3)\n\n* Work\n\nFyre-Run: echo outside")
    push_as(person, "ada")
    assert described(person, theirs) == OUTSIDE
    assert [person.final(sha)["state"] for sha in (own, picked)] == ["success"] * 2
    assert person.ran() == [(own, "echo own"), (picked, "echo outside")]


@long_case
def test_9_2_what_an_own_squash_costs_and_a_forge_that_fails_is_asked_again(
    known: Known,
    asked: list[str],
    listing: Listing,
    person: Person,
    inner: Callable[..., int],
) -> None:
    on(person, "feature")
    for _ in range(3):
        person.commit("Fyre-Run: echo own")
    number = inner("feature")
    person.git("checkout", "-q", "main")
    sha = made(person, known, number, "feature (#2)\n\n* Work\n\nFyre-Run: echo own")
    push_as(person, "ada")
    assert person.final(sha)["state"] == "success"
    # What brought it, and what brought its newest commit that holds the text; is it a fork?
    assert [asked.count(path) for path in ASKED] == [0, 2, 1]
    assert listing.asked == 1
    listing.refusals = [429, 404]
    on(person, "other", "patch")
    number = inner("other")
    person.git("checkout", "-q", "main")
    theirs = made(person, known, number, "other (#3)\n\n* Work\n\nFyre-Run: echo outside")
    push_as(person, "ada")
    assert described(person, theirs) == OUTSIDE
    assert not listing.refusals
    assert person.ran() == [(sha, "echo own")]


@long_case
def test_9_2_what_would_take_too_long_to_find_out_is_refused_with_the_reason(
    known: Known,
    listing: Listing,
    person: Person,
    inner: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(person, "feature")
    person.commit("Fyre-Run: echo own")
    number = inner("feature")
    person.git("checkout", "-q", "main")
    listing.times = 250
    first = made(person, known, number, "feature (#2)\n\nFyre-Run: echo mine")
    held = made(person, known, number, "feature (#2)\n\nFyre-Run: echo own")
    push_as(person, "ada")
    many = f"{UNCLEAR}pull request #{number} has 250 commits or more · /fyre rerun"
    assert described(person, first) == many
    assert person.final(held)["state"] == "success"
    monkeypatch.setattr(nested_pulls, "QUESTIONS_MAX", 0)
    last = made(person, known, number, "feature (#2)\n\nFyre-Run: echo last")
    push_as(person, "ada")
    assert described(person, last) == (
        f"{UNCLEAR}it takes more than 0 questions to the forge · /fyre rerun"
    )


@long_case
def test_9_2_a_squash_of_what_came_from_upstream_is_upstreams_text(
    known: Known, person: Person, inner: Callable[..., int]
) -> None:
    person.up.controller.executor.policy = Policy(
        overrides=(("acme/lab", {"refs": ()}),), refs=("main",)
    )
    person.git("remote", "add", "upstream", f"{person.up.url}/acme/lab.git")
    on(person, "sync")
    person.commit("Fyre-Run: echo theirs")
    person.git("push", "-q", "upstream", "sync:main")
    known.parent = "acme/lab"
    number = inner("sync")
    person.git("checkout", "-q", "main")
    sha = made(person, known, number, "sync (#2)\n\n* Work\n\nFyre-Run: echo theirs")
    push_as(person, "ada")
    assert described(person, sha) == "refused: written by acme/lab, merged by ada · /fyre rerun"
    assert person.ran() == []
