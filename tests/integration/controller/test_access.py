"""Access through a real ``fyre up``: attacks by push and by comment, and the requests they cost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fyre.git.fetching_reader import FetchingCommitReader
from fyre.git.mirror_store import MirrorStore
from fyre.github.errors import NotFoundError
from fyre.github.webhook import PushEvent
from fyre.local_forge.api import commit_api, repository_api, routes
from fyre.local_forge.api.rest import NOT_FOUND, ApiError, ApiRequest, ApiResponse
from fyre.runs.access import Allowed, Denied
from fyre.runs.policy import DAY, Policy
from fyre.runs.run_query import ALL_RUNS
from tests.contract.engine import await_end
from tests.integration.controller.test_denials import answered
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person
from tests.support.waiting import until

_RIGHTS = ("pull", "triage", "push", "maintain", "admin")
_OF_ROLE = {"none": 0, "read": 1, "triage": 2, "write": 3, "maintain": 4, "admin": 5}


@dataclass
class People:
    """People and signatures as this forge knows them; by itself it takes everybody for an admin."""

    roles: dict[str, str] = field(default_factory=lambda: {"ada": "write"})
    team: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    denied: bool = False
    asked: list[str] = field(default_factory=list)

    def permission(self, call: ApiRequest) -> ApiResponse:
        login = call.path_params["username"]
        self.asked.append(f"role {login}")
        known = repository_api.get_permission(call).data
        role = self.roles.get(login, "none")
        held = _RIGHTS[: _OF_ROLE[role]]
        rights = {right: right in held for right in _RIGHTS}
        return ApiResponse(
            {
                **known,
                "permission": {"maintain": "write", "triage": "read"}.get(role, role),
                "user": {**known["user"], "permissions": rights},
            }
        )

    def membership(self, call: ApiRequest) -> ApiResponse:
        self.asked.append(f"team {call.path_params['username']}")
        if self.denied:
            raise ApiError(403, "Resource not accessible by integration")
        if call.path_params["username"] not in self.team:
            raise ApiError(404, NOT_FOUND)
        return ApiResponse({"url": call.url, "role": "member", "state": "active"})

    def commit(self, call: ApiRequest) -> ApiResponse:
        found = commit_api.get_commit(call).data
        self.asked.append(f"signature {found['sha']}")
        good = found["sha"] in self.verified
        said = {
            "verified": good,
            "reason": "valid" if good else "unsigned",
            "signature": None,
            "payload": None,
        }
        return ApiResponse({**found, "commit": {**found["commit"], "verification": said}})


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    """Asked for before ``person``, whose forge is to know them."""
    people = People()
    repo = "/repos/{owner}/{repo}"
    for path, handler in (
        (f"{repo}/collaborators/{{username}}/permission", people.permission),
        (f"{repo}/commits/{{ref:path}}", people.commit),
        ("/orgs/{org}/teams/{team}/memberships/{username}", people.membership),
    ):
        assert ("GET", path) in routes._HANDLERS or path.startswith("/orgs/")
        monkeypatch.setitem(routes._HANDLERS, ("GET", path), handler)
    return people


def push_as(person: Person, login: str, *refs: str, to: str = "origin") -> None:
    person.git(
        "-c",
        f"http.extraHeader=Authorization: token user:{login}",
        "push",
        "-q",
        to,
        *(refs or ("main",)),
    )


def said(person: Person, sha: str) -> str:
    return str(person.final(sha)["description"])


def becomes(person: Person, sha: str, start: str) -> None:
    """Wait until a commit's outcome, which was another, begins so."""
    until(lambda: said(person, sha).startswith(start))


def test_who_may_launch_is_who_the_forge_says_pushed(
    people: People, person: Person, tmp_path: Path
) -> None:
    person.up.controller.executor.policy = Policy(permission="write")
    person.git("config", "user.name", "ada")
    touch = f"Fyre-Run: touch {tmp_path}/ran"
    first = person.commit(touch, "Signed-off-by: ada <ada@example.org>")
    second = person.commit(touch)
    push_as(person, "mallory")
    refusal = (
        "refused: mallory has none permission, write is needed · ask an admin of the repository"
    )
    assert (said(person, first), said(person, second)) == (refusal, refusal)
    plain = person.commit()
    push_as(person, "mallory")
    person.comment(first, f"/fyre run touch {tmp_path}/ran", token="user:mallory")
    assert "needs write permission" in answered(person, first, 2)
    assert (
        people.asked.count("role mallory") == 2
    )  # for the push, and for the comment; nothing for the plain commit
    assert not (tmp_path / "ran").exists()
    assert person.statuses(plain) == []
    third = person.commit("Fyre-Run: true")
    push_as(person, "ada")
    assert said(person, third).startswith("exit 0")
    assert person.ran() == [(third, "true")]  # what mallory pushed before stays refused


def test_a_commenter_is_held_to_the_policy_as_well(people: People, person: Person) -> None:
    person.up.controller.executor.policy = Policy(permission="maintain", teams=("acme/ml",))
    people.roles["bob"], people.team = "maintain", ("bob",)
    sha = person.commit("Fyre-Run: true")
    push_as(person, "bob")
    assert said(person, sha).startswith("exit 0")
    person.comment(sha, "/fyre rerun")
    assert answered(person, sha, 2) == (
        "`run` is refused: ada has write permission, maintain is needed"
        " · ask an admin of the repository"
    )
    people.roles["cy"], people.denied = "admin", True
    person.comment(sha, "/fyre rerun", token="user:cy")
    assert (
        "the forge did not say whether it may: the membership of cy in acme/ml: HTTP 403"
        in answered(person, sha, 4)
    )
    assert len(person.ran()) == 1


@pytest.fixture
def foreign(person: Person) -> Callable[[str], str]:
    """Makes a commit as a fork's are: the forge has it under its SHA, and no branch leads to it."""

    def make(command: str) -> str:
        person.git("checkout", "-q", "--orphan", "fork")
        sha = person.commit(f"Fyre-Run: {command}")
        person.push(f"{sha}:refs/pull/1/head")
        person.git("checkout", "-q", "main")
        return sha

    return make


def test_a_forks_commit_runs_by_no_way(
    person: Person, foreign: Callable[[str], str], tmp_path: Path
) -> None:
    sha = foreign(f"touch {tmp_path}/ran")
    person.comment(sha, "/fyre rerun")
    assert (
        answered(person, sha, 2)
        == "`run` is refused: it is on no branch that may launch: * · push it to one that may"
    )
    person.comment(sha, f"/fyre run touch {tmp_path}/ran")
    assert "it is on no branch" in answered(person, sha, 4)
    main = person.git("rev-parse", "main")
    known = person.up.controller.executor.forge.get_repository(NAME)
    person.up.controller.enqueue_event(
        PushEvent(known, "refs/heads/main", main, main, "ada", (sha, main))
    )
    assert said(person, sha) == "refused: it is not on main · push it there"
    assert (person.ran(), (tmp_path / "ran").exists()) == ([], False)


def test_a_mirror_that_is_fetched_holds_no_forks_commit(
    person: Person, foreign: Callable[[str], str], tmp_path: Path
) -> None:
    sha, known = foreign("true"), person.up.controller.executor.forge.get_repository(NAME)
    clones = MirrorStore(
        tmp_path / "mirrors", lambda one: f"{person.up.url}/{one.name}.git", lambda _: None
    )
    with contextlib.closing(FetchingCommitReader(clones)) as fetched:
        assert fetched.branches_containing(known, person.git("rev-parse", "main")) == [
            "refs/heads/main"
        ]
        with pytest.raises(NotFoundError):
            fetched.branches_containing(known, sha)


def test_a_repository_that_is_not_served_hears_nothing(
    people: People, person: Person, tmp_path: Path
) -> None:
    person.up.controller.executor.policy = Policy(repositories=("ada/*",), permission="write")
    person.git("remote", "add", "fork", f"{person.up.url}/mallory/lab.git")
    sha = person.commit(f"Fyre-Run: touch {tmp_path}/ran")
    push_as(person, "ada", to="fork")
    push_as(person, "ada", "main")  # the same commit: its outcome is of this repository alone
    assert said(person, sha).startswith("exit 0")
    fork = person.up.controller.executor.forge.get_repository("mallory/lab")
    assert person.up.controller.executor.forge.list_statuses(fork, sha) == []
    assert [record.run.repository.name for record in person.up.engine.query_runs(ALL_RUNS)] == [
        NAME
    ]


def test_nobody_launches_nothing_and_a_branch_that_may_not_neither(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy = Policy(refs=("main", "fyre/*"))
    before, sha = person.git("rev-parse", "main"), person.commit("Fyre-Run: true")
    person.push("main:dev")
    assert said(person, sha).startswith("refused: branch dev may not launch, but main or fyre/*")
    person.comment(sha, "/fyre rerun")
    assert "it is on no branch that may launch: main or fyre/*" in answered(person, sha, 2)
    other = person.commit("Fyre-Run: echo other")
    person.push("main:refs/keep/other")
    known = executor.forge.get_repository(NAME)
    person.up.controller.enqueue_event(
        PushEvent(known, "refs/heads/main", before, other, "", (other,))
    )
    assert said(person, other).startswith("refused: the forge named nobody who pushed")
    assert person.ran() == []
    person.push("main")
    becomes(person, sha, "exit 0")
    becomes(person, other, "exit 0")
    assert sorted(person.ran()) == sorted([(sha, "true"), (other, "echo other")])


def test_who_begins_a_branch_launches_nothing_below_it_of_what_others_pushed_to_the_default_one(
    person: Person,
) -> None:
    person.up.controller.executor.policy = Policy(refs=("exp/*",))
    sha = person.run("true")
    refusal = said(person, sha)
    assert refusal.endswith("branch main may not launch, but exp/* · push it to one that may")
    ran = person.run("echo head")
    person.push("main:refs/heads/exp/1")
    other = person.commit("Fyre-Run: echo other")
    person.push("main:refs/heads/exp/1")
    assert said(person, other).startswith("exit 0")
    assert said(person, sha) == refusal
    assert person.ran() == [(ran, "echo head"), (other, "echo other")]
    person.comment(sha, "/fyre rerun")  # which says so
    becomes(person, sha, "exit 0")


def test_9_14_a_refusal_of_one_push_is_none_of_the_next_whoever_pushes_it_and_where(
    people: People, person: Person
) -> None:
    person.up.controller.executor.policy = Policy(permission="write", refs=("main", "exp/*"))
    people.roles |= {"tri": "triage", "ada": "admin"}
    sha = person.commit("Fyre-Run: true")
    push_as(person, "tri")
    assert said(person, sha).startswith("refused: tri has triage permission")
    push_as(person, "ada", "main:refs/heads/dev/1")  # a branch that may not either
    plain = person.commit()
    push_as(person, "ada", "main:refs/heads/exp/plain", f"{sha}:refs/heads/exp/1")
    becomes(person, sha, "exit 0")
    last = person.commit("Fyre-Run: echo last")
    push_as(person, "ada", f"{sha}:refs/heads/exp/2", "main")
    assert said(person, last).startswith("exit 0")
    assert person.ran() == [(sha, "true"), (last, "echo last")]
    assert person.statuses(plain) == []


def test_only_what_the_forge_has_verified(people: People, person: Person) -> None:
    person.up.controller.executor.policy = Policy(verified_signatures=True)
    good, bad = person.commit("Fyre-Run: true"), person.commit("Fyre-Run: true")
    people.verified = (good,)
    person.push()
    assert said(person, good).startswith("exit 0")
    assert said(person, bad).endswith(
        "not verified the signature: unsigned · sign, amend, push again"
    )
    person.comment(bad, "/fyre rerun")
    assert "the forge has not verified the signature" in answered(person, bad, 2)
    asked = [question for question in people.asked if question.startswith("signature")]
    assert asked == [f"signature {good}", f"signature {bad}"]  # once each, the comment included


def test_a_rerun_takes_the_defaults_of_today(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy = Policy(timeout_default=7200, timeout_max=7200)
    sha = person.run("true")
    assert said(person, sha).startswith("exit 0")
    executor.policy = Policy(timeout_default=60, timeout_max=3600)
    person.comment(sha, "/fyre rerun")
    assert answered(person, sha, 2).startswith("launched:")
    again = max(person.up.engine.query_runs(ALL_RUNS), key=lambda record: record.run.attempt)
    assert (again.run.attempt, again.run.spec.timeout) == (2, 60)


def test_caps_of_a_repository(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy = Policy(overrides=((NAME, {"runs_at_once": 2}),))
    first = person.run("sleep 60")
    whole = person.commit("Fyre-Run: true", "Fyre-Run: echo 2")
    person.push()
    over = "1 runs of this repository are on and 2 more asked for, at most 2 · /fyre rerun later"
    assert said(person, whole) == f"refused: {over}"
    person.comment(whole, "/fyre rerun")
    assert answered(person, whole, 2) == f"refused: {over}"
    person.comment(first, "/fyre cancel")
    assert said(person, first).startswith("cancelled by ada")
    person.comment(whole, "/fyre rerun")
    assert person.final(whole, "fyre/run-2", "attempt 2")["state"] == "success"
    executor.policy = Policy(runs_per_day=3)
    late = person.run("true")
    assert said(person, late).startswith(
        "refused: 3 runs of this repository in 24 h and 1 more asked for, at most 3"
    )


@long_case
def test_caps_count_the_runs_of_one_repository_in_the_last_day(person: Person) -> None:
    executor = person.up.controller.executor
    person.final(person.run("true"))
    (record,) = executor.engine.query_runs(ALL_RUNS)
    repository, now = record.run.repository, record.run.created_at
    for number, age in enumerate((60, DAY - 600, DAY + 600)):
        run = replace(record.run, key=f"{number:026x}", created_at=now - age)
        assert executor.engine.launch(run)
        await_end(executor.engine, run.key)
    executor.policy = Policy(runs_per_day=3)
    said = executor.check_quota(repository, 1)
    assert isinstance(said, Denied)
    assert said.text.startswith("3 runs of this repository in 24 h and 1 more asked for, at most 3")
    assert executor.check_quota(replace(repository, id=repository.id + 1), 3) == Allowed()
    executor.policy = Policy(runs_at_once=1)
    assert executor.check_quota(repository, 1) == Allowed()


@long_case
def test_a_push_over_its_cap_goes_through_in_parts_and_what_only_comes_along_does_not_count(
    person: Person,
) -> None:
    person.up.controller.executor.policy = Policy(runs_per_push=1)
    first, second = person.commit("Fyre-Run: echo 1"), person.commit("Fyre-Run: echo 2")
    entry = person.commit("Fyre-Run: echo 3", f"Fyre-From: {second}")
    person.push("main:fyre/ada")
    assert said(person, entry).startswith(
        "exit 0"
    )  # the two below it are the code that it stands on
    person.push(f"{second}:refs/heads/dev")
    over = "refused: this push asks for 2 runs, at most 1 are taken at once · push fewer at once"
    assert (said(person, first), said(person, second)) == (over, over)
    person.push(f"{first}:refs/heads/main")
    becomes(person, first, "exit 0")
    assert sorted(person.ran()) == sorted([(first, "echo 1"), (entry, "echo 3")])
