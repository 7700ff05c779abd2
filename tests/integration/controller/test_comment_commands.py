"""Commands in comments on commits: options, answers, and what gives none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fyre.apps.up import FyreUp
from fyre.backoff import Backoff
from fyre.controller.comments import commands
from fyre.engines.factory import EngineOptions
from fyre.engines.local import output_sealer
from fyre.errors import TransientError
from fyre.github import comment_threads
from fyre.github.client import Comment, GitHubClient
from fyre.github.errors import DeniedError
from fyre.github.webhook import CommentEvent
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.run_query import ALL_RUNS
from tests.conftest import git, one_at_a_time
from tests.support.ci_marks import EASIER_CASE, long_case
from tests.support.comment_helpers import ran, redeliver, until
from tests.support.person import NAME, Person

QUIET = (
    "> /fyre cancel", "```\n/fyre cancel\n```", "    /fyre cancel", "<!--\n/fyre cancel\n-->",
    "see /fyre cancel", "wörds 🎉 " * 6_000,
)  # fmt: skip


TAKEN = "is taken on this commit: choose another name."


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], FyreUp]]:
    """Start a whole ``fyre up`` again and again, on the same root and port: the same forge."""
    ports = [0]

    def make() -> FyreUp:
        up = FyreUp(tmp_path / "state", "127.0.0.1", ports[-1], options=EngineOptions(jobs=4))
        ports.append(up.listen_socket.getsockname()[1])
        return up

    with one_at_a_time() as begin:
        yield lambda: begin(make)


def joined(up: FyreUp, repo: Path) -> Person:
    git("remote", "add", "origin", f"{up.url}/{NAME}.git", cwd=repo)
    person = Person(up, repo)
    person.push()
    return person


def answered(person: Person, sha: str, body: str) -> str:
    before = len(person.comments(sha))
    person.comment(sha, body)
    until(lambda: len(person.comments(sha)) > before + 1, lambda: person.comments(sha))
    return person.comments(sha)[-1]


def test_a_command_with_options_runs_verbatim_and_its_name_is_its_own(person: Person) -> None:
    sha = person.run("exit 3")
    person.final(sha)
    text = "-- printf '%s|' \"$A\" grün 🎉 'a  b' `echo 1` # " + "x" * 60_000
    said = answered(
        person, sha, f"Please:\r\n/fyre run --name big --timeout 1h --env 'A=b  c' {text}\r\nThanks"
    )
    status = person.final(sha, "fyre/big")
    assert (status["state"], person.log(status)) == ("success", "b  c|grün|🎉|a  b|1|")
    assert said == f"launched:\n\n- [`big`]({status['target_url']})"
    (record,) = [one for one in person.up.engine.query_runs(ALL_RUNS) if one.run.name == "big"]
    assert (record.run.spec.timeout, record.run.spec.command) == (3600, text.removeprefix("-- "))
    # A red check can't be turned green by a run of the same name, whatever its case.
    assert answered(person, sha, "/fyre run --name Run -- true") == f"`Run` {TAKEN}"
    assert answered(person, sha, "/fyre run --name BIG -- true") == f"`BIG` {TAKEN}"
    assert person.final(sha)["state"] == "failure"
    assert answered(person, sha, "/fyre run --timeout 2 -- true").startswith(
        "`--timeout`: '2' has no unit: write 2s"
    )
    assert (
        answered(person, sha, "/fyre rerun --commit abcdef1")
        == "abcdef1 is another commit: comment there."
    )
    assert answered(person, sha, f"/fyre rerun big --commit {sha[:7]}").endswith(", attempt 2")
    assert person.final(sha, "fyre/big", "attempt 2")["state"] == "success"


def test_status_lists_every_run_with_its_outcome_and_its_page(person: Person) -> None:
    sha = person.run("true", "Fyre-Run: exit 1", "Fyre-Name: bad")
    good, bad = person.final(sha), person.final(sha, "fyre/bad")
    person.api(
        f"/statuses/{sha}",
        state="success",
        context="fyre/forged",
        description="exit 0",
        token="user:eve",
    )
    assert answered(person, sha, "/fyre status").split("\n") == [
        "| | run | outcome |",
        "| --- | --- | --- |",
        f"| ❌ | [<code>bad</code>]({bad['target_url']}) | <code>exit 1 · 0s</code> |",
        f"| ✅ | [<code>run</code>]({good['target_url']}) | <code>exit 0 · 0s</code> |",
    ]
    assert answered(person, sha, "/fyre status BAD").count("<code>") == 2
    assert answered(person, sha, "/fyre status nope") == "nothing to show here is named nope."
    # What somebody wrote mentions nobody and makes no link, not even by a status.
    hurt = person.run("true", "Fyre-Timeout: @acme/all")
    person.final(hurt)
    said = answered(person, hurt, "/fyre status")
    assert "@" not in said
    assert "&#64;acme/all" in said


def test_what_is_no_command_and_who_is_no_person_is_not_heard(person: Person) -> None:
    sha = person.run("sleep 60")
    for body in QUIET:
        person.comment(sha, body)
    person.comment(sha, "/fyre cancel", token="user:helper[bot]")
    person.comment(sha, "/fyre dance", token="user:helper[bot]")
    known = person.up.controller.executor.forge.get_repository(NAME)
    for said in (
        CommentEvent(known, sha, "ada", "/fyre cancel", 1, created_at=1.0),
        CommentEvent(known, sha, "", "/fyre cancel", 2, created_at=2e9),
    ):
        person.up.controller.enqueue_event(said)  # older than what engines remember; of nobody
    person.settled()
    assert len(person.comments(sha)) == len(QUIET) + 2
    assert [
        record.state.is_final
        for record in person.up.engine.query_runs(ALL_RUNS)
        if record.run.sha == sha
    ] == [False]
    assert answered(person, sha, "/fyre cancel") == "cancelled: `run`."


def test_a_stranger_is_refused_once_whatever_is_said_and_delivered_again(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.run("true")
    person.final(sha)
    role = {"ada": "write"}
    monkeypatch.setattr(
        person.up.controller.executor.forge,
        "get_permission",
        lambda _, login: role.get(login, "triage"),
    )
    person.comment(sha, "/fyre run echo pwned", token="user:eve")
    until(lambda: len(person.comments(sha)) == 2)
    person.comment(sha, "/fyre dance", token="user:eve")
    person.comment(sha, "/fyre run echo pwned", token="user:eve")
    redeliver(person)
    person.settled()
    person.settled()
    refusal = f"`/fyre` needs write permission on {NAME}."
    assert person.comments(sha) == [
        "/fyre run echo pwned",
        refusal,
        "/fyre dance",
        "/fyre run echo pwned",
    ]
    person.comment(sha, "/fyre run echo pwned", token="user:mallory")
    until(lambda: person.comments(sha)[-1] == refusal)  # another one is told as well
    assert ran(person, sha) == ["true"]


@long_case
def test_a_stranger_who_comments_everywhere_is_refused_in_one_place_and_no_other_thread_is_read(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    shas = [person.commit() for _ in range(5)]
    person.push()
    forge, thread, read, role = (
        person.up.controller.executor.forge,
        comment_threads.list_thread,
        list[str](),
        {"ada": "write"},
    )
    monkeypatch.setattr(forge, "get_permission", lambda _, login: role.get(login, "read"))
    monkeypatch.setattr(
        comment_threads, "list_thread", lambda at, said: read.append(said.sha) or thread(at, said)
    )
    for sha in shas:
        person.comment(sha, "/fyre run echo pwned", token="user:eve")
    person.settled()
    assert read == shas[:1]
    until(lambda: len(person.comments(shas[0])) == 2)
    assert [len(person.comments(sha)) for sha in shas] == [2, 1, 1, 1, 1]
    role["eve"] = "write"  # whoever is let in is heard at once
    assert answered(person, shas[1], "/fyre status") == "nothing to show here."
    assert answered(person, shas[0], "/fyre status") == "nothing to show here."


def test_9_36_a_run_whose_outputs_can_not_be_stored_says_so_and_is_not_cancelled(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_sealer, "_PAUSES", (0.2,))
    folder = person.up.local_forge.root / "artifacts"
    folder.write_text("no folder")
    sha = person.run('echo x > "$FYRE_OUTPUTS/a"')
    trouble = "uploading · its outputs can't be stored yet: "
    until(lambda: person.statuses(sha)[-1:] and trouble in person.statuses(sha)[-1]["description"])
    said = answered(person, sha, "/fyre cancel")
    assert said == "`run` has ended: its outputs are being stored."
    folder.unlink()
    assert person.final(sha)["state"] == "success"
    assert sum(trouble in one["description"] for one in person.statuses(sha)) == 1
    assert answered(person, sha, "/fyre cancel") == "nothing to cancel here."


@long_case
def test_what_was_said_to_a_deaf_receiver_is_done_once_in_its_order_and_never_again(
    start: Callable[[], FyreUp], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = joined(start(), repo)
    sha = person.run("sleep 60")
    until(person.ran)
    with monkeypatch.context() as deaf:  # it answers 202 and forgets, as a crash would
        deaf.setattr(person.up.controller, "_process_event", lambda _: None)
        person.comment(sha, "/fyre cancel")
        person.comment(sha, "/fyre run --name extra -- echo once")
        person.comment(sha, "/fyre nonsense", token="user:eve")
    person.up = start()
    assert person.final(sha)["description"].startswith("cancelled by ada")
    assert person.final(sha, "fyre/extra")["state"] == "success"
    until(lambda: len(person.comments(sha)) == 6, lambda: person.comments(sha))
    person.comment(sha, "/fyre rerun run")
    until(lambda: len(ran(person, sha)) == 3, person.ran)
    until(lambda: len(person.comments(sha)) == 8, lambda: person.comments(sha))
    # No restart and no redelivery gives the cancel a second time to what was launched after it.
    person.up = start()
    redeliver(person)
    person.settled()
    assert len(person.comments(sha)) == 8
    assert sorted(ran(person, sha)) == ["echo once", "sleep 60", "sleep 60"]
    assert [
        r.state.is_final for r in person.up.engine.query_runs(ALL_RUNS) if r.run.attempt == 2
    ] == [False]
    person.comment(sha, "/fyre cancel")
    person.final(sha, attempt="attempt 2")


@long_case
def test_a_token_that_may_not_answer_has_nothing_done_again_to_what_came_later(
    start: Callable[[], FyreUp], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise DeniedError("Resource not accessible by integration")

    monkeypatch.setattr(comment_threads, "post_reply", denied)
    monkeypatch.setattr(commands, "CLOCK_SKEW", 0.0)
    person = joined(start(), repo)
    sha = person.run("sleep 60")
    until(person.ran)
    _next_second()
    person.comment(sha, "/fyre cancel")
    person.final(sha)
    person.comment(sha, "/fyre rerun")
    until(lambda: len(ran(person, sha)) == 2)
    _next_second()
    person.comment(sha, "/fyre run --name extra -- sleep 61")
    until(lambda: len(ran(person, sha)) == 3)
    person.up = start()
    person.settled()
    assert sorted(ran(person, sha)) == ["sleep 60", "sleep 60", "sleep 61"]
    assert sorted(
        r.state.is_final for r in person.up.engine.query_runs(ALL_RUNS) if r.run.sha == sha
    ) == [
        False,
        False,
        True,
    ]
    assert len(person.comments(sha)) == 3
    _next_second()
    person.comment(sha, "/fyre cancel")
    person.final(sha, "fyre/extra")


@pytest.mark.parametrize(
    "later",
    [
        pytest.param("/fyre rerun", marks=EASIER_CASE),
        "/fyre run --name extra -- sleep 61",
    ],
)
def test_9_a4_a_replayed_cancel_leaves_alone_what_a_later_comment_launched(
    person: Person, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """Within the seconds that the clocks may differ, and with no reply that says it was done."""

    def denied(*_: object) -> None:
        raise DeniedError("Resource not accessible by integration")

    monkeypatch.setattr(comment_threads, "post_reply", denied)
    sha = person.run("sleep 60")
    until(person.ran)
    person.comment(sha, "/fyre cancel")
    person.final(sha)
    person.comment(sha, later)
    until(lambda: len(ran(person, sha)) == 2)
    redeliver(person)
    person.settled()
    person.settled()
    states = [r.state.is_final for r in person.up.engine.query_runs(ALL_RUNS) if r.run.sha == sha]
    assert sorted(states) == [False, True]
    person.comment(sha, "/fyre cancel")
    until(lambda: all(r.state.is_final for r in person.up.engine.query_runs(ALL_RUNS)))


def test_9_a4_a_replayed_rerun_leaves_alone_what_a_later_comment_launched(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise DeniedError("Resource not accessible by integration")

    monkeypatch.setattr(comment_threads, "post_reply", denied)
    sha = person.run("true")
    person.final(sha)
    person.comment(sha, "/fyre rerun")
    person.final(sha, attempt="attempt 2")
    person.comment(sha, "/fyre run --name extra -- true")
    person.final(sha, "fyre/extra")
    redeliver(person)
    person.settled()
    person.settled()
    assert len(ran(person, sha)) == 3


def _next_second() -> None:
    """A forge counts in seconds."""
    time.sleep(1.01 - time.time() % 1)


@long_case
@pytest.mark.parametrize("body", ["/fyre run --name extra -- true", "/fyre rerun"])
def test_a_crash_between_a_launch_and_its_answer_launches_once_and_answers_once(
    start: Callable[[], FyreUp], repo: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    person = joined(start(), repo)
    sha = person.run("true")
    person.final(sha)
    with monkeypatch.context() as killed:  # before the answer
        killed.setattr(StatusReporter, "queue_comment", lambda *_: None)
        person.comment(sha, body)
        until(lambda: len(ran(person, sha)) == 2)
    person.up = start()
    until(lambda: len(person.comments(sha)) == 2, lambda: person.comments(sha))
    assert person.comments(sha)[1].startswith("launched:\n\n- [`")
    assert ran(person, sha) == ["true", "true"]


def test_an_answer_whose_post_was_not_answered_is_given_once(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, tries, posted = person.commit(), list[str](), comment_threads.post_reply
    person.push()

    def saying(forge: GitHubClient, said: CommentEvent, body: str) -> None:
        tries.append(body)
        if len(tries) > 1:
            posted(forge, said, body)
        if len(tries) < 3:
            raise TransientError(
                "timed out"
            )  # the first time on its way there, then on its way back

    monkeypatch.setattr("fyre.reporter.write_failures.BACKOFF", Backoff(0.01, 60.0))
    monkeypatch.setattr(comment_threads, "post_reply", saying)
    person.comment(sha, "/fyre status")
    until(lambda: len(tries) == 2 and person.up.controller.executor.reporter.is_idle())
    assert person.comments(sha)[1:] == ["nothing to show here."]


@long_case
def test_an_answer_that_is_posted_just_after_its_thread_was_read_is_given_once(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.run("true")
    person.final(sha)
    executor = person.up.controller.executor
    (known,), posted, read = (
        executor.forge.list_repositories(),
        comment_threads.post_reply,
        threading.Event(),
    )
    thread = comment_threads.list_thread

    def reading(forge: GitHubClient, said: CommentEvent) -> list[Comment]:
        found = thread(forge, said)
        if executor.reporter.queued_comment_bodies(known):  # when it is delivered again
            read.set()
            until(lambda: not executor.reporter.queued_comment_bodies(known))
        return found

    def saying(forge: GitHubClient, said: CommentEvent, body: str) -> None:
        assert read.wait(30)
        posted(forge, said, body)

    monkeypatch.setattr(comment_threads, "list_thread", reading)
    monkeypatch.setattr(comment_threads, "post_reply", saying)
    person.comment(sha, "/fyre status")
    until(lambda: executor.reporter.queued_comment_bodies(known))
    redeliver(person)
    person.settled()
    assert len(person.comments(sha)) == 2
