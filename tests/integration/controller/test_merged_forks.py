"""Whose text launches: what came by a pull request, from upstream, or by another's hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fyre.local_forge.api import commit_api, pull_api, repository_api, routes
from fyre.local_forge.api.rest import ApiError, ApiRequest, ApiResponse
from fyre.runs.policy import Policy
from tests.integration.controller.test_access import push_as
from tests.support.person import Person

FORK = "mallory/lab"
CLOSED = Policy(overrides=((FORK, {"refs": ()}),))
"""What launches in a fork, which is a repository as well, is not what these are about."""

OUTSIDE = "refused: written by mallory, merged by ada · /fyre rerun"
REPO = "/repos/{owner}/{repo}"


@dataclass
class Known:
    """What GitHub knows beyond the embedded forge, which says the rest itself."""

    pulls: dict[str, int] = field(default_factory=dict)
    """The pull request of a squashed or rebased commit."""

    commits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Fields of a commit, by SHA."""

    roles: dict[str, str] = field(default_factory=dict)
    hides_pulls: bool = False
    parent: str = ""

    def list_pulls(self, call: ApiRequest) -> ApiResponse:
        if self.hides_pulls:
            raise ApiError(403, "Resource not accessible by personal access token")
        number = self.pulls.get(call.path_params["ref"])
        if number is None:
            return pull_api.list_commit_pulls(call)
        pull = pull_api.find_pull_request(call.forge, call.repo, number)
        data = pull_api.serialize_pull_request(call.forge, call.repo, pull, call.urls)
        return ApiResponse([data | {"state": "closed", "merged_at": "2026-01-01T00:00:00Z"}])

    def all_pulls(self, call: ApiRequest) -> ApiResponse:
        if self.hides_pulls:
            raise ApiError(403, "Resource not accessible by personal access token")
        return pull_api.list_pull_requests(call)

    def commit(self, call: ApiRequest) -> ApiResponse:
        data = commit_api.get_commit(call).data
        more = self.commits.get(data["sha"], {})
        return ApiResponse(data | more | {"commit": data["commit"] | more.get("commit", {})})

    def permission(self, call: ApiRequest) -> ApiResponse:
        data = repository_api.get_permission(call).data
        role = self.roles.get(call.path_params["username"])
        return ApiResponse(data if role is None else data | {"permission": role, "user": None})

    def repository(self, call: ApiRequest) -> ApiResponse:
        data = repository_api.get_repository(call).data
        if not self.parent or call.repo.name == self.parent:
            return ApiResponse(data)
        parent = {"full_name": self.parent, "default_branch": "main"}
        return ApiResponse(data | {"fork": True, "parent": parent})


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Asked for before ``person``, whose forge is to know it."""
    known = Known()
    for path, handler in (
        (f"{REPO}/commits/{{ref:path}}/pulls", known.list_pulls),
        (f"{REPO}/pulls", known.all_pulls),
        (f"{REPO}/commits/{{ref:path}}", known.commit),
        (f"{REPO}/collaborators/{{username}}/permission", known.permission),
        (REPO, known.repository),
    ):
        assert ("GET", path) in routes._HANDLERS
        monkeypatch.setitem(routes._HANDLERS, ("GET", path), handler)
    return known


ASKED = [f"{REPO}/pulls", f"{REPO}/commits/{{ref:path}}/pulls", REPO]


def ask_as_github(person: Person) -> None:
    """Have the receiver ask for pull requests, though the embedded forge is known to have none."""
    person.up.controller.executor.is_known_without_pulls = lambda _: False


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Requests of the kinds above, as they come. Asked for before ``person``."""
    requests: list[str] = []

    def count(path: str, handler: routes.Handler) -> routes.Handler:
        def counted(call: ApiRequest) -> ApiResponse:
            requests.append(path)
            return handler(call)

        return counted

    for path in ASKED:
        handler = count(path, routes._HANDLERS["GET", path])
        monkeypatch.setitem(routes._HANDLERS, ("GET", path), handler)
    return requests


@pytest.fixture
def offered(person: Person) -> tuple[int, str]:
    """The number of mallory's pull request, and its commit that asks for a run."""
    person.up.controller.executor.policy = CLOSED
    person.git("remote", "add", "fork", f"{person.up.url}/{FORK}.git")
    person.git("checkout", "-q", "-b", "patch")
    sha = person.commit("Fyre-Run: echo outside")
    mallory = "http.extraHeader=Authorization: token user:mallory"
    person.git("-c", mallory, "push", "-q", "fork", "patch")
    pull = person.api(
        "/pulls", title="Fyre-Run: title", head="mallory:patch", base="main", token="user:mallory"
    )
    person.git("checkout", "-q", "main")
    return pull["number"], sha


def described(person: Person, sha: str) -> str:
    return str(person.final(sha)["description"])


def test_9_2_a_merged_pull_request_of_a_fork_launches_nothing_until_it_is_asked_for(
    known: Known, person: Person, offered: tuple[int, str]
) -> None:
    _, sha = offered
    text = "Merge pull request #1 from mallory/patch\n\nFyre-Run: echo title"
    person.git("merge", "-q", "--no-ff", "-m", text, "patch")
    merge = person.git("rev-parse", "HEAD")
    push_as(person, "ada")
    assert [described(person, one) for one in (sha, merge)] == [OUTSIDE, OUTSIDE]
    assert person.ran() == []
    person.comment(sha, "/fyre rerun")
    assert person.final(sha, attempt="exit 0")["state"] == "success"
    assert person.ran() == [(sha, "echo outside")]
    own = person.commit("Fyre-Run: echo mine")
    push_as(person, "ada")
    assert person.final(own)["state"] == "success"


def test_9_2_many_commits_of_one_push_ask_once_where_there_is_no_pull_request(
    asked: list[str], person: Person
) -> None:
    ask_as_github(person)
    shas = [person.commit(f"Fyre-Run: echo {number}") for number in range(4)]
    push_as(person, "ada")
    assert [person.final(sha)["state"] for sha in shas] == ["success"] * 4
    assert [asked.count(path) for path in ASKED] == [1, 1, 1]
    alone = person.commit("Fyre-Run: echo alone")
    push_as(person, "ada")
    assert person.final(alone)["state"] == "success"
    assert [asked.count(path) for path in ASKED] == [1, 2, 1]


def test_9_2_fyre_up_asks_for_pull_requests_where_one_was_opened(
    asked: list[str], person: Person
) -> None:
    first = person.commit("Fyre-Run: echo first")
    push_as(person, "ada")
    assert person.final(first)["state"] == "success"
    assert [asked.count(path) for path in ASKED] == [0, 0, 1]
    person.push("main:topic")
    person.api("/pulls", title="Change", head="topic", base="main")
    for packed in (False, True):
        if packed:
            git_dir = next(person.up.local_forge.repositories.root.rglob("lab.git"))
            person.git("-C", str(git_dir), "pack-refs", "--all", "--prune")
        sha = person.commit(f"Fyre-Run: echo {packed}")
        push_as(person, "ada")
        assert person.final(sha)["state"] == "success"
        assert asked.count(ASKED[1]) == 1 + packed


def test_9_2_a_policy_may_let_it_run(
    known: Known, person: Person, offered: tuple[int, str]
) -> None:
    person.up.controller.executor.policy = replace(CLOSED, merged_forks=True)
    person.git("merge", "-q", "--ff-only", "patch")
    push_as(person, "ada")
    assert person.final(offered[1])["state"] == "success"


def test_9_2_a_signature_speaks_for_a_squash_and_an_address_never_does(
    known: Known, person: Person, offered: tuple[int, str]
) -> None:
    cases = [(True, "ada"), (True, "mallory"), (True, "web-flow"), (False, "ada")]
    known.roles = {"mallory": "read"}
    shas = []
    for verified, signer in cases:
        shas.append(person.commit("Fyre-Run: echo squashed"))  # with ada's e-mail address
        known.pulls[shas[-1]] = offered[0]
        known.commits[shas[-1]] = {
            "author": {"login": "ada"},
            "committer": {"login": signer},
            "commit": {"verification": {"verified": verified, "reason": "valid"}},
        }
    push_as(person, "ada")
    assert person.final(shas[0])["state"] == "success"
    assert [described(person, sha) for sha in shas[1:]] == [OUTSIDE] * 3
    assert [sha for sha, _ in person.ran()] == shas[:1]


def test_9_2_a_pull_request_inside_the_repository_counts_by_who_opened_it(
    known: Known, person: Person
) -> None:
    person.git("checkout", "-q", "-b", "topic")
    person.commit()
    person.push("topic")
    person.api("/pulls", title="Fyre-Run: title", head="topic", base="main", token="user:eve")
    person.git("checkout", "-q", "main")
    known.roles["eve"] = "read"
    person.git("merge", "-q", "--no-ff", "-m", "Merge\n\nFyre-Run: echo title", "topic")
    refused = person.git("rev-parse", "HEAD")
    push_as(person, "ada")
    assert described(person, refused) == "refused: written by eve, merged by ada · /fyre rerun"
    assert person.ran() == []


def test_9_2_where_the_forge_cant_be_asked_the_author_decides_and_the_right_is_named(
    known: Known, person: Person
) -> None:
    known.hides_pulls = True
    ask_as_github(person)
    missing = "; missing right: pull requests: read · /fyre rerun"
    cases = [
        ("ada", "ada", 1, "exit 0"),
        ("ada", "web-flow", 1, "exit 0"),
        ("eve", "web-flow", 1, f"refused: written by eve, pushed by ada{missing}"),
        ("ada", "web-flow", 2, f"refused: written by somebody else, pushed by ada{missing}"),
    ]
    shas = []
    for author, committer, parents, _ in cases:
        shas.append(person.commit("Fyre-Run: echo text"))
        known.commits[shas[-1]] = {
            "author": {"login": author},
            "committer": {"login": committer},
            "parents": [{"sha": "0" * 40}] * parents,
        }
    push_as(person, "ada")
    for sha, (*_, says) in zip(shas, cases, strict=True):
        assert described(person, sha).startswith(says)


def test_9_2_what_a_fork_has_from_upstream_launches_nothing_there(
    known: Known, person: Person
) -> None:
    person.up.controller.executor.policy = Policy(overrides=(("acme/lab", {"refs": ()}),))
    person.git("remote", "add", "upstream", f"{person.up.url}/acme/lab.git")
    theirs = person.commit("Fyre-Run: echo theirs")
    person.git("push", "-q", "upstream", "main")
    known.parent = "acme/lab"
    own = person.commit("Fyre-Run: echo own")
    push_as(person, "ada")
    assert described(person, theirs) == "refused: written by acme/lab, merged by ada · /fyre rerun"
    assert person.final(own)["state"] == "success"
    assert person.ran() == [(own, "echo own")]
