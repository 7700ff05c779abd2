"""What the verbs that ask and follow answer where there is nothing, or not what was asked for."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest

from fyre.cli import follow, main
from fyre.client.run_client import RunClient
from fyre.workspace import remote
from tests.support.ci_marks import long_case
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["person"]


@pytest.fixture(autouse=True)
def in_the_repository(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(person.repo)


def answer(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, list[str]]:
    """Return exit code, stdout and the lines of stderr of one verb."""
    capfd.readouterr()
    code = main.main(words)
    out, err = capfd.readouterr()
    return code, out, err.splitlines()


@long_case
def test_14_16_a_run_or_attempt_that_is_not_there(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("true", "Fyre-Run: exit 1", "Fyre-Name: test")
    assert person.final(sha, "fyre/test")
    person.final(sha)
    for verb in ("rerun", "cancel", "logs", "show", "watch"):
        code, _, err = answer(capfd, verb, "--name", "nope")
        assert (code, err) == (
            1,
            [f"error: {sha[:7]} has no run named 'nope'", "hint: its runs are: run, test"],
        )
    assert person.comments(sha) == []
    for verb in ("logs", "show"):
        code, _, err = answer(capfd, verb, "--name", "test", "--attempt", "9")
        assert (code, err) == (
            1,
            [f"error: {sha[:7]} has no runs of attempt 9", "hint: there is 1 attempt"],
        )
        assert answer(capfd, verb, "--attempt", "0")[0] == 2
    # what runs is named where no name was given
    assert answer(capfd, "rerun")[2] == [
        f"fyre: commented on {sha[:7]}: /fyre rerun (runs: run, test)".removeprefix("fyre: ")
    ]
    assert "attempt 2" in person.final(sha, "fyre/test", attempt="attempt 2")["description"]
    assert answer(capfd, "show", "--name", "test", "--attempt", "9")[2][1] == (
        "hint: there are 2 attempts"
    )


def test_a_pushed_commit_that_asks_for_nothing_says_so(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    for verb in ("status", "show", "logs", "rerun", "cancel"):
        code, _, err = answer(capfd, verb)
        assert code == 1
        assert err[0].endswith("has no runs: its message asks for none")
        assert "push" not in err[1]


@long_case
def test_34_a_commit_that_is_not_pushed_takes_no_place(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    shas = [person.run("sleep 0.3", "Fyre-Run: true", "Fyre-Name: b"), person.run("true")]
    person.final(shas[0])
    person.final(shas[1])
    person.commit("Fyre-Run: true")
    rows = json.loads(answer(capfd, "log", "-n", "2", "--json")[1])
    assert [(row["sha"], row["name"]) for row in rows] == [(shas[1], "run"), (shas[0], "run")]
    # the runs of a commit come as it has them, though the first was posted later
    for words in (("status", shas[0]), ("show", shas[0]), ("log", shas[0])):
        named = [row["name"] for row in json.loads(answer(capfd, *words, "--json")[1])]
        assert named == ["run", "b"], words


@long_case
def test_a_run_that_never_started_says_why_it_has_no_output(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    busy = [person.run("sleep 60") for _ in range(4)]
    sha = person.run("echo never")
    until(lambda: person.statuses(sha))
    code, out, err = answer(capfd, "logs", sha)
    assert (code, out, err[-1].startswith("fyre: no output yet: queued")) == (0, "", True)
    assert answer(capfd, "cancel", sha)[0] == 0
    person.final(sha)
    code, out, err = answer(capfd, "logs", sha)
    assert (code, out) == (1, "")
    assert err[0].startswith("error: there is no output, because run never started: cancelled")
    for other in busy:
        assert answer(capfd, "cancel", other)[0] == 0


def test_9_40_a_forge_that_is_down_or_has_no_such_repository(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = answer(capfd, "log")
    assert (code, err) == (0, ["fyre: no runs here yet: fyre run -- COMMAND"])
    sha = person.run("true")
    person.git("remote", "set-url", "origin", f"{person.up.url}/ada/elsewhere.git")
    for verb in ("status", "log", "rerun", "watch"):
        code, _, err = answer(capfd, verb, "main" if verb == "log" else sha)
        assert code == 1
        assert "there is no repository ada/elsewhere on 127.0.0.1" in err[0]
        assert err[1].startswith("hint: is it the right one? git remote get-url origin")
    person.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    code, _, err = answer(capfd, "status")
    assert (code, err[0], err[1:]) == (
        1,
        (
            f"error: the statuses of {sha[:7]} in ada/lab: the forge can't be reached: nothing "
            "answers at http://127.0.0.1:9"
        ),
        ["hint: is `fyre up` running?"],
    )
    person.git("reset", "-q", "--hard", "HEAD~")
    code, _, err = answer(capfd, "log")
    assert (code, err[0]) == (0, "fyre: no runs here yet: fyre run -- COMMAND")
    assert err[1].endswith("nothing answers at http://127.0.0.1:9")


def test_39_a_failure_says_where_its_output_is(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("printf out; exit 3", "Fyre-Name: train")
    link = person.final(sha, "fyre/train")["target_url"]
    told = [f"fyre: {link}", f"fyre: its output: fyre logs {sha[:12]} --name train"]
    assert answer(capfd, "watch")[2] == told
    code, out, err = answer(capfd, "watch", "--exit-status")
    assert (code, out.count("exit 3"), err) == (3, 1, told)
    stderr = os.dup(2)
    try:
        os.dup2(1, 2)  # as on a terminal
        code = main.main(["run", "--yes", "--", "printf out; exit 4"])
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    rows = capfd.readouterr().err.splitlines()
    assert code == 4
    assert rows[-3] == ""
    assert rows[-2].startswith("fyre: exit 4 · ")
    assert " · http://" in rows[-2]
    assert rows[-1].startswith("fyre: its output: fyre logs ")


def test_9_36_what_a_hint_says_goes_to_the_remote_that_was_named(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    person.git("remote", "add", "k", person.git("remote", "get-url", "origin"))
    sha = person.run("exit 3", "Fyre-Run: false", "Fyre-Name: other")
    person.final(sha)
    person.final(sha, "fyre/other")
    failed = f"fyre: its output: fyre logs {sha[:12]} --name run"
    for words, option in (((), ""), (("--remote", "k"), " --remote k")):
        assert answer(capfd, "watch", "--name", "run", *words)[2][-1] == failed + option
        rerun = f"hint: fyre rerun{option} runs it again"
        assert answer(capfd, "cancel", *words)[2][-1] == rerun
        assert answer(capfd, "logs", *words)[2][-1] == f"hint: fyre logs --name run{option}"


def test_9_36_nobody_is_asked_whether_to_publish_where_nothing_answers(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    person.commit(subject="Not pushed")
    person.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    code, _, err = answer(capfd, "run", "--", "true")
    assert (code, err[-2].startswith("error: origin can't be reached: ")) == (1, True)
    assert err[-1].endswith("is that the right address? git remote get-url origin")


def test_9_38_what_is_not_honoured_is_said_before_the_output_of_a_short_run(person: Person) -> None:
    sha = person.run("echo ran", "Fyre-Image: busybox")
    person.final(sha)
    told, client = io.StringIO(), RunClient.from_remote(remote.resolve_remote(person.repo))
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        assert follow.print_run(client, sha, "run") == 0
        assert main.main(["run", "--local", "--image", "busybox", "echo here"]) == 0
    ignored = "fyre: not honoured here: image"
    first, ran, _, again, here = told.getvalue().splitlines()
    assert [first, ran, again, here] == [ignored, "ran", ignored, "here"]
