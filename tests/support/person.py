"""A person with a clone of a repository on a real ``fyre up``, who reads the forge's API."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.message import fyre_ids
from fyre.runs.run_query import ALL_RUNS
from tests.conftest import git
from tests.support.first_push import push_to_forge, read_head
from tests.support.http_json import get_json

NAME = "ada/lab"


@dataclass
class Person:
    """Somebody who types git, and reads the forge's API."""

    up: FyreUp
    repo: Path

    def git(self, *args: str) -> str:
        return git(*args, cwd=self.repo)

    def commit(
        self,
        *trailers: str,
        subject: str = "Work",
        files: dict[str, str] | None = None,
        mint: bool = False,
    ) -> str:
        """Commit by hand; return the SHA."""
        for path, text in (files or {}).items():
            (self.repo / path).write_text(text)
            self.git("add", path)
        lines = [*trailers, *([f"Fyre-Id: {fyre_ids.new_fyre_id()}"] if mint else [])]
        self.git("commit", "-q", "--allow-empty", "-m", subject + "\n\n" + "\n".join(lines))
        return read_head(self.repo)

    def push(self, *refs: str) -> None:
        self.git("push", "-q", "origin", *(refs or ("main",)))

    def run(self, command: str, *trailers: str, **options: Any) -> str:
        """Commit and push one run; return the SHA."""
        sha = self.commit(f"Fyre-Run: {command}", *trailers, **options)
        self.push()
        return sha

    def api(self, path: str, **json: Any) -> Any:
        """GET, or POST if there is data, as somebody who is allowed to."""
        token = json.pop("token", "user:ada")
        url = f"{self.up.url}/api/repos/{NAME}{path}"
        if not json:
            return get_json(url, token)
        answer = requests.post(url, json=json, headers={"Authorization": f"token {token}"})
        answer.raise_for_status()
        return answer.json()

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        """Return all statuses of a commit, oldest first."""
        return self.api(f"/commits/{sha}/statuses?per_page=100")[::-1]

    def final(self, sha: str, context: str = "fyre/run", attempt: str = "") -> dict[str, Any]:
        """Return the newest status of a context, once it is final (and names that attempt)."""
        deadline = time.monotonic() + 30
        while True:
            mine = [one for one in self.statuses(sha) if one["context"] == context]
            if mine and mine[-1]["state"] != "pending" and attempt in mine[-1]["description"]:
                return mine[-1]
            assert time.monotonic() < deadline, f"still {self.statuses(sha)}"
            time.sleep(0.05)  # its answers are made in this very process

    def comment(self, sha: str, body: str, token: str = "user:ada") -> int:
        return int(self.api(f"/commits/{sha}/comments", body=body, token=token)["id"])

    def comments(self, sha: str) -> list[str]:
        """Return the comments on a commit, as people see them."""
        return [
            one["body"].partition("\n\n<!-- fyre: ")[0]
            for one in self.api(f"/commits/{sha}/comments")
        ]

    def log(self, status: dict[str, Any]) -> str:
        return requests.get(status["target_url"] + "/log").text

    def settled(self) -> None:
        """Wait until every event so far is processed."""
        sha = self.run("true", "Fyre-Name: settled")
        self.final(sha, "fyre/settled")

    def ran(self) -> list[tuple[str, str]]:
        """Return the SHA and command of every run that the engine knows, oldest first."""
        records = reversed(self.up.engine.query_runs(ALL_RUNS))
        return [(record.run.sha, record.run.spec.command) for record in records]


@pytest.fixture
def person(up: FyreUp, repo: Path) -> Person:
    return make_person(up, repo)


def make_person(up: FyreUp, repo: Path) -> Person:
    """Return a person whose clone has a remote, to which its branch was pushed."""
    await_answer(up)
    push_to_forge(up.local_forge, NAME, repo)
    return Person(up, repo)


def await_answer(up: FyreUp) -> None:
    """Wait until it has said that it is ready, as a push does."""
    connection = http.client.HTTPConnection(*up.listen_socket.getsockname())
    connection.request("HEAD", "/")
    connection.getresponse()
    connection.close()
