"""A held run as everybody sees it: its status, its pages, the verbs, the commands in comments."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import requests

from fyre.cli import main
from fyre.client import run_page
from fyre.engines.local import LocalEngine
from fyre.runs.run import Run
from fyre.runs.run_query import ALL_RUNS
from tests.support.ci_marks import easier_cases
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["person"]


@pytest.fixture
def held(person: Person, monkeypatch: pytest.MonkeyPatch) -> tuple[Person, str, Run]:
    """A run that was pushed, and that the engine holds."""
    launch = LocalEngine.launch

    def hold(engine: LocalEngine, run: Run, **_: object) -> bool:
        return launch(engine, run, hold=True, reason="needs prep")

    with monkeypatch.context() as patched:
        patched.setattr(LocalEngine, "launch", hold)
        sha = person.run("echo on")
        until(lambda: person.statuses(sha))
    monkeypatch.chdir(person.repo)
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    return person, sha, record.run


def fyre_json(capfd: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    capfd.readouterr()
    assert main.main((*words, "--json")) == 0
    rows: list[dict[str, object]] = json.loads(capfd.readouterr().out)
    return rows


def test_it_is_shown_as_waiting(
    held: tuple[Person, str, Run], capfd: pytest.CaptureFixture[str]
) -> None:
    person, sha, _ = held
    (posted,) = person.statuses(sha)
    assert (posted["state"], posted["description"]) == ("pending", "waiting · needs prep")
    for words in (("status",), ("log",)):
        (row,) = fyre_json(capfd, *words)
        assert (row["state"], row["description"]) == ("waiting", "waiting · needs prep")
        assert (row["started_at"], row["exit_code"]) == (None, None)
    (listed,) = requests.get(f"{person.up.url}/runs.json").json()
    assert listed["state"] == "waiting"
    for page in (f"{person.up.url}/", posted["target_url"]):
        assert 'class="waiting"' in requests.get(page).text
    assert requests.get(posted["target_url"] + "/log").text == ""


@pytest.mark.parametrize(
    "words", [*easier_cases(("watch",), ("logs", "-f")), ("watch", "--exit-status")]
)
def test_a_watcher_is_told_what_a_run_waits_for_and_stays_until_it_has_ended(
    held: tuple[Person, str, Run],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    person, sha, run = held
    read_facts, asked = run_page.read_facts, []

    def seen(url: str) -> dict[str, Any]:
        asked.append(url)
        return read_facts(url)

    monkeypatch.setattr(run_page, "read_facts", seen)
    codes: list[int] = []
    watcher = threading.Thread(target=lambda: codes.append(main.main(words)))
    watcher.start()
    said: list[str] = []

    def has_told() -> bool:
        said.append(capfd.readouterr().err)
        return "fyre: waiting · needs prep\n" in "".join(said)

    try:
        until(has_told)
        polls = len(asked)
        until(lambda: len(asked) > polls + 2 or codes)
        assert codes == []
    finally:
        person.up.engine.release(run.key)
        watcher.join(60)
    assert codes == [0]
    assert ("on\n" in capfd.readouterr().out) is (words[0] == "logs")
    assert person.final(sha)["state"] == "success"


def test_a_comment_cancels_it(held: tuple[Person, str, Run]) -> None:
    person, sha, _ = held
    person.comment(sha, "/fyre cancel")
    assert person.final(sha)["description"] == "cancelled by ada"
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    assert record.tries == 0


def test_a_push_that_comes_again_does_not_start_it(held: tuple[Person, str, Run]) -> None:
    person, sha, run = held
    person.git("push", "-q", "origin", f"{sha}:refs/heads/again")
    person.settled()
    record = person.up.engine.get_record(run.key)
    assert record is not None
    assert record.state == "waiting"
