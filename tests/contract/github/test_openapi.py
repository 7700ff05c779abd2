"""The forge's answers and our requests, held against GitHub's own OpenAPI description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from github import Auth, Github

from fyre.github.client import GitHubClient as Adapter
from fyre.runs.commit_status import CommitStatus
from tests.support.local_forge import NAME, Receiver, Served

pytestmark = pytest.mark.ci

Git = Callable[..., str]


@pytest.fixture
def ask(proxy: str) -> Callable[..., Any]:
    """Send requests through the proxy; fail if a request or response violates the description."""

    def ask(method: str, path: str, **more: Any) -> requests.Response:
        answer = requests.request(
            method, proxy + path, headers={"Authorization": "token user:ada"}, timeout=20, **more
        )
        assert "problem+json" not in answer.headers.get("content-type", ""), (
            f"{method} {path}: {answer.text}"
        )
        return answer

    return ask


def test_every_answer_is_as_described(  # noqa: PLR0917 - fixtures
    forge: Served, receiver: Receiver, pushed: str, repo: Path, git: Git, ask: Callable[..., Any]
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", "origin", "main", "main:dev", cwd=repo)
    git("push", "-q", "origin", ":dev", cwd=repo)
    receiver.wait(4)
    where = f"/repos/{NAME}"
    status = {
        "state": "success",
        "context": "fyre/run",
        "description": "exit 0",
        "target_url": "http://127.0.0.1/x",
    }
    assert ask("POST", f"{where}/statuses/{pushed}", json=status).status_code == 201
    assert ask("POST", f"{where}/statuses/{pushed}", json={"state": "pending"}).status_code == 201
    comment = ask("POST", f"{where}/commits/{pushed}/comments", json={"body": "/fyre rerun"})
    assert comment.status_code == 201
    (hook,) = ask("GET", f"{where}/hooks").json()
    deliveries = f"{where}/hooks/{hook['id']}/deliveries"
    delivery = ask("GET", deliveries).json()[0]["id"]
    for path in (
        "/user",
        "/user/repos",
        "/rate_limit",
        where,
        f"{where}/activity",
        f"{where}/activity?time_period=day&activity_type=push",
        f"{where}/branches",
        f"{where}/collaborators/ada/permission",
        f"{where}/comments",
        f"{where}/comments/{comment.json()['id']}",
        f"{where}/commits/{pushed}/comments",
        f"{where}/commits",
        f"{where}/commits?sha=main&since=2026-01-01T00:00:00Z&per_page=1&page=2",
        f"{where}/commits/main",
        f"{where}/commits/{pushed}/status",
        f"{where}/commits/{pushed}/statuses",
        f"{where}/commits/main/status",
        f"{where}/compare/{pushed}...main",
        f"{where}/contents/README",
        f"{where}/contents/README?ref={pushed}",
        f"{deliveries}/{delivery}",
    ):
        assert ask("GET", path).status_code == 200, path
    assert ask("POST", f"{deliveries}/{delivery}/attempts").status_code == 202


def test_refusals_are_as_described(forge: Served, pushed: str, ask: Callable[..., Any]) -> None:
    for path in (
        "/repos/ada/none",
        f"/repos/{NAME}/commits?sha=none",
        f"/repos/{NAME}/compare/a...b",
        f"/repos/{NAME}/contents/none",
    ):
        assert ask("GET", path).status_code == 404
    assert ask("GET", f"/repos/{NAME}/commits/none").status_code == 422
    assert ask("GET", f"/repos/{NAME}/activity?after=x").status_code == 422
    forge.forge.repositories.get_or_create("ada/empty")
    assert ask("GET", "/repos/ada/empty/commits").status_code == 409
    assert (
        ask("POST", f"/repos/{NAME}/commits/{pushed}/comments", json={"body": " "}).status_code
        == 422
    )


def test_pygithub_asks_what_github_understands(forge: Served, pushed: str, proxy: str) -> None:
    hub = Github(
        auth=Auth.Token("user:ada"),
        base_url=proxy,
        lazy=True,
        seconds_between_requests=None,
        seconds_between_writes=None,
    )
    commit = hub.get_repo(NAME).get_commit(pushed)
    commit.create_status("success", "http://127.0.0.1/x", "exit 0", "fyre/run")
    assert [one.state for one in commit.get_statuses()] == ["success"]
    assert commit.get_combined_status().state == "success"
    commit.create_comment("hello")
    assert [one.body for one in commit.get_comments()] == ["hello"]


def test_our_adapter_asks_what_github_understands(
    forge: Served, pushed: str, repo: Path, git: Git, proxy: str
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", "origin", "main", cwd=repo)
    second = git("rev-parse", "main", cwd=repo)
    adapter = Adapter(proxy, lambda: forge.forge.service_token)
    found = adapter.get_repository(NAME)
    assert adapter.own_login() == "fyre[bot]"
    assert [one.name for one in adapter.list_repositories()] == [NAME]
    assert adapter.get_commit(found, "main").sha == second
    assert adapter.get_file(found, pushed, "README") == b"hello\n"
    assert adapter.get_file(found, pushed, "none") is None
    assert adapter.commits_between(found, pushed, second) == [second]
    adapter.create_status(
        found, pushed, CommitStatus("fyre/run", "success", "exit 0 · 3 s", "http://127.0.0.1/x")
    )
    (posted,) = adapter.list_statuses(found, pushed)
    assert (posted.status.state, posted.creator) == ("success", "fyre[bot]")
    comment = adapter.create_commit_comment(found, pushed, "/fyre rerun")
    assert adapter.list_commit_comments(found, pushed) == [comment]
    assert adapter.get_permission(found, "ada") == "admin"
    assert [one.after for one in adapter.list_ref_updates(found, 0).updates] == [pushed, second]


@pytest.mark.parametrize(
    "body",
    [
        {"state": "green"},
        {"state": "success", "context": 5},
        {"state": "success", "description": "x" * 141},
    ],
)
def test_the_proxy_would_tell(forge: Served, pushed: str, proxy: str, body: dict[str, Any]) -> None:
    answer = requests.post(f"{proxy}/repos/{NAME}/statuses/{pushed}", json=body, timeout=20)
    assert "problem+json" in answer.headers["content-type"]
