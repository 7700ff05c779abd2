"""Lists of commits, and names that only git would take."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import requests
from github import Auth, Github

from tests.support.local_forge import NAME, Receiver, Served, served

Git = Callable[..., str]
WHERE = f"/repos/{NAME}/commits"


@pytest.fixture
def history(
    forge: Served, pushed: str, repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Make five commits on ``main`` and return them, newest first.

    The last four were made at noon of the first days of 2026.
    """
    found = [pushed]
    for day in range(1, 5):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-01-0{day}T12:00:00Z")
        git("commit", "-q", "--allow-empty", "-m", f"Day {day}", cwd=repo)
        found.insert(0, git("rev-parse", "HEAD", cwd=repo))
    git("push", "-q", "origin", "main", "main~2:refs/heads/old/one", cwd=repo)
    return found


def shas(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["sha"] for one in answer.json()]


def test_commits_are_listed_newest_first_in_pages(forge: Served, history: list[str]) -> None:
    assert shas(forge.get(WHERE)) == history
    answer = forge.get(f"{WHERE}?per_page=2")
    assert set(answer.links) == {"next"}
    seen = shas(answer)
    while "next" in answer.links:
        answer = requests.get(answer.links["next"]["url"], timeout=20)
        seen += shas(answer)
    assert seen == history
    assert set(answer.links) == {"prev", "first"}
    assert shas(forge.get(f"{WHERE}?page=99999999999999")) == []


def test_commits_of_a_branch_a_sha_and_a_time(forge: Served, history: list[str]) -> None:
    assert (
        shas(forge.get(f"{WHERE}?sha=old/one"))
        == shas(forge.get(f"{WHERE}?sha={history[2]}"))
        == history[2:]
    )
    assert shas(forge.get(f"{WHERE}?sha=old/one&since=2026-01-02T00:00:00Z")) == [history[2]]
    assert (
        shas(forge.get(f"{WHERE}?since=2026-01-02T13:30:00%2B02:00&until=2026-01-03T12:00:00Z"))
        == history[1:3]
    )
    assert shas(forge.get(f"{WHERE}?since=2200-01-01")) == []
    assert shas(forge.get(f"{WHERE}?sha=old/one&until=9999-12-31T23:59:59-12:00")) == history[2:]


def test_commits_that_there_are_not(forge: Served, history: list[str], tmp_path: Path) -> None:
    for query, code in (
        ("sha=nope", 404),
        ("sha=main~1", 404),
        ("since=yesterday", 400),
        ("until=%00", 400),
    ):
        assert forge.get(f"{WHERE}?{query}").status_code == code
    forge.forge.repositories.get_or_create("ada/empty")
    answer = forge.get("/repos/ada/empty/commits")
    assert (answer.status_code, answer.json()["message"]) == (409, "Git Repository is empty.")


def test_pygithub_lists_commits(forge: Served, history: list[str]) -> None:
    hub = Github(
        auth=Auth.Token("x"),
        base_url=forge.api,
        lazy=True,
        per_page=2,
        seconds_between_requests=None,
    )
    assert [one.sha for one in hub.get_repo(NAME).get_commits(sha="main")] == history


def test_a_branch_that_is_no_text_stops_nobody(
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git
) -> None:
    push = [b"git", b"push", b"-q", b"origin", b"main:refs/heads/w\xff/x", b"main:refs/heads/y\xff"]
    subprocess.run(push, cwd=repo, check=True)
    git("push", "-q", "origin", "main:next", cwd=repo)
    assert [one.data["ref"] for one in receiver.wait(2)] == ["refs/heads/main", "refs/heads/next"]
    assert [one["ref"] for one in forge.get(f"/repos/{NAME}/activity").json()] == [
        "refs/heads/next",
        "refs/heads/main",
    ]
    assert [one["name"] for one in forge.get(f"/repos/{NAME}/branches").json()] == ["main", "next"]
    assert os.fsencode(git("ls-remote", "--heads", "origin", "next", cwd=repo)).startswith(
        pushed.encode()
    )


SENSELESS = [
    "before=9&after=9&per_page=0",
    "before=99999999999999999999",
    "after=-1",
    "ref=%00",
    "actor=%ed%a0%80",
    "ref=%ff",
    "activity_type=x",
    "time_period=never",
    "direction=up",
]
"""Query strings."""


def test_senseless_questions_about_activity(forge: Served, pushed: str) -> None:
    for query in SENSELESS:
        assert forge.get(f"/repos/{NAME}/activity?{query}").status_code in (200, 422)


def test_a_clone_finds_its_branch_though_nobody_delivers(
    tmp_path: Path, repo: Path, git: Git
) -> None:
    with served(
        tmp_path / "forge"
    ) as forge:  # not started: no thread looks after the default branch
        git("push", "-q", forge.git(), "main:trunk", cwd=repo)
        git("clone", "-q", forge.git(), str(tmp_path / "clone"), cwd=tmp_path)
        assert (tmp_path / "clone/README").read_text() == "hello\n"


def test_a_comment_at_any_line_is_kept_and_delivered(
    forge: Served, receiver: Receiver, pushed: str
) -> None:
    kept = []
    for name, number in product(("line", "position"), (-1, 0, -(2**63), 2**53, 10**100)):
        body = {"body": "here", "path": "README", name: number}
        posted = forge.post(f"{WHERE}/{pushed}/comments", body)
        assert (posted.status_code, posted.json()[name]) == (201, number)
        kept.append(posted.json())
        assert forge.get(f"/repos/{NAME}/comments/{kept[-1]['id']}").json() == kept[-1]
    for listed in (f"{WHERE}/{pushed}/comments", f"/repos/{NAME}/comments"):
        assert forge.get(listed).json() == kept
    deliveries = receiver.wait(len(kept), "commit_comment")
    assert [one.data["comment"] for one in deliveries] == kept
