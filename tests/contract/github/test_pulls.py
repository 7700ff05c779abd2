"""Pull requests and their conversations, held against GitHub's own descriptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from fyre.controller.comment_poller import CommentPoller
from fyre.github import comment_threads
from fyre.github.client import GitHubClient as Adapter
from tests.support.local_forge import NAME, Receiver, Served

pytestmark = pytest.mark.ci

WHERE = f"/repos/{NAME}"


def test_every_answer_and_every_delivery_is_as_described(  # noqa: PLR0917 - fixtures
    forge: Served,
    receiver: Receiver,
    pushed: str,
    repo: Path,
    git: Callable[..., str],
    proxy: str,
    modules: Path,
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", forge.git("mallory/engine"), "main", "main:patch", cwd=repo)

    def ask(method: str, path: str, code: int, **body: Any) -> Any:
        headers = {"Authorization": "token user:ada"}
        answer = requests.request(
            method, proxy + WHERE + path, headers=headers, json=body or None, timeout=20
        )
        assert (answer.status_code, "problem+json" in answer.headers["content-type"]) == (
            code,
            False,
        ), answer.text
        return answer.json()

    assert ask("GET", "/pulls?state=all&per_page=1", 200) == []
    ask("POST", "/pulls", 201, title="Faster", head="mallory:patch", base="main")
    ask("POST", "/pulls", 422, title="Faster", head="none", base="main")
    ask("GET", "/pulls/1", 200)
    ask("GET", "/pulls/2", 404)
    assert [one["parents"] for one in ask("GET", "/pulls/1/commits?per_page=100", 200)]
    assert [one["number"] for one in ask("GET", "/pulls", 200)] == [1]
    assert ask("GET", "/pulls?state=closed", 200) == []
    second, first = git("rev-list", "main", cwd=repo).split()
    assert [one["state"] for one in ask("GET", f"/commits/{second}/pulls", 200)] == ["open"]
    assert ask("GET", f"/commits/{first}/pulls", 200) == []
    git("push", "-q", forge.git(NAME), "main", cwd=repo)
    (merged,) = ask("GET", f"/commits/{second}/pulls", 200)
    assert merged["merged_at"]
    assert ask("GET", "/pulls", 200) == []
    assert [one["state"] for one in ask("GET", "/pulls?state=all&per_page=1", 200)] == ["closed"]
    ask("POST", "/issues/1/comments", 201, body="/fyre status")
    for query in ("", "?since=2026-01-01T00:00:00Z&sort=created&direction=desc&per_page=100"):
        assert len(ask("GET", f"/issues/comments{query}", 200)) == 1
        assert len(ask("GET", f"/issues/1/comments{query.partition('&')[0]}", 200)) == 1
    adapter = Adapter(proxy, lambda: forge.forge.service_token)
    found = adapter.get_repository(NAME)
    said, *_ = CommentPoller(adapter).poll_commands(found, 0)
    assert (said.pull_number, said.actor, said.body) == (1, "ada", "/fyre status")
    pull = comment_threads.get_pull_request(adapter, found, 1)
    assert (pull.branch, pull.is_fork) == ("refs/heads/patch", True)
    assert (
        comment_threads.head_sha_at(
            adapter, found, replace(pull, branch="refs/heads/main"), said.created_at
        )
        == pull.head_sha
    )
    comment_threads.post_reply(adapter, said, "heard")
    assert [one.body for one in comment_threads.list_thread(adapter, said)] == [
        "/fyre status",
        "heard",
    ]
    told, _ = receiver.wait(2, "issue_comment")
    whole = json.loads((modules / "@octokit/webhooks-schemas/schema.json").read_bytes())
    schema = {"definitions": whole["definitions"], "$ref": "#/definitions/issue_comment$created"}
    checker = jsonschema.Draft7Validator.FORMAT_CHECKER
    jsonschema.Draft7Validator(schema, format_checker=checker).validate(told.data)
