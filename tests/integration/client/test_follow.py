"""The events of runs on a real ``fyre up``, as a notebook or a page would get them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fyre.client import follow, log_reader
from fyre.client.events import (
    FollowEvent,
    ForgeInterrupted,
    LogChunk,
    LogCut,
    LogInterrupted,
    RunEnded,
    RunNotStarted,
    StatusChanged,
    StatusMissing,
)
from fyre.client.follow import follow_run
from fyre.client.run_client import RunClient
from fyre.errors import TransientError, UserError
from fyre.github.client import PostedStatus
from fyre.github.errors import NotFoundError, RateLimitError
from fyre.github.rate_limit import RateLimitHeaders
from fyre.runs.state import RunState
from fyre.workspace import remote
from tests.support.ci_marks import EASIER_CASE
from tests.support.person import Person, person
from tests.support.scripted_page import scripted_page
from tests.support.waiting import until

__all__ = ["person"]


@pytest.fixture
def client(person: Person) -> RunClient:
    return RunClient.from_remote(remote.resolve_remote(person.repo))


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The client prints nothing, whatever happens."""
    yield
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("ready ")]  # `fyre up`'s own
    assert (out, lines) == ("", [])


def kinds(events: list[FollowEvent]) -> list[type[FollowEvent]]:
    """The kinds of the events, each once in a row."""
    found: list[type[FollowEvent]] = []
    for event in events:
        if isinstance(event, RunNotStarted):  # on a machine that is busy
            continue
        if found[-1:] != [type(event)]:
            found.append(type(event))
    return found


def log(events: list[FollowEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, LogChunk))


def states(events: list[FollowEvent]) -> list[RunState]:
    return [event.text.state for event in events if isinstance(event, StatusChanged)]


def outcome(events: list[FollowEvent]) -> tuple[RunState, int]:
    assert isinstance(events[-1], RunEnded)
    return events[-1].outcome.state, events[-1].outcome.exit_code


def test_a_run_that_succeeds(person: Person, client: RunClient) -> None:
    sha = person.run("echo one; sleep 0.5; echo two")
    events = list(follow_run(client, sha, "run"))
    assert kinds(events) == [StatusChanged, LogChunk, StatusChanged, RunEnded]
    assert not events[0].is_final  # type: ignore[union-attr]
    assert states(events)[-1] is RunState.SUCCEEDED
    assert log(events) == b"one\ntwo\n"
    assert outcome(events) == (RunState.SUCCEEDED, 0)


def test_a_run_that_fails(person: Person, client: RunClient) -> None:
    sha = person.run("echo one; sleep 0.5; exit 3", "Fyre-Name: train")
    events = list(follow_run(client, sha, "TRAIN"))
    assert kinds(events) == [StatusChanged, LogChunk, StatusChanged, RunEnded]
    assert states(events)[-1] is RunState.FAILED
    assert outcome(events) == (RunState.FAILED, 3)


def test_a_run_that_is_cancelled(person: Person, client: RunClient) -> None:
    sha = person.run("echo one; sleep 60")
    events: list[FollowEvent] = []
    for event in follow_run(client, sha, "run"):
        events.append(event)
        if isinstance(event, LogChunk):
            person.comment(sha, "/fyre cancel")
    assert kinds(events) == [StatusChanged, LogChunk, StatusChanged, RunEnded]
    assert outcome(events) == (RunState.CANCELLED, 1)
    assert events[-1].outcome.description.startswith("cancelled by ")  # type: ignore[union-attr]


def test_a_run_that_is_refused_has_no_log(person: Person, client: RunClient) -> None:
    sha = person.run("true", "Fyre-Tiemout: 1s")
    events = list(follow_run(client, sha, "run"))
    assert kinds(events) == [StatusChanged, RunEnded]
    assert outcome(events) == (RunState.ERROR, 1)


def test_a_run_that_has_ended_tells_its_log_and_its_end(person: Person, client: RunClient) -> None:
    sha = person.run("printf 'a\\000\\377\\n'; kill -9 $$")
    person.final(sha)
    events = list(follow_run(client, sha, "run"))
    assert kinds(events) == [StatusChanged, LogChunk, RunEnded]
    assert log(events) == b"a\0\xff\n"
    assert outcome(events) == (RunState.FAILED, 137)


def test_without_the_log_each_change_of_the_status_is_an_event(
    person: Person, client: RunClient
) -> None:
    sha = person.run("echo one; sleep 1.5")
    events = list(follow_run(client, sha, "run", with_log=False))
    assert kinds(events) == [StatusChanged, RunEnded]
    assert states(events)[-1] is RunState.SUCCEEDED
    assert len(states(events)) == len(set(states(events))) >= 2


def test_a_log_is_followed_from_the_middle(person: Person, client: RunClient) -> None:
    sha = person.run("echo one; echo two; sleep 1; echo three")
    until(lambda: b"two" in log(_read_so_far(client, sha)))
    events = list(follow_run(client, sha, "run", log_offset=len("one\ntw")))
    chunks = [event for event in events if isinstance(event, LogChunk)]
    assert (chunks[0].offset, log(events)) == (6, b"o\nthree\n")
    assert [chunk.offset for chunk in chunks[1:]] == [chunk.end_offset for chunk in chunks[:-1]]
    assert kinds(events) == [StatusChanged, LogChunk, StatusChanged, RunEnded]


def _read_so_far(client: RunClient, sha: str) -> list[FollowEvent]:
    urls = [posted.status.target_url for posted in client.latest_statuses(sha)]
    return [chunk for url in urls for chunk in log_reader.read_log(url, live=False)]


@pytest.mark.parametrize("live", [True, pytest.param(False, marks=EASIER_CASE)])
def test_a_log_is_read_from_an_offset(person: Person, *, live: bool) -> None:
    sha = person.run("printf 0123456789")
    url = person.final(sha)["target_url"]
    for offset in (0, 4, 9):
        chunks = list(log_reader.read_log(url, live=live, offset=offset))
        assert (chunks[0].offset, log([*chunks])) == (offset, b"0123456789"[offset:])
    for offset in (10, 11):
        assert list(log_reader.read_log(url, live=live, offset=offset)) == []


@contextmanager
def page_that_breaks_off(pieces: list[bytes]) -> Iterator[str]:
    """The address of a page whose log breaks off after these pieces; without any it is gone."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            is_log = self.path.startswith("/run/log") and pieces
            self.send_response(200 if is_log else 404)
            self.send_header(*(("Transfer-Encoding", "chunked") if is_log else _EMPTY))
            self.end_headers()
            for piece in pieces if is_log else []:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/run"
        finally:
            server.shutdown()
            thread.join()


_EMPTY = ("Content-Length", "0")


def post_status(
    person: Person,
    sha: str,
    state: str,
    description: str,
    url: str = "",
    *,
    context: str = "fyre/run",
) -> None:
    status = {"context": context, "state": state, "description": description}
    person.api(f"/statuses/{sha}", **status, target_url=url)


def test_a_log_that_breaks_off_may_be_resumed_and_the_end_is_still_told(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RESUME_PATIENCE", 0.0)
    sha = person.commit()
    person.push()
    events: list[FollowEvent] = []
    with page_that_breaks_off([b"one\n", b"two\n"]) as url:
        post_status(person, sha, "pending", "running", url)
        for event in follow_run(client, sha, "run", log_offset=2):
            events.append(event)
            if isinstance(event, LogInterrupted):
                post_status(person, sha, "failure", "exit 3 · 1s", url)
    assert kinds(events) == [
        StatusChanged,
        LogChunk,
        LogInterrupted,
        LogCut,
        StatusChanged,
        RunEnded,
    ]
    assert log(events) == b"e\ntwo\n"
    reason = "the log can't be reached: the connection broke off"
    assert LogInterrupted(reason, len("one\ntwo\n")) in events
    assert LogCut(reason, len("one\ntwo\n")) in events
    assert outcome(events) == (RunState.FAILED, 3)


def test_a_log_that_is_gone_leaves_the_status(person: Person, client: RunClient) -> None:
    sha = person.commit()
    person.push()
    with page_that_breaks_off([]) as url:
        post_status(person, sha, "success", "exit 0 · 1s", url)
        assert list(follow_run(client, sha, "run"))[1:-1] == [
            LogCut("the log is not there any more (HTTP 404)", 0)
        ]
        with pytest.raises(UserError, match="HTTP 404"):
            list(log_reader.read_log(url, live=False))


def test_a_forge_that_is_away_is_told_of_once_and_asked_again(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.run("true")
    person.final(sha)
    monkeypatch.setattr(follow, "FORGE_FIRST_PATIENCE", 0.5)  # several polls are made before
    person.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    events = follow_run(RunClient.from_remote(remote.resolve_remote(person.repo)), sha, "run")
    assert next(events) == ForgeInterrupted(
        f"the statuses of {sha[:7]} in ada/lab: the forge can't be reached: "
        "nothing answers at http://127.0.0.1:9",
        "is `fyre up` running?",
    )
    with pytest.raises(UserError, match=r"given up$"):
        next(events)


@pytest.mark.parametrize("with_log", [False, pytest.param(True, marks=EASIER_CASE)])
def test_9_35_a_forge_that_is_away_for_too_long_is_given_up(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch, *, with_log: bool
) -> None:
    monkeypatch.setattr(follow, "FORGE_FIRST_PATIENCE", 0.2)
    sha = person.commit("Fyre-Run: true")
    person.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    away = RunClient.from_remote(remote.resolve_remote(person.repo))
    with pytest.raises(UserError, match=r"nothing answers at http://127.0.0.1:9, for .*given up$"):
        list(follow_run(away, sha, "run", with_log=with_log))


def test_9_35_a_forge_that_goes_away_during_a_run_is_given_up_later(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is the run's page: nothing is left to ask."""
    monkeypatch.setattr(follow, "FORGE_FIRST_PATIENCE", 600.0)
    monkeypatch.setattr(follow, "FORGE_PATIENCE", 0.3)
    sha = person.commit()
    person.push()
    with page_that_breaks_off([b"one\n"]) as url:
        post_status(person, sha, "pending", "running", url)
        events = follow_run(client, sha, "run")
        while not isinstance(next(events), LogChunk):
            pass

        def refuse(*_: object) -> None:
            raise TransientError("the forge is away")

        monkeypatch.setattr(type(client.forge), "list_statuses", refuse)
        with pytest.raises(UserError, match=r"the forge is away, for .*given up$"):
            list(events)


def test_9_35_a_rate_limit_is_an_answer_and_its_end_is_waited_for(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FORGE_FIRST_PATIENCE", 0.0)
    sha = person.run("true")
    person.final(sha)
    asked_at: list[float] = []
    list_statuses = type(client.forge).list_statuses

    def limited(*args: Any) -> list[PostedStatus]:
        asked_at.append(time.monotonic())
        if asked_at[-1] < asked_at[0] + 0.4:
            headers = RateLimitHeaders(refused=True, retry_after=0.4)
            raise RateLimitError("HTTP 429 too many requests", headers)
        return list_statuses(*args)

    monkeypatch.setattr(type(client.forge), "list_statuses", limited)
    events = list(follow_run(client, sha, "run", with_log=False))
    assert events[0] == ForgeInterrupted("HTTP 429 too many requests")
    assert isinstance(events[-1], RunEnded)
    assert [at for at in asked_at if at < asked_at[0] + 0.4] == asked_at[:1]


def test_9_31_the_steps_of_a_silent_setup_are_told(
    person: Person, client: RunClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_TOLD_AFTER", 0.0)
    waits = f"until [ -e {tmp_path}/go ]; do sleep 0.02; done"
    sha = person.run("echo two", files={".fyre.yaml": f"setup: ['echo one; {waits}', 'true']\n"})
    events: list[FollowEvent] = []
    for event in follow_run(client, sha, "run"):
        events.append(event)
        told = [one.description for one in events if isinstance(one, RunNotStarted)]
        if log(events) and any("setup: " in text for text in told):
            (tmp_path / "go").touch()
    assert f"starting · setup: echo one; {waits}"[:70] in {text[:70] for text in told}
    assert log(events) == b"one\ntwo\n"
    assert outcome(events) == (RunState.SUCCEEDED, 0)


def test_a_commit_that_nobody_hears_of_has_no_status(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.commit(subject="Nothing is asked for")
    person.push()
    monkeypatch.setattr(follow, "STATUS_MISSING_AFTER", 0.0)
    assert next(follow_run(client, sha, "run")) == StatusMissing(sha, "ada/lab")


def test_9_35_who_only_waits_for_the_end_hears_sooner_that_there_is_no_status(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.commit(subject="Nothing is asked for")
    person.push()
    monkeypatch.setattr(follow, "STATUS_MISSING_AFTER", 3600.0)
    monkeypatch.setattr(follow, "WATCHED_MISSING_AFTER", 0.0)
    assert next(follow_run(client, sha, "run", with_log=False)) == StatusMissing(sha, "ada/lab")


def test_a_commit_that_is_not_pushed_is_an_error(person: Person, client: RunClient) -> None:
    with pytest.raises(NotFoundError):
        list(follow_run(client, person.commit("Fyre-Run: true"), "run"))


@pytest.mark.parametrize("with_log", [True, pytest.param(False, marks=EASIER_CASE)])
def test_d35_why_a_run_waits_is_told_at_once_and_on_change(
    person: Person, client: RunClient, *, with_log: bool
) -> None:
    jobs = person.up.engine._jobs  # type: ignore[attr-defined] # all of its slots
    blockers = [person.run("sleep 600", f"Fyre-Name: b{number}") for number in range(jobs + 1)]
    sha = person.run("echo ran")
    told: list[str] = []
    for event in follow_run(client, sha, "run", with_log=with_log):
        if isinstance(event, RunNotStarted):
            told.append(event.description)
            person.comment(blockers.pop(), "/fyre cancel")
    assert told == [f"queued · waiting for a free slot, {place}" for place in ("1 ahead", "next")]
    for blocker in blockers:
        person.comment(blocker, "/fyre cancel")


def rebased(person: Person) -> str:
    """A commit whose status says that its trailer ran on other code."""
    sha = person.commit()
    person.push()
    post_status(person, sha, "error", "ran at abc1234 · /fyre rerun", context="fyre/moved")
    return sha


@pytest.mark.parametrize("with_log", [True, False])
def test_a_rerun_is_awaited_once_what_moved_is_cleared(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch, *, with_log: bool
) -> None:
    monkeypatch.setattr(follow, "STATUS_MISSING_AFTER", 0.0)
    sha = rebased(person)
    post_status(person, sha, "success", "run here by ada", context="fyre/moved")
    events = follow_run(client, sha, "run", with_log=with_log)
    assert next(events) == StatusMissing(sha, "ada/lab")
    post_status(person, sha, "failure", "exit 3 · 1s · attempt 2")
    assert outcome(list(events)) == (RunState.FAILED, 3)


def test_what_did_not_run_here_is_an_end_until_it_is_cleared(
    person: Person, client: RunClient
) -> None:
    sha = rebased(person)
    events = list(follow_run(client, sha, "run"))
    assert kinds(events) == [StatusChanged, RunEnded]
    assert outcome(events) == (RunState.MOVED, 1)


def test_a_log_that_falls_silent_after_the_end_is_cut(
    person: Person, client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RESUME_PATIENCE", 0.0)
    monkeypatch.setattr(log_reader, "_SILENCE_MAX", 0.3)
    sha = person.commit()
    person.push()
    with scripted_page(facts=[{"state": "running"}], log=b"one\n") as page:
        post_status(person, sha, "pending", "running", page.url)
        events: list[FollowEvent] = []
        for event in follow_run(client, sha, "run"):
            events.append(event)
            if isinstance(event, LogChunk):
                post_status(person, sha, "failure", "exit 3 · 1s", page.url)
    assert LogCut("nothing of the log came for 0.3 s", 4) in events
    assert outcome(events) == (RunState.FAILED, 3)


@pytest.fixture
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it told at once why a run waits, and not only if it waits for a while."""
    monkeypatch.setattr(follow, "_TOLD_AFTER", 0.0)
    monkeypatch.setattr(follow, "_FIRST_PATIENCE", 0.0)


@pytest.mark.usefixtures("told_at_once")
@pytest.mark.parametrize("with_log", [True, pytest.param(False, marks=EASIER_CASE)])
def test_a_page_that_fails_once_is_asked_again_why_a_run_waits(
    person: Person, client: RunClient, *, with_log: bool
) -> None:
    sha = person.commit()
    person.push()
    pages = [
        None,
        {"state": "waiting", "description": "waiting · needs prep"},
        None,
        {"state": "queued", "description": "queued · 1 ahead"},
        {"state": "running", "description": "running"},
    ]
    with scripted_page(facts=pages) as page:
        page.end_silence()
        post_status(person, sha, "pending", "waiting", page.url)
        told: list[str] = []
        for event in follow_run(client, sha, "run", with_log=with_log):
            if isinstance(event, RunNotStarted):
                told.append(event.description)
            if told[-1:] == ["queued · 1 ahead"]:
                post_status(person, sha, "success", "exit 0 · 1s", page.url)
        assert list(dict.fromkeys(told)) == ["waiting", "waiting · needs prep", "queued · 1 ahead"]


@pytest.mark.usefixtures("told_at_once")
def test_without_its_page_a_run_has_started_when_its_status_says_so(
    person: Person, client: RunClient
) -> None:
    sha = person.commit()
    person.push()
    gone = "http://127.0.0.1:9/runs/token"
    post_status(person, sha, "pending", "queued · 1 ahead", gone)
    events: list[FollowEvent] = []
    for event in follow_run(client, sha, "run"):
        events.append(event)
        if isinstance(event, RunNotStarted):
            post_status(person, sha, "failure", "exit 3 · 1s", gone)
    assert RunNotStarted("queued · 1 ahead") in events
    assert outcome(events) == (RunState.FAILED, 3)
