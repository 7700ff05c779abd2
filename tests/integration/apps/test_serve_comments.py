"""Comment commands to a whole ``fyre serve``: killed, without webhooks, and with code of a fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from fyre.runs.run_query import ALL_RUNS
from tests.conftest import git
from tests.integration.apps.test_serve import NAME, GitHub, Running, environment, github, start
from tests.support.ci_marks import LONG_CASE
from tests.support.http_json import get_json
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

__all__ = ["github", "start"]


def ask(github: GitHub, path: str, **json: Any) -> Any:
    url = f"{github.forge.api}/repos/{NAME}{path}"
    if not json:
        return get_json(url, "user:ada")
    answer = requests.post(url, json=json, headers={"Authorization": "token user:ada"})
    answer.raise_for_status()
    return answer.json()


def test_commands_that_were_acknowledged_before_a_kill_are_carried_out_once(
    github: GitHub, tmp_path: Path
) -> None:
    sha, ran = git("rev-parse", "HEAD", cwd=github.repo), tmp_path / "ran"
    env = {**os.environ, **environment(github, tmp_path)}
    words = [sys.executable, "-m", "fyre", "serve"]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = next(line for line in server.stderr if line.startswith("ready ")).split()[1]
        until(lambda: requests.get(url + "/readyz").status_code == 200)
        github.forge.forge.start(f"{url}/webhook")
        for number in range(6):
            ask(github, f"/commits/{sha}/comments", body=f"/fyre run echo {number} >>{ran}")
        until(
            lambda: len(ask(github, f"/commits/{sha}/comments")) > 7
        )  # the others are heard, or on their way
        server.send_signal(signal.SIGKILL)
    again = {**env, "FYRE_POLL": "true"}
    with subprocess.Popen(words, env=again, stderr=subprocess.DEVNULL) as server:
        until(lambda: len(ask(github, f"/commits/{sha}/comments?per_page=100")) == 12)
        until(lambda: ran.exists() and len(ran.read_text().split()) == 6)
        until(lambda: sum(one["state"] == "success" for one in github.statuses(sha)) == 6)
        server.terminate()
    assert sorted(ran.read_text().split()) == list("012345")
    said = [one["body"] for one in ask(github, f"/commits/{sha}/comments?per_page=100")]
    assert sum(body.startswith("launched:") for body in said) == 6


def test_without_a_webhook_a_forks_commit_is_approved_fetched_and_run(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    git("checkout", "-q", "-b", "patch", cwd=github.repo)
    git(
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "Patch\n\nFyre-Run: git cat-file -t HEAD^",
        cwd=github.repo,
    )
    read = git("rev-parse", "HEAD", cwd=github.repo)
    git("push", "-q", f"{github.forge.base}/mallory/lab.git", "main", "patch", cwd=github.repo)
    ask(github, "/pulls", title="Faster", head="mallory:patch", base="main")
    ask(github, "/issues/1/comments", body=f"/fyre approve {read}")
    git("commit", "-q", "--allow-empty", "-m", "Worse\n\nFyre-Run: true", cwd=github.repo)
    git("push", "-q", f"{github.forge.base}/mallory/lab.git", "patch", cwd=github.repo)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"approvedForks: true\nrepositories: [{NAME}]\nprofiles: {{default: {{image: python}}}}\n"
    )
    server = start(FYRE_POLL="true", FYRE_POLICY=str(policy))
    status = github.final(read)
    assert (status["state"], status["description"]) == ("success", "exit 0 · 0s")
    said = until(lambda: ask(github, "/issues/1/comments")[1:])
    assert said[0]["body"].startswith(
        f"On {read}:\n\nlaunched:\n\n- [`run`](https://fyre.example.org/runs/"
    )
    assert [record.run.sha for record in server.serve.engine.query_runs(ALL_RUNS)] == [read]
    until(lambda: not list(server.serve.mirrors.list_pins()))
    refs = git(
        "for-each-ref", "--format=%(refname)", cwd=next(server.serve.mirrors._root.glob("*.git"))
    ).split()
    assert refs == ["refs/heads/main"]


def test_where_a_commit_stands_is_asked_anew(
    github: GitHub, start: Callable[..., Running], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("refs: [main]\n")
    server = start(FYRE_POLICY=str(policy))
    github.forge.forge.start(f"{server.serve.listen_url}/webhook")
    git("commit", "-q", "--allow-empty", "-m", "Work", cwd=github.repo)
    sha = git("rev-parse", "HEAD", cwd=github.repo)

    def answer(number: int) -> str:
        ask(github, f"/commits/{sha}/comments", body="/fyre run true")
        said = until(
            lambda: [one["body"] for one in ask(github, f"/commits/{sha}/comments")][
                2 * number + 1 :
            ]
        )
        return str(said[0])

    git("push", "-q", "origin", "main:dev", cwd=github.repo)
    assert "it is on no branch that may launch: main" in answer(0)
    git("push", "-q", "origin", "main", cwd=github.repo)
    assert answer(1).startswith("launched:")
    git("push", "-q", "--force", "origin", "main^:main", cwd=github.repo)
    assert "it is on no branch that may launch: main" in answer(2)
