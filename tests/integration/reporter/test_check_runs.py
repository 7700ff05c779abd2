"""Check runs and their Re-run button, over a whole receiver and a forge that has both."""

from __future__ import annotations

import hmac
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.apps import config as configs
from fyre.errors import UserError
from fyre.github import webhook
from fyre.github.webhook import IgnoredEvent, PayloadError, RerequestEvent
from fyre.message.spec import RunSpec
from fyre.reporter import check_runs, unposted_statuses
from fyre.reporter.check_runs import CheckRunReporter
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.posted_states import posted_states
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.support import apps
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["person"]  # a fixture

REPOSITORY = Repository("https://api.github.com", 1, "ada/lab")
RUN = Run("k" * 26, REPOSITORY, "a" * 40, "t", (), "refs/heads/main", "ada", "run",
          RunSpec("echo hello"), "d", created_at=1000.0)  # fmt: skip
DONE = RunRecord(RUN, RunState.SUCCEEDED, started_at=1001.0, ended_at=1063.0, exit_code=0)


@pytest.fixture
def checked(person: Person) -> Person:
    """A forge that takes check runs of ours, and a policy that shows two lines of a log."""
    executor = person.up.controller.executor
    policy = replace(executor.policy, log_tail=2)
    check_runs = CheckRunReporter(executor.forge, executor.engine.read_log, policy)
    executor.reporter.check_runs = check_runs
    return person


def checks(person: Person, sha: str) -> list[dict[str, Any]]:
    """All check runs of a commit, oldest first."""
    found: list[dict[str, Any]] = person.api(f"/commits/{sha}/check-runs?filter=all")["check_runs"][
        ::-1
    ]
    return found


def check(person: Person, sha: str, count: int = 1) -> dict[str, Any]:
    until(lambda: len(checks(person, sha)) >= count)
    return checks(person, sha)[-1]


def noted(person: Person, sha: str) -> bool:
    """Whether every run of a commit knows of its check run."""
    records = [one for one in person.up.engine.query_runs(ALL_RUNS) if one.run.sha == sha]
    return all(unposted_statuses.CHECK_RUN in posted_states(one.reported) for one in records)


def click(person: Person, number: int, who: str = "user:ada") -> None:
    person.api(f"/check-runs/{number}/rerequest", token=who, clicked=True)


def test_the_end_of_a_run_has_a_check_run_beside_its_status(checked: Person) -> None:
    sha = checked.run("echo one; echo two; echo '```three'; exit 3")
    made = check(checked, sha)
    status = checked.final(sha)
    assert (made["name"], made["head_sha"], made["status"], made["conclusion"]) == (
        "fyre/run",
        sha,
        "completed",
        "failure",
    )
    assert made["details_url"] == status["target_url"]
    assert made["output"]["title"] == status["description"]
    for part in (sha, "exit 3", "echo two", status["target_url"]):
        assert part in made["output"]["summary"]
    assert made["output"]["text"] == "````text\ntwo\n```three\n````"


def test_of_a_log_nothing_is_shown_unless_the_policy_says_so(checked: Person) -> None:
    book = checked.up.controller.executor.reporter
    assert book.check_runs is not None
    book.check_runs.policy = replace(book.check_runs.policy, log_tail=0)
    assert check(checked, checked.run("echo secret"))["output"]["text"] is None


def test_the_button_runs_it_once_more_and_each_once(checked: Person) -> None:
    sha = checked.run("true")
    first = check(checked, sha)
    click(checked, first["id"])
    second = check(checked, sha, 2)
    assert "attempt 2" in second["output"]["title"]
    click(checked, first["id"])  # as a redelivery would have it
    click(checked, second["id"])
    third = check(checked, sha, 3)
    assert "attempt 3" in third["output"]["title"]
    assert len(checked.ran()) == 3
    assert len({one["external_id"] for one in checks(checked, sha)}) == 3


def test_the_button_needs_the_permission_to_write(
    checked: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = checked.run("true")
    made = check(checked, sha)
    asked: list[str] = []
    monkeypatch.setattr(
        checked.up.controller.executor.forge,
        "get_permission",
        lambda _, who: asked.append(who) or "read",
    )
    click(checked, made["id"], "user:eve")
    until(lambda: asked == ["eve"])
    checked.settled()
    assert [one for one in checked.ran() if one[0] == sha] == [(sha, "true")]


def test_after_a_crash_it_is_looked_up_and_made_once(checked: Person) -> None:
    sha = checked.run("true")
    check(checked, sha)
    until(lambda: noted(checked, sha))
    (record,) = checked.up.engine.query_runs(ALL_RUNS)
    book = checked.up.controller.executor.reporter
    book.stop()
    checked.up.engine.annotate(record.run.key, reported=json.dumps({sha: "succeeded"}))
    again = StatusReporter(book.forge, book.engine, book.index, book.page_url, book.check_runs)
    again.start()
    try:
        until(lambda: noted(checked, sha))
    finally:
        again.stop()
    assert len(checks(checked, sha)) == 1


def test_where_the_app_may_not_the_statuses_go_on(
    checked: Person, caplog: pytest.LogCaptureFixture
) -> None:
    book = checked.up.controller.executor.reporter
    assert book.check_runs is not None
    book.check_runs.forge = type(book.forge)(book.forge.url, lambda: "user:ada")
    shas = [checked.run("true"), checked.run("exit 1")]
    assert [checked.final(sha)["state"] for sha in shas] == ["success", "failure"]
    until(lambda: all(noted(checked, sha) for sha in shas))
    assert sum("no check runs" in one.message for one in caplog.records) == 1
    assert [checks(checked, sha) for sha in shas] == [[], []]


@pytest.mark.parametrize(
    ("state", "reason", "word"),
    [
        (RunState.SUCCEEDED, "", "success"),
        (RunState.FAILED, "", "failure"),
        (RunState.FAILED, "timed out after 2h", "timed_out"),
        (RunState.ERROR, "lost", "failure"),
        (RunState.CANCELLED, "", "cancelled"),
    ],
)
def test_githubs_word_is_never_better_than_the_status(
    state: RunState, reason: str, word: str
) -> None:
    assert check_runs.check_run_conclusion(replace(DONE, state=state, reason=reason)) == word


def test_what_people_wrote_stays_in_its_block() -> None:
    run = replace(RUN, spec=RunSpec("echo '````' @team\n# <b>"))
    summary = check_runs.check_run_body(replace(DONE, run=run), "https://fyre.example.org/runs/x")[
        "output"
    ]["summary"]
    assert "`````text\necho '````' @team\n# <b>\n`````" in summary
    assert "**took** 1m 02s" in summary


def test_no_carriage_return_leads_out_of_a_span() -> None:
    run = replace(RUN, spec=RunSpec("true\r\r![](https://eve.example/seen.png) @acme/all"))
    summary = check_runs.check_run_body(replace(DONE, run=run), "")["output"]["summary"]
    assert f"```text\n{run.spec.command}\n```" in summary


def test_bytes_that_were_no_text_are_sent_as_text() -> None:
    run = replace(RUN, spec=RunSpec("echo \udcff"))
    assert (
        "`echo \ufffd`"
        in check_runs.check_run_body(replace(DONE, run=run), "")["output"]["summary"]
    )


def test_9_39_a_check_run_has_no_terminal_codes_and_of_a_progress_bar_its_last_state() -> None:
    log = b"\x1b[31mred\x1b[0m \x1b]0;title\x07text\r\n 0%\r 50%\r100%\n\x1b[?25l 1/2\r\x1b[K2/2\r"
    assert check_runs.last_lines(iter([log]), 9).split("\n") == ["red text", "100%", "2/2"]


def test_a_fence_leaves_room_for_what_is_in_it() -> None:
    run = replace(RUN, spec=RunSpec("`" * 200_000))
    told = check_runs.check_run_body(replace(DONE, run=run), "", "x" * 50_000 + "`" * 10_000)[
        "output"
    ]
    assert max(map(len, (told["summary"], told["text"]))) < 65_535
    assert told["text"].startswith("`" * 100 + "text\nxx")
    assert told["text"].endswith("x" + "`" * 99 + "\n" + "`" * 100)


def test_the_longest_of_all_fits() -> None:
    run = replace(RUN, spec=RunSpec("x" * 200_000))
    told = check_runs.check_run_body(
        replace(DONE, run=run),
        "",
        check_runs.last_lines(iter([b"\xff\x1b[1m" + b"y" * 500_000]), 9),
    )["output"]
    assert max(map(len, (told["summary"], told["text"]))) < 65_535
    assert "\x1b" not in told["text"]


def payload(**check: Any) -> bytes:
    made = {"id": 5, "name": "fyre/train", "head_sha": "b" * 40, **check}
    told = {"action": "rerequested", "check_run": made, "sender": {"login": "ada", "type": "User"},
            "repository": {"id": 1, "full_name": "ada/lab", "default_branch": "main"}}  # fmt: skip
    return json.dumps(told).encode()


def test_a_click_is_read() -> None:
    headers = {"x-github-event": "check_run"}
    event = webhook.parse_event("https://api.github.com", headers, payload())
    assert isinstance(event, RerequestEvent)
    assert (event.sha, event.actor, event.run_name, event.click_id) == ("b" * 40, "ada", "train", 5)
    assert isinstance(webhook.parse_event("f", headers, payload(name="lint")), IgnoredEvent)
    assert isinstance(
        webhook.parse_event("f", headers, payload().replace(b"rerequested", b"completed")),
        IgnoredEvent,
    )
    with pytest.raises(PayloadError):
        webhook.parse_event("f", headers, payload(head_sha="main"))


def test_the_button_of_all_reruns_all_and_a_redelivery_nothing(checked: Person) -> None:
    sha = checked.run("true", "Fyre-Run: echo two", "Fyre-Name: two")
    check(checked, sha, 2)
    told = {**checked.api(""), "full_name": "ada/lab"}
    delivery = {
        "action": "rerequested",
        "check_suite": {"id": 7, "head_sha": sha},
        "sender": {"login": "ada", "type": "User"},
        "repository": told,
    }
    body = json.dumps(delivery).encode()
    secret = checked.up.local_forge.webhook_secret.encode()

    def deliver(guid: str) -> None:
        signature = "sha256=" + hmac.new(secret, body, "sha256").hexdigest()
        headers = {
            "X-GitHub-Event": "check_suite",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": signature,
        }
        assert (
            requests.post(f"{checked.up.url}/webhook", data=body, headers=headers).status_code
            == 202
        )

    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    for guid, count in ((first, 4), (first, 4), (second, 6)):
        deliver(guid)
        check(checked, sha, count)
        until(lambda: noted(checked, sha))
    assert len(checked.ran()) == 6


@pytest.mark.parametrize(
    ("headers", "change"),
    [
        ({}, {}),
        ({"x-github-delivery": "x"}, {}),
        ({"x-github-delivery": str(uuid.UUID(int=1))}, {"check_suite": None}),
    ],
)
def test_a_click_on_all_without_what_tells_it_apart_is_malformed(
    headers: dict[str, str], change: dict[str, Any]
) -> None:
    told = {**json.loads(payload()), "check_suite": {"head_sha": "b" * 40}, **change}
    with pytest.raises(PayloadError):
        webhook.parse_event(
            "f", {"x-github-event": "check_suite", **headers}, json.dumps(told).encode()
        )


def said(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"FYRE_URL": "https://fyre.example.org", "FYRE_STATE": str(tmp_path), "FYRE_POLL": "yes",
            "FYRE_CHECKS": "true", **more}  # fmt: skip


def test_with_a_token_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FYRE_CHECKS: checks: True needs a GitHub App"):
        configs.load_config(None, said(tmp_path, FYRE_TOKEN="ghp_x"), {})


def test_with_an_app_it_is_taken(tmp_path: Path) -> None:
    key = apps.pem(apps.private_key())
    assert (
        configs.load_config(
            None, said(tmp_path, FYRE_APP_ID="1", FYRE_APP_PRIVATE_KEY=key), {}
        ).get("checks")
        is True
    )


NODE_MODULES = os.environ.get("FYRE_NODE_MODULES", "")


@pytest.fixture(scope="module")
def described() -> Callable[[str], dict[str, Any]]:
    """A schema of GitHub's own description, by name, with nullable in JSON schema's words."""
    folder = Path(NODE_MODULES, "@octokit", "openapi", "generated")
    whole = json.loads((folder / "api.github.com.json").read_text())["components"]["schemas"]

    def plain(data: Any) -> Any:
        if isinstance(data, list):
            return [plain(one) for one in data]
        if not isinstance(data, dict):
            return data
        if "$ref" in data:
            data = {
                **whole[data["$ref"].rpartition("/")[2]],
                **{k: v for k, v in data.items() if k != "$ref"},
            }
        found = {key: plain(value) for key, value in data.items() if key != "nullable"}
        return {"anyOf": [found, {"type": "null"}]} if data.get("nullable") is True else found

    return lambda name: plain(whole[name])


@pytest.mark.ci
@pytest.mark.skipif(not NODE_MODULES, reason="needs GitHub's own description; .ci/run sets it up")
def test_the_forges_check_runs_are_as_github_describes_them(
    checked: Person, described: Callable[[str], dict[str, Any]]
) -> None:
    import jsonschema

    made = check(checked, checked.run("echo hello"))
    jsonschema.Draft4Validator(described("check-run")).validate(made)


@pytest.mark.ci
@pytest.mark.skipif(not NODE_MODULES, reason="needs GitHub's recorded payloads; .ci/run sets it up")
def test_a_click_is_told_as_github_tells_it(
    checked: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jsonschema

    heard: list[bytes] = []
    parse = webhook.parse_event
    monkeypatch.setattr(webhook, "parse_event", lambda *told: heard.append(told[2]) or parse(*told))
    sha = checked.run("true")
    click(checked, check(checked, sha)["id"])
    check(checked, sha, 2)
    (told,) = [data for data in map(json.loads, heard) if "check_run" in data]
    whole = json.loads(
        Path(NODE_MODULES, "@octokit", "webhooks-schemas", "schema.json").read_bytes()
    )
    schema = {"definitions": whole["definitions"], "$ref": "#/definitions/check_run$rerequested"}
    jsonschema.Draft7Validator(schema).validate(told)
