"""The list of runs over HTTP: what its parameters select, and its pages, for people and scripts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from starlette.applications import Starlette

from fyre.engines.local import LocalEngine
from fyre.message.spec import RunSpec
from fyre.runs.run import Run
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from fyre.server.run_pages import RunPages
from tests.conftest import git
from tests.contract.engine import REPOSITORY, await_end, await_state, make_run
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person
from tests.support.relaying import serve

OTHER = replace(REPOSITORY, id=2, name="eve/Lab")


@dataclass
class RunList:
    """The pages of an engine whose only slot is taken, so that whatever is launched waits."""

    engine: LocalEngine
    sha: str
    url: str = ""

    def launch(self, number: int, **fields: Any) -> str:
        """Launch the run of that number: ten of them have the same moment. Return its link."""
        run = make_run(self.sha, "true")
        changed: Run = replace(run, created_at=1e9 + number // 10, **fields)
        assert self.engine.launch(changed)
        return run.key

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=30)

    def keys(self, path: str) -> list[str]:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return [key_of(row["log_url"]) for row in answer.json()]

    def expected(self) -> list[str]:
        """Return the keys of all runs, newest first."""
        return [record.run.key for record in self.engine.query_runs(ALL_RUNS)]


def key_of(link: str) -> str:
    return re.search("/runs/([0-9a-f]{26})-", link)[1]  # type: ignore[index] # else a failed test


def linked_keys(page: str) -> list[str]:
    return [key_of(link) for link in re.findall(r'href="([^"]*/runs/[^"]*)"', page)]


@pytest.fixture
def runs(repo: Path, tmp_path: Path) -> Iterator[RunList]:
    sha = git("rev-parse", "HEAD", cwd=repo)
    engine = LocalEngine(tmp_path / "state", find_git_dir=lambda _: repo / ".git", jobs=1)
    blocking = replace(make_run(sha, "sleep 1000"), created_at=1.0, name="first")
    engine.launch(blocking)
    await_state(engine, blocking.key, RunState.RUNNING)
    listed = RunList(engine, sha)
    pages = RunPages(engine, b"secret", lambda: listed.url)
    try:
        with serve(Starlette(routes=pages.routes())) as listed.url:
            yield listed
    finally:
        for key in listed.expected():
            engine.cancel(key, "the test")
        await_end(engine, blocking.key)
        engine.close()


@long_case
def test_two_hundred_runs_are_listed_and_the_others_are_linked(runs: RunList) -> None:
    for number in range(201):
        runs.launch(number)
    expected = runs.expected()
    assert runs.keys("/runs.json") == linked_keys(runs.get("/").text) == expected[:200]
    link = runs.get("/runs.json").links["next"]
    assert link["url"].startswith(f"{runs.url}/runs.json?")
    last = requests.get(link["url"], timeout=30)
    assert [key_of(row["log_url"]) for row in last.json()] == expected[200:]
    assert "Link" not in last.headers


def test_pages_of_json_neither_skip_nor_repeat_a_run_while_new_ones_arrive(runs: RunList) -> None:
    for number in range(25):
        runs.launch(number)
    expected, seen, url = runs.expected(), list[str](), f"{runs.url}/runs.json?limit=4"
    while url:
        answer = requests.get(url, timeout=30)
        assert len(answer.json()) <= 4
        seen += [key_of(row["log_url"]) for row in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
        runs.launch(1000)
    assert seen == expected


def test_links_to_older_runs_lead_a_person_to_all_that_fit(runs: RunList) -> None:
    for number in range(9):
        runs.launch(number, name="a&b" if number % 2 else "other")
    expected, seen, url = runs.keys("/runs.json?name=a%26b"), list[str](), "/?name=a%26b&limit=3"
    assert len(expected) == 4
    while url:
        page = runs.get(url).text
        assert "name <code>a&amp;b</code>" in page
        seen += linked_keys(page)
        older = re.search(r'<a rel="next" href="([^"]*)">older runs</a>', page)
        url = urljoin("/", html.unescape(older[1])) if older else ""
        assert ('<a href="/">newest runs</a>' in page, len(linked_keys(page)) <= 3) == (True, True)
    assert seen == expected


def test_parameters_select_runs(runs: RunList) -> None:
    dev = runs.launch(0, ref="refs/heads/dev", name="Eval")
    pull = runs.launch(10, ref="refs/pull/7/head")
    other = runs.launch(20, repository=OTHER)
    ended = runs.launch(30)
    runs.engine.cancel(ended, "bob")
    await_end(runs.engine, ended)
    first = runs.expected()[-1]
    for query, keys in {
        "": [ended, other, pull, dev, first],
        "repository=Eve/lab": [other],
        "repository=ada/lab&branch=main": [ended, first],
        "repository=nobody/lab": [],
        "branch=dev": [dev],
        "branch=refs/heads/dev": [dev],
        "branch=refs/pull/7/head": [pull],
        "name=eval": [dev],
        "state=running": [first],
        "state=cancelled&state=running": [ended, first],
        "state=queued&branch=main&limit=1": [other],
        "limit=2": [ended, other],
    }.items():
        assert runs.keys(f"/runs.json?{query}") == keys, query
        assert linked_keys(runs.get(f"/?{query}").text) == keys, query
    assert "There is no such run." in runs.get("/?repository=nobody/lab").text
    assert "Nothing has run yet" not in runs.get("/?repository=nobody/lab").text


WRONG_VALUES = {
    "limit=0": "limit is not a number from 1 to 200: '0'",
    "limit=201": "limit is not a number from 1 to 200: '201'",
    "limit=-1": "limit is not a number from 1 to 200: '-1'",
    "limit=%D9%A3": "limit is not a number from 1 to 200: '٣'",
    "limit=": "limit is not a number from 1 to 200: ''",
    "limit=1&limit=2": "limit is given more than once",
    "before=yesterday": "before is not from the link to older runs",
    "before=1.5": "before is not from the link to older runs",
    "state=done": "state is not one of waiting, queued, starting, running, uploading, succeeded, ",
    "state=running&state=": "state is not one of ",
    "state=<b>%0Ax": "'<b>\\nx'",
    "branch=": "branch is empty",
    "name=a&name=b": "name is given more than once",
    "repository=": "repository is empty",
    "stat=failed": "no parameter 'stat': repository, branch, name, state, before, limit",
}
"""By the query string: what the answer says."""


def test_a_wrong_value_is_answered_by_one_line(runs: RunList) -> None:
    for query, said in WRONG_VALUES.items():
        for path in ("/", "/runs.json"):
            answer = runs.get(f"{path}?{query}")
            assert (answer.status_code, said in answer.text) == (400, True), answer.text
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.text.splitlines(keepends=True) == [answer.text]


def test_what_somebody_pushed_is_found_by_its_branch_name_and_state(person: Person) -> None:
    good = person.run("true", "Fyre-Name: good")
    person.git("switch", "-q", "-c", "dev")
    bad = person.commit("Fyre-Run: exit 1", "Fyre-Name: bad")
    person.push("dev")
    person.final(good, "fyre/good")
    person.final(bad, "fyre/bad")

    def found(query: str) -> list[str]:
        rows = requests.get(f"{person.up.url}/runs.json?{query}", timeout=30).json()
        return [row["sha"] for row in rows]

    assert found(f"repository={NAME}") == found("") == [bad, good]
    assert found("branch=dev") == found("name=bad") == found("state=failed") == [bad]
    assert found("branch=main&state=succeeded") == [good]


def test_9_3_a_note_that_is_no_utf8_is_shown(runs: RunList) -> None:
    key = runs.launch(1, spec=RunSpec("true", note="caf\udce9"))
    assert runs.get("/runs.json").json()[0]["note"] == "caf\ufffd"
    link = next(url for url in re.findall(r'href="([^"]*)"', runs.get("/").text) if key in url)
    assert "caf\ufffd" in requests.get(urljoin(runs.url, html.unescape(link)), timeout=30).text
