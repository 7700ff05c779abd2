"""Commands in pull requests: which commit they mean, and by what right code of a fork runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from fyre.git.fetching_reader import FetchingCommitReader
from fyre.git.mirror_store import MirrorStore
from fyre.github.errors import NotFoundError
from fyre.github.webhook import RerequestEvent
from fyre.runs.policy import Policy
from tests.conftest import git
from tests.support.ci_marks import long_case
from tests.support.comment_helpers import answer, opened, ran, redeliver, say, talk, until
from tests.support.person import NAME, Person

FORK = "mallory/lab"
CLOSED = Policy(overrides=((FORK, {"refs": ()}),))
"""What launches in a fork, which is a repository as well, is not what these are about."""


@pytest.fixture
def topic(person: Person) -> str:
    """A commit on a branch of its own, which asks for nothing."""
    person.git("checkout", "-q", "-b", "topic")
    sha = person.commit()
    person.push("topic")
    return sha


class Attacker:
    """Somebody with a fork, and no right in its parent."""

    def __init__(self, person: Person) -> None:
        self.person = person
        person.git("remote", "add", "fork", f"{person.up.url}/{FORK}.git")

    def push(self, command: str, *, onto: str = "main") -> str:
        """Have the fork's branch be one commit above that one."""
        self.person.git("checkout", "-q", "-B", "patch", onto)
        sha = self.person.commit(f"Fyre-Run: {command}")
        self.person.git(
            "-c",
            "http.extraHeader=Authorization: token user:mallory",
            "push",
            "-qf",
            "fork",
            "patch",
        )
        return sha


@pytest.fixture
def attacker(person: Person) -> Attacker:
    person.up.controller.executor.policy = replace(CLOSED, approved_forks=True)
    return Attacker(person)


def test_a_branchs_pull_request_is_commanded_and_each_answer_names_the_commit(
    person: Person, topic: str
) -> None:
    pull = opened(person, "topic")
    said = answer(person, pull, "Try it:\r\n\r\n/fyre run --name big -- echo 'a  b'\r\n")
    status = person.final(topic, "fyre/big")
    assert (person.log(status), status["state"]) == ("a  b\n", "success")
    assert said == f"On {topic}:\n\nlaunched:\n\n- [`big`]({status['target_url']})"
    assert answer(person, pull, "/fyre rerun big").endswith(", attempt 2")
    person.final(topic, "fyre/big", "attempt 2")
    shown = answer(person, pull, "/fyre status")
    assert shown.startswith(f"On {topic}:\n\n| | run | outcome |")
    assert "exit 0 · 0s · attempt 2" in shown
    assert answer(person, pull, "/fyre cancel nope").endswith(
        "\n\nnothing to cancel here is named nope."
    )
    assert answer(person, pull, "/fyre status --commit 0123456").startswith(
        "nothing is done: commit 0123456 of"
    )
    main = person.git("rev-parse", "main")
    assert (
        answer(person, pull, f"/fyre status --commit {main[:7]}")
        == f"On {main}:\n\nnothing to show here."
    )
    for body in ("> /fyre cancel", "```\n/fyre rerun\n```"):
        say(person, pull, body)
    say(person, pull, "/fyre rerun", token="user:helper[bot]")
    before = len(talk(person, pull))
    redeliver(person)
    person.git("checkout", "-q", "main")
    person.settled()
    assert len(talk(person, pull)) == before
    assert ran(person, topic) == ["echo 'a  b'"] * 2


def test_the_commit_is_the_head_at_the_time_of_the_comment(
    person: Person, topic: str, start_up: Callable[[], FyreUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = opened(person, "topic")
    monkeypatch.setattr(person.up.controller, "_process_event", lambda _: None)  # as if it crashed
    say(person, pull, "/fyre run echo then")
    time.sleep(1.01 - time.time() % 1)  # a forge counts in seconds
    later = person.commit()
    person.push("topic")
    person.up = start_up()
    until(lambda: talk(person, pull)[1:], lambda: talk(person, pull))
    assert talk(person, pull)[1].startswith(f"On {topic}:\n\nlaunched:")
    assert answer(person, pull, "/fyre run echo now").startswith(f"On {later}:\n\nlaunched:")
    assert (ran(person, topic), ran(person, later)) == (["echo then"], ["echo now"])


@long_case
def test_strangers_and_forks_of_a_policy_that_says_nothing_launch_nothing(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.up.controller.executor.policy = CLOSED
    sha = Attacker(person).push("echo pwned")
    pull = opened(person, "mallory:patch")
    refusal = (
        "this pull request comes from a fork, and no code of forks runs here · ask Fyre's admin"
    )
    for line in (f"/fyre approve {sha}", "/fyre rerun", f"/fyre run --commit {sha} -- true"):
        assert answer(person, pull, line) == refusal
    assert answer(person, pull, "/fyre status") == f"On {sha}:\n\nnothing to show here."
    role = {"ada": "write"}
    monkeypatch.setattr(
        person.up.controller.executor.forge,
        "get_permission",
        lambda _, login: role.get(login, "read"),
    )
    stranger = f"`/fyre` needs write permission on {NAME}."
    assert answer(person, pull, f"/fyre approve {sha}", token="user:mallory") == stranger
    say(person, pull, f"/fyre approve {sha}", token="user:mallory")
    redeliver(person)
    person.git("checkout", "-q", "main")
    person.settled()
    assert talk(person, pull).count(stranger) == 1
    assert ran(person, sha) == []


def test_what_a_fork_asks_for_runs_by_an_approval_and_by_no_rerun_of_something_else(
    person: Person, attacker: Attacker
) -> None:
    sha = attacker.push("echo theirs")
    pull = opened(person, "mallory:patch")
    assert "launched:" in answer(person, pull, f"/fyre run --name mine --commit {sha} -- echo mine")
    person.final(sha, "fyre/mine")
    known = person.up.controller.executor.forge.get_repository(NAME)
    for number in (1, 2):  # "Re-run all checks": what is shown there is ours alone
        person.up.controller.enqueue_event(RerequestEvent(known, sha, "ada", "", number))
        person.final(sha, "fyre/mine", f"attempt {number + 1}")
    person.comment(sha, "/fyre rerun run")
    until(lambda: len(person.comments(sha)) == 2)
    assert person.comments(sha)[1] == "nothing to rerun here is named run."
    assert ran(person, sha) == ["echo mine"] * 3
    assert "[`run`]" in answer(person, pull, f"/fyre approve {sha}")
    person.final(sha)
    assert "echo theirs" in ran(person, sha)


@long_case
def test_an_approval_is_of_one_commit_in_full_and_of_nothing_later(
    person: Person, attacker: Attacker
) -> None:
    read = attacker.push("echo read")
    pull = opened(person, "mallory:patch")
    asked = answer(person, pull, "/fyre approve " + read[:12])
    assert f"```\n/fyre approve {read}\n```" in asked
    assert f"/fyre run --commit {read} -- …" in answer(person, pull, "/fyre run true")
    assert f"/fyre approve {read}" in answer(person, pull, "/fyre rerun")
    assert ran(person, read) == []
    # The race: what was read is approved, and something else is pushed before that is known.
    worse = attacker.push("echo pwned", onto=read)
    assert answer(person, pull, f"/fyre approve {read}").startswith(
        f"On {read}:\n\nlaunched:\n\n- [`run`]("
    )
    assert person.log(person.final(read)) == "read\n"
    assert "attempt" not in person.final(read)["description"]
    assert (ran(person, read), ran(person, worse)) == (["echo read"], [])
    assert answer(person, pull, "/fyre status").startswith(
        f"On {read}:"
    )  # what was approved last, whatever came later
    # Once more, by a force-push: what was read is no longer a part of the pull request.
    other = attacker.push("echo other")
    assert answer(person, pull, f"/fyre approve {worse}") == (
        f"On {worse}:\n\n`run` is refused: it is not on refs/pull/{pull}/head · push it there"
    )
    # An approval holds in its own conversation alone: on the commit itself it is no branch's.
    person.comment(other, "/fyre rerun")
    until(lambda: person.comments(other)[1:])
    assert "it is on no branch that may launch" in person.comments(other)[1]
    stray = "0" * 39 + "1"
    assert answer(person, pull, f"/fyre approve {stray}").startswith(
        f"nothing is done: commit {stray}"
    )
    assert answer(person, pull, f"/fyre run --name x --commit {other} -- echo mine").startswith(
        f"On {other}:"
    )
    assert person.log(person.final(other, "fyre/x")) == "mine\n"
    assert (ran(person, worse), ran(person, other)) == ([], ["echo mine"])
    # The repository's admin may close that door again: nothing approved before opens it.
    person.up.controller.executor.policy = CLOSED
    person.comment(read, "/fyre rerun")
    until(lambda: person.comments(read)[1:])
    assert "it is on no branch that may launch" in person.comments(read)[1]


@long_case
def test_a_mirror_gets_a_forks_commits_for_an_approval_alone_and_keeps_what_runs(
    person: Person, attacker: Attacker, tmp_path: Path
) -> None:
    sha = attacker.push("true")
    pull = opened(person, "mallory:patch")
    known = person.up.controller.executor.forge.get_repository(NAME)
    clones = MirrorStore(
        tmp_path / "mirrors", lambda one: f"{person.up.url}/{one.name}.git", lambda _: None
    )
    with contextlib.closing(FetchingCommitReader(clones)) as fetched:
        with pytest.raises(NotFoundError):
            fetched.read_commit(known, sha)
        assert fetched.pull_head(known, pull) == sha
        assert fetched.read_commit(known, sha).message.startswith("Work")
        assert fetched.branches_containing(known, sha) == []
        clones.ensure_commit(known, sha, "key")
        refs = git("for-each-ref", "--format=%(refname)", cwd=clones.mirror_dir(known)).split()
        assert refs == ["refs/fyre/key", "refs/heads/main"]
        with pytest.raises(NotFoundError, match="refs/pull/99/head"):
            fetched.pull_head(known, 99)
