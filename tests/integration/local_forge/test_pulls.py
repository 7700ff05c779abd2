"""Pull requests and their conversations: of a branch, of a fork, and told by webhooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from fyre.local_forge.api import pull_api
from fyre.local_forge.webhooks import webhook_delivery
from tests.support.local_forge import NAME, Receiver, Served, served

Git = Callable[..., str]
WHERE = f"/repos/{NAME}"
FORK = "mallory/engine"


def opened(forge: Served, head: str, **more: str) -> dict:
    answer = forge.post(f"{WHERE}/pulls", {"title": "Faster", "head": head, "base": "main"} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def topic(pushed: str, repo: Path, git: Git) -> str:
    """A branch with one commit more; its SHA."""
    git("checkout", "-q", "-b", "topic", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", "origin", "topic", cwd=repo)
    return git("rev-parse", "HEAD", cwd=repo)


def test_a_pull_request_of_a_branch_follows_it(
    forge: Served, pushed: str, topic: str, repo: Path, git: Git
) -> None:
    pull = opened(forge, "topic")
    assert (pull["number"], pull["state"], pull["commits"]) == (1, "open", 1)
    assert (pull["head"]["sha"], pull["head"]["repo"]["full_name"]) == (topic, NAME)
    assert (pull["base"]["ref"], pull["base"]["sha"]) == ("main", pushed)
    git("commit", "-q", "--allow-empty", "-m", "Third", cwd=repo)
    git("push", "-q", "origin", "topic", cwd=repo)
    third = git("rev-parse", "HEAD", cwd=repo)
    assert forge.get(f"{WHERE}/pulls/1").json()["head"]["sha"] == third
    assert git("ls-remote", "origin", "refs/pull/1/head", cwd=repo).split() == [
        third,
        "refs/pull/1/head",
    ]
    git("push", "-q", "origin", ":topic", cwd=repo)
    assert forge.get(f"{WHERE}/pulls/1").json()["head"]["sha"] == third
    assert opened(forge, "main")["number"] == 2


def test_a_forks_commits_come_to_the_base_with_its_pull_request(
    forge: Served, topic: str, repo: Path, git: Git
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Foreign", cwd=repo)
    foreign = git("rev-parse", "HEAD", cwd=repo)
    git("push", "-q", forge.git(FORK), "HEAD:patch", "main", cwd=repo)
    assert forge.get(f"{WHERE}/commits/{foreign}").status_code == 422
    pull = opened(forge, "mallory:patch")
    assert (pull["head"]["label"], pull["head"]["repo"]["full_name"]) == ("mallory:patch", FORK)
    assert pull["head"]["repo"]["id"] != pull["base"]["repo"]["id"]
    assert forge.get(f"{WHERE}/commits/{foreign}").json()["sha"] == foreign


def test_what_is_no_pull_request(forge: Served, pushed: str) -> None:
    for bad in (
        {"head": "none"},
        {"head": "nobody:main"},
        {"base": "none"},
        {"title": " "},
        {"head": 7},
    ):
        body = {"title": "Faster", "head": "main", "base": "main"} | bad
        assert forge.post(f"{WHERE}/pulls", body).status_code == 422, bad
        assert forge.get(f"{WHERE}/pulls/1").status_code == 404, bad
    assert forge.post(f"{WHERE}/issues/1/comments", {"body": "x"}).status_code == 404
    assert forge.get(f"{WHERE}/issues/1/comments").status_code == 404


def test_a_conversation_is_kept_and_told(forge: Served, receiver: Receiver, topic: str) -> None:
    opened(forge, "topic")
    first = forge.post(
        f"{WHERE}/issues/1/comments", {"body": "/fyre rerun"}, token="user:grace"
    ).json()
    second = forge.post(
        f"{WHERE}/issues/1/comments", {"body": "ünïcode 🎉"}, token="user:helper[bot]"
    ).json()
    told = receiver.wait(2, "issue_comment")
    assert all(one.signed_with(forge.forge.webhook_secret) for one in told)
    assert [one.data["comment"] for one in told] == [first, second]
    assert [one.data["sender"]["type"] for one in told] == ["User", "Bot"]
    assert told[0].data["issue"]["pull_request"]["url"] == f"{forge.api}{WHERE}/pulls/1"
    assert (told[0].data["action"], told[0].data["issue"]["number"]) == ("created", 1)
    assert first["html_url"].endswith(f"/{NAME}/pull/1#issuecomment-{first['id']}")
    assert forge.get(f"{WHERE}/issues/1/comments").json() == [first, second]
    assert forge.get(f"{WHERE}/issues/comments?direction=desc").json() == [second, first]
    assert forge.get(
        f"{WHERE}/issues/comments?since=2020-01-01T00:00:00%2B02:00&per_page=1"
    ).json() == [first]
    assert forge.get(f"{WHERE}/issues/comments?since=2999-01-01T00:00:00Z").json() == []
    assert forge.get(f"{WHERE}/issues/comments?since=soon").status_code == 422
    assert forge.get(f"{WHERE}/comments").json() == []
    assert forge.post(f"{WHERE}/issues/1/comments", {"body": " "}).status_code == 422


@pytest.mark.parametrize("made", [True, False])
def test_a_crash_in_the_middle_of_a_comment(
    tmp_path: Path, receiver: Receiver, repo: Path, git: Git, *, made: bool
) -> None:
    record = {
        "id": 7,
        "pull": 1,
        "body": "/fyre rerun",
        "user": "ada",
        "created_at": "2026-01-02T03:04:05Z",
    }
    with served(tmp_path / "forge") as forge:
        git("push", "-q", forge.git(), "main", "main:topic", cwd=repo)
        opened(forge, "topic")
        bare = forge.forge.repositories.find_repo(NAME)
        assert bare is not None
        pull = pull_api.find_pull_request(forge.forge, bare, 1)
        webhook_delivery.reserve_comment_event(
            forge.forge.database, bare, pull.blob, record, pull_request=asdict(pull)
        )
        if made:
            forge.forge.issue_comments.add_commit_note(
                bare.git_dir, pull.blob, record, lambda _: None
            )
    with served(tmp_path / "forge", receiver) as forge:
        git("push", "-q", forge.git(), "main:last", cwd=repo)
        receiver.wait(3)
        assert [one.data["comment"]["id"] for one in receiver.of("issue_comment")] == (
            [7] if made else []
        )
