"""Commits that came to the server by a lab branch, before their own branch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from fyre.github.webhook import PushEvent
from fyre.local_forge.storage.repository_store import set_default_branch
from fyre.runs.run import ZERO_SHA
from fyre.runs.run_query import ALL_RUNS
from tests.support.person import NAME, Person


@pytest.fixture
def published(up: FyreUp, repo: Path) -> tuple[Person, list[str]]:
    """A person whose first push to a new repository is a snapshot, and the commits below it."""
    person = Person(up, repo)
    person.git("remote", "add", "origin", f"{up.url}/{NAME}.git")
    below = [person.commit("Fyre-Run: true", mint=True) for _ in range(2)]
    entry = person.commit("Fyre-Run: true", f"Fyre-From: {below[-1]}", mint=True)
    person.push(f"{entry}:refs/heads/fyre/ada")
    person.git("reset", "-q", "--hard", below[-1])
    person.final(entry)
    return person, below


def test_9_14_what_a_lab_branch_published_runs_once_its_own_branch_is_pushed(
    published: tuple[Person, list[str]],
) -> None:
    person, below = published
    assert person.api("")["default_branch"] == "main"
    assert [person.statuses(sha) for sha in below] == [[], []]
    person.git("branch", "-m", "trunk")
    person.push("trunk")
    assert [person.final(sha)["state"] for sha in below] == ["success"] * 2
    remote_head = person.git("ls-remote", "--symref", "origin", "HEAD")
    assert remote_head.startswith("ref: refs/heads/trunk\t")
    person.push("trunk:topic")
    person.git("checkout", "-q", "-b", "main")
    person.settled()
    assert sorted(sha for sha, _ in person.ran() if sha in below) == sorted(below)


def test_9_14_it_runs_also_where_the_lab_branch_is_the_default_one(
    published: tuple[Person, list[str]],
) -> None:
    """The first branch of a repository is so on GitHub, whatever its name."""
    person, below = published
    repo = person.up.local_forge.repositories.find_repo(NAME)
    assert repo is not None
    (repo.git_dir / "refs/heads/main").write_text(f"{below[-1]}\n")  # without a webhook of it
    (record, *_) = person.up.engine.query_runs(ALL_RUNS)
    on_github = replace(record.run.repository, default_branch="fyre/ada")
    push = PushEvent(on_github, "refs/heads/main", ZERO_SHA, below[-1], "ada", ())
    person.up.controller.enqueue_event(push)
    assert [person.final(sha)["state"] for sha in below] == ["success"] * 2


def test_9_14_a_repository_whose_default_branch_is_a_lab_branch_gets_another(
    published: tuple[Person, list[str]],
) -> None:
    """Version 0.1 left it so."""
    person, _ = published
    repo = person.up.local_forge.repositories.find_repo(NAME)
    assert repo is not None
    set_default_branch(repo.git_dir, "fyre/ada")
    person.settled()
    assert person.api("")["default_branch"] == "main"
