"""What is said on a pull request before its merge, over a receiver and a forge with check runs."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import requests

from fyre.controller.events import SweepEvent
from fyre.controller.pull_checks import PullChecks
from fyre.errors import TransientError
from fyre.local_forge.api import routes
from fyre.local_forge.api.rest import ApiRequest, ApiResponse
from fyre.message import pull_notes
from fyre.reporter.check_runs import CheckRunReporter
from tests.integration.controller.test_access import push_as
from tests.integration.controller.test_merged_forks import CLOSED, REPO, offered
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person
from tests.support.waiting import until

__all__ = ["offered"]  # a fixture

COMMITS = ("GET", f"{REPO}/pulls/{{number}}/commits")
LOOK_UP = ("GET", f"{REPO}/commits/{{ref:path}}/check-runs")
POST = ("POST", f"{REPO}/check-runs")
SQUASH = "**A squash merge loses runs.** 2 commits ask for runs, and a squash keeps only those"
FORK = "**After the merge its runs wait.** This pull request comes from a fork and asks for runs"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The requests of the receiver about pull requests. Asked for before ``person``."""
    requests: list[tuple[str, str]] = []

    def counted(key: tuple[str, str], handler: routes.Handler) -> routes.Handler:
        def count(call: ApiRequest) -> ApiResponse:
            requests.extend([key] if call.user and call.user.type == "Bot" else [])
            return handler(call)

        return count

    for key in (COMMITS, LOOK_UP, POST):
        monkeypatch.setitem(routes._HANDLERS, key, counted(key, routes._HANDLERS[key]))
    return requests


class Pull:
    """A pull request of which GitHub's webhooks tell."""

    def __init__(self, person: Person) -> None:
        executor = person.up.controller.executor
        self.person, self.number = person, 0
        self.moments = count(time.time() + 3600.0)
        checks = CheckRunReporter(executor.forge, executor.engine.read_log, executor.policy)
        executor.reporter.check_runs = checks

    def open(self, head: str = "topic", **more: Any) -> None:
        self.number = self.person.api("/pulls", title="Work", head=head, base="main", **more)[
            "number"
        ]

    def tell(self, action: str, at: float = 0.0, **changes: Any) -> None:
        """Deliver a webhook and wait until all of it is done."""
        at = at or next(self.moments)
        moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        pull = self.person.api(f"/pulls/{self.number}") | {"updated_at": moment} | changes
        told = {
            "action": action,
            "number": self.number,
            "pull_request": pull,
            "repository": {**self.person.api(""), "full_name": NAME},
            "sender": {"login": "ada", "type": "User"},
        }
        body, secret = json.dumps(told).encode(), self.person.up.local_forge.webhook_secret
        headers = {
            "X-GitHub-Event": "pull_request",
            "X-Hub-Signature-256": "sha256="
            + hmac.new(secret.encode(), body, "sha256").hexdigest(),
        }
        url = f"{self.person.up.url}/webhook"
        assert requests.post(url, data=body, headers=headers).status_code == 202
        self.finish()

    def finish(self) -> None:
        controller = self.person.up.controller
        until(lambda: not controller.queue_length() and controller.executor.reporter.is_idle())

    def checks(self, sha: str) -> list[dict[str, Any]]:
        """Return all check runs of a commit, oldest first."""
        path = f"/commits/{sha}/check-runs?filter=all"
        found: list[dict[str, Any]] = self.person.api(path)["check_runs"]
        return found[::-1]


@pytest.fixture
def pull(person: Person) -> Pull:
    return Pull(person)


@pytest.fixture
def topic(person: Person) -> str:
    """The head of a branch with two commits that ask for runs."""
    person.git("checkout", "-q", "-b", "topic")
    person.commit("Fyre-Run: echo 1")
    return person.commit("Fyre-Run: echo 2")


def only_main_launches(person: Person) -> None:
    executor = person.up.controller.executor
    executor.policy = replace(CLOSED, refs=("main",))


def test_9_20_what_a_squash_would_lose_is_told_on_the_pull_request_and_kept_up_to_date(
    asked: list[tuple[str, str]], person: Person, pull: Pull, topic: str
) -> None:
    only_main_launches(person)
    person.push("topic")
    pull.open()
    asked.clear()
    pull.tell("opened")
    (made,) = pull.checks(topic)
    assert (made["name"], made["status"], made["conclusion"]) == ("fyre", "completed", "neutral")
    assert made["output"]["title"] == "Before you merge: a note on its runs"
    assert made["output"]["summary"].startswith(SQUASH)
    assert asked == [COMMITS, POST]
    pull.tell("labeled", title="[skip ci]")
    pull.tell("opened")  # delivered once more
    assert asked == [COMMITS, POST]
    pull.tell("edited", title="Other")
    pull.tell("edited", at=1.0, title="[skip ci] of an earlier time")
    assert asked == [COMMITS, POST, COMMITS]
    pull.tell("edited", title="[skip ci] Work")
    assert pull.checks(topic)[-1]["output"]["title"] == "Before you merge: 2 notes on its runs"
    assert "`[skip ci]` does not stop Fyre" in pull.checks(topic)[-1]["output"]["summary"]
    squashless = {"base": pull_base(pull, allow_squash_merge=False)}
    pull.tell("edited", **squashless)
    settled = pull.checks(topic)[-1]
    assert (settled["output"]["title"], settled["output"]["summary"]) == pull_notes.NOTHING_LEFT
    assert settled["conclusion"] == "neutral"
    assert len(pull.checks(topic)) == 3
    asked.clear()
    person.git("reset", "-q", "--hard", "HEAD~1")
    person.push("+topic")
    pull.tell("synchronize")
    assert pull.checks(person.git("rev-parse", "HEAD")) == []
    assert asked == [COMMITS]


def pull_base(pull: Pull, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = pull.person.api(f"/pulls/{pull.number}")["base"]
    return base | {"repo": base["repo"] | changes}


def test_9_2_that_a_forks_runs_will_wait_is_told_before_the_merge(
    person: Person, pull: Pull, offered: tuple[int, str]
) -> None:
    pull.number, sha = offered
    executor = person.up.controller.executor
    for policy in (replace(CLOSED, merged_forks=True), replace(CLOSED, refs=("release",))):
        executor.policy = policy
        pull.tell("opened")
        assert pull.checks(sha) == []
    executor.policy = CLOSED
    queue = "gh-readonly-queue/main/pr-1"
    pull.tell("edited", base=pull_base(pull) | {"ref": queue})
    pull.tell("edited", state="closed")
    assert pull.checks(sha) == []
    pull.tell("edited", title="Fyre-Run: echo title")
    (made,) = pull.checks(sha)
    assert made["conclusion"] == "neutral"
    assert made["output"]["summary"].startswith(f"{FORK} (the title, commit {sha[:7]}).")
    assert "`/fyre rerun`" in made["output"]["summary"]
    assert person.ran() == []


@long_case
def test_9_2_what_is_said_is_said_once_over_restarts_lost_answers_and_sweeps(
    asked: list[tuple[str, str]],
    person: Person,
    pull: Pull,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only_main_launches(person)
    person.push("topic")
    pull.open()
    controller = person.up.controller
    checks = controller.executor.reporter.check_runs
    assert checks is not None
    post, lost = checks.post, [TransientError("no answer")]

    def answerless(*args: Any) -> Any:
        headers = post(*args)
        if lost:
            raise lost.pop()
        return headers

    monkeypatch.setattr(checks, "post", answerless)
    pull.tell("opened")
    until(lambda: asked.count(LOOK_UP) == 1)
    pull.finish()
    assert len(pull.checks(topic)) == 1
    for restart in (
        lambda: pull.tell("opened", at=time.time() - 1),
        lambda: pull.tell("edited", title="New"),
        lambda: sweep(pull),
    ):
        controller._pull_checks = PullChecks(controller.executor)
        asked.clear()
        restart()
        assert asked == [COMMITS, LOOK_UP]
        asked.clear()
    sweep(pull)
    assert asked == []
    assert len(pull.checks(topic)) == 1
    person.commit("Fyre-Run: echo 3")
    person.push("topic")
    sweep(pull)
    assert len(pull.checks(person.git("rev-parse", "HEAD"))) == 1


def sweep(pull: Pull) -> None:
    pull.person.up.controller.enqueue_event(SweepEvent())
    pull.finish()


def test_9_2_without_the_right_nothing_is_said_and_nothing_else_waits(
    person: Person, pull: Pull, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    checks = person.up.controller.executor.reporter.check_runs
    assert checks is not None
    checks.forge = type(checks.forge)(checks.forge.url, lambda: "user:ada")
    only_main_launches(person)
    push_as(person, "ada", "topic")
    pull.open()
    pull.tell("opened")
    pull.tell("edited", title="[skip ci]")
    assert pull.checks(topic) == []
    assert sum("the App needs checks: write" in one.message for one in caplog.records) == 1


@pytest.mark.parametrize("commits", [99, 100])
def test_9_20_what_was_not_read_is_told(commits: int) -> None:
    title, text = pull_notes.render_notes(
        pull_notes.PullText(
            "Work",
            "",
            [(f"{number:040x}", "Work\n\nFyre-Run: make") for number in range(commits)],
            waits_after_merge=True,
            takes_squash=True,
            is_cut=commits == 100,
        )
    )
    assert title == "Before you merge: 2 notes on its runs"
    assert f"(commit 0000000, commit 0000000, commit 0000000 and {commits - 3} more)" in text
    assert ("Only its first 100 commits were read." in text) is (commits == 100)
