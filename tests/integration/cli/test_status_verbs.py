"""Verbs that ask and follow, against a real ``fyre up``: status, log, show, logs, watch, …"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fyre.cli import follow as cli_follow
from fyre.cli import main, run_target
from fyre.client import follow as client_follow
from fyre.client.run_client import RunClient
from fyre.errors import UserError
from fyre.local_forge.api import commit_comment_api
from fyre.local_forge.api.rest import ApiError, ApiRequest
from fyre.local_forge.storage.git_notes import NoteRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.workspace import remote
from tests.conftest import git
from tests.support.ci_marks import long_case
from tests.support.person import Person, person
from tests.support.waiting import until

__all__ = ["person"]


@pytest.fixture(autouse=True)
def in_the_repository(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "person" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("person").repo)


def fyre(*words: str) -> int:
    return main.main(words)


FIELDS = {
    "sha",
    "name",
    "command",
    "state",
    "description",
    "attempt",
    "started_at",
    "ended_at",
    "exit_code",
    "log_url",
    "metrics",
    "best",
    "outputs",
    "note",
    "env",
}


def test_status_lists_the_runs_of_a_commit(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("exit 3", "Fyre-Name: bad", "Fyre-Run: true")
    person.final(sha, "fyre/bad")
    person.final(sha)
    capfd.readouterr()
    assert fyre("status", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert set(rows["bad"]) >= FIELDS
    assert (rows["bad"]["sha"], rows["bad"]["command"], rows["bad"]["state"]) == (
        sha,
        "exit 3",
        "failed",
    )
    assert (rows["bad"]["exit_code"], rows["run"]["exit_code"], rows["bad"]["attempt"]) == (3, 0, 1)
    assert rows["bad"]["started_at"] <= rows["bad"]["ended_at"]
    assert fyre("status") == 0
    said = capfd.readouterr().out
    assert f"{sha[:7]}  failed" in said
    assert "exit 3" in said


def test_log_walks_history(person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    shas = [person.run("true"), person.commit(subject="Nothing"), person.run("false")]
    person.final(shas[0])
    person.final(shas[2])
    assert fyre("log", "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["sha"], row["state"]) for row in rows] == [
        (shas[2], "failed"),
        (shas[0], "succeeded"),
    ]
    assert all(set(row) >= FIELDS for row in rows)
    assert fyre("log", f"{shas[0]}..HEAD", "--json") == 0
    assert [row["sha"] for row in json.loads(capfd.readouterr().out)] == [shas[2]]
    assert fyre("log", "nope..HEAD") == 1


def test_log_leaves_out_what_is_not_pushed_yet(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("true")
    person.final(sha)
    later = person.commit("Fyre-Run: false")
    capfd.readouterr()
    assert fyre("log", "--json") == 0
    said = capfd.readouterr()
    assert [row["sha"] for row in json.loads(said.out)] == [sha]
    assert f": {later[:7]} (git push origin)" in said.err


def test_show_says_all(person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    sha = person.run("true")
    person.final(sha)
    assert fyre("show", "--json") == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["sha"], row["repository"], row["ref"], row["actor"] != "") == (
        sha,
        "ada/lab",
        "refs/heads/main",
        True,
    )
    assert fyre("show") == 0
    assert "ref          refs/heads/main" in capfd.readouterr().out


def test_logs_prints_the_bytes_as_they_came(
    person: Person, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sha = person.run("printf 'a\\000\\377\\n'; sleep 0.3; echo b")
    until(lambda: person.statuses(sha))
    capfdbinary.readouterr()
    assert fyre("logs", "-f") == 0
    assert capfdbinary.readouterr().out == b"a\0\xff\nb\n"
    assert fyre("logs", sha) == 0
    assert capfdbinary.readouterr().out == b"a\0\xff\nb\n"


def test_logs_of_several_runs_wants_a_name(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("echo one", "Fyre-Run: echo two", "Fyre-Name: two")
    person.final(sha)
    person.final(sha, "fyre/two")
    assert fyre("logs") == 1
    assert "there are several runs: " in capfd.readouterr().err
    assert fyre("logs", "--name", "TWO") == 0
    assert capfd.readouterr().out.endswith("two\n")


def test_watch_gives_the_runs_own_code(person: Person) -> None:
    for command, trailers, code in (
        ("exit 7", (), 7),
        ("true", (), 0),
        ("kill -9 $$", (), 137),
        ("sleep 9", ("Fyre-Timeout: 1s",), 124),
        ("true", ("Fyre-Workdir: nope",), 1),
        ("true", ("Fyre-Tiemout: 1s",), 1),
    ):
        person.run(command, *trailers)
        assert fyre("watch", "--exit-status") == code, (command, trailers)


def test_watch_without_exit_status_only_watches(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    person.run("exit 7", "Fyre-Run: true")
    assert fyre("watch", "--json") == 0
    rows = json.loads(capfd.readouterr().out[len("") :])
    assert [row["state"] for row in rows].count("failed") == 1


def test_cancel_and_rerun(person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    sha = person.run("sleep 60")
    while not any(record.state == "running" for record in person.up.engine.query_runs(ALL_RUNS)):
        time.sleep(0.01)
    assert fyre("cancel") == 0
    assert f"the receiver ends it now: fyre status {sha[:7]}\n" in capfd.readouterr().err
    assert person.final(sha)["description"].startswith("cancelled by ")
    assert fyre("cancel") == 1
    assert "nothing to cancel: every run has ended (run: cancelled)" in capfd.readouterr().err
    assert fyre("rerun", "HEAD", "--name", "run") == 0
    while len(person.ran()) < 2:
        time.sleep(0.01)
    while not any(record.state == "running" for record in person.up.engine.query_runs(ALL_RUNS)):
        time.sleep(0.01)
    assert fyre("cancel", sha[:10]) == 0
    assert "attempt 2" in person.final(sha, attempt="attempt 2")["description"]


@pytest.mark.usefixtures("person")
def test_a_commit_without_runs_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "show", "logs", "cancel", "rerun"):
        assert fyre(verb) == 1, verb
        assert "has no runs" in capfd.readouterr().err, verb


@pytest.mark.usefixtures("person")
def test_a_revision_that_is_none_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "log", "show", "logs", "watch", "cancel", "rerun"):
        assert fyre(verb, "nope") == 1, verb
        assert "'nope' names no commit" in capfd.readouterr().err, verb


def test_a_forge_that_is_down_says_so(person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    person.run("true")
    person.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    for verb in ("status", "log", "show", "logs", "cancel", "rerun"):
        assert fyre(verb) == 1, verb
        assert "the forge can't be reached" in capfd.readouterr().err, verb


def test_a_status_tells_a_terminal_nothing(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    """Anybody who can push can post one."""
    sha = person.run("true")
    person.final(sha)
    person.api(
        f"/statuses/{sha}",
        context="fyre/run",
        state="failure",
        description="red \x1b[2J\x1b]0;x\x07",
    )
    capfd.readouterr()
    assert [fyre("status"), fyre("show"), fyre("watch", "--exit-status")] == [0, 0, 1]
    said = "".join(capfd.readouterr())
    assert said.count("red \\x1b[2J") == 3
    assert "\x1b" not in said


def test_9_40_a_forge_that_never_answered_is_told_of_once_and_is_not_said_to_lack_a_status(
    person: Person, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("true")
    person.git("remote", "set-url", "origin", "http://127.0.0.1:9/ada/lab.git")
    client = RunClient.from_remote(remote.resolve_remote(person.repo))
    monkeypatch.setattr(client_follow, "STATUS_MISSING_AFTER", 0.2)
    monkeypatch.setattr(client_follow, "FORGE_FIRST_PATIENCE", 0.5)  # several polls are made before
    events = client_follow.follow_run(client, sha, "run")
    with pytest.raises(UserError) as given_up:
        any(map(cli_follow.print_notice, events))
    assert given_up.value.hint.startswith("a run that has begun goes on; once the forge answers: ")
    reason = f"the statuses of {sha[:7]} in ada/lab: the forge can't be reached: "
    reason += "nothing answers at http://127.0.0.1:9"
    assert capfd.readouterr().err.splitlines() == [
        f"fyre: {reason}; trying again: is `fyre up` running?"
    ]


@pytest.mark.parametrize("verb", ["status", "log", "show", "logs", "watch", "cancel", "rerun"])
def test_outside_a_repository(
    tmp_path, monkeypatch, verb: str, capfd: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert fyre(verb) == 1
    assert "not a git repository" in capfd.readouterr().err


def test_another_repository_on_the_forge_is_not_found(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    person.git("remote", "add", "other", f"{person.up.url}/ada/other.git")
    assert fyre("status", "--remote", "other") == 1
    assert "is not in ada/other on 127.0.0.1" in capfd.readouterr().err


def test_a_commit_that_is_not_pushed_says_so(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.commit("Fyre-Run: true")
    for verb in ("status", "show", "logs", "cancel", "watch", "rerun"):
        assert fyre(verb) == 1
        assert capfd.readouterr().err.splitlines()[-2:] == [
            f"error: {sha[:7]} is not in ada/lab on {person.up.url.removeprefix('http://')}",
            "hint: push it: git push origin",
        ]


def test_a_token_that_may_not_write_is_no_commit_that_is_not_pushed(
    person: Person, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    person.final(person.run("true"))

    def hidden(_: ApiRequest) -> NoteRecord:
        raise ApiError(404, "Not Found")

    monkeypatch.setattr(commit_comment_api, "_validate_comment", hidden)
    assert fyre("rerun") == 1
    assert capfd.readouterr().err.splitlines()[-1] == "hint: check the name and the token's rights"


def test_a_run_that_has_not_ended_is_not_run_again_and_that_is_said(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("sleep 60")
    until(lambda: person.statuses(sha))
    assert fyre("rerun") == 1
    assert "error: nothing to run again yet: run is" in capfd.readouterr().err
    assert person.comments(sha) == []


def start(person: Person, command: str) -> str:
    """What ``fyre run --detach`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "fyre", "run", "--yes", "--detach", "--", command],
        cwd=person.repo,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@long_case
def test_d36_without_a_commit_it_is_what_was_started_last(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    head = person.run("echo of head")
    person.final(head)
    started = start(person, "echo started")
    person.final(started)
    capfd.readouterr()
    assert fyre("logs") == 0
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[0]) == (
        "started\n",
        f"fyre: {started[:7]} (fyre/ada, started last): Run: echo started",
    )
    for verb in ("status", "show", "watch"):
        assert fyre(verb) == 0
        assert started[:7] in capfd.readouterr().err
    time.sleep(1.1)  # git's times are whole seconds
    newer = person.run("echo newer")
    person.final(newer)
    assert fyre("logs") == 0
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[0]) == ("newer\n", f"fyre: {newer[:7]} (HEAD): Work")
    person.commit(subject="Asks for nothing")
    assert fyre("logs") == 0
    assert capfd.readouterr().out == "started\n"


@long_case
def test_d36_a_lab_branch_needs_no_remotes_name(
    person: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    started = start(person, "echo started")
    person.final(started)
    url = f"{person.up.url}/ada/lab.git"
    git("clone", "-q", "--single-branch", "-b", "main", url, "fresh", cwd=tmp_path)
    for place in (person.repo, tmp_path / "fresh"):
        monkeypatch.chdir(place)
        capfd.readouterr()
        assert fyre("logs", "fyre/ada") == 0
        assert capfd.readouterr().out == "started\n"
    assert fyre("log", "--json") == 0
    assert [row["sha"] for row in json.loads(capfd.readouterr().out)] == [started]
    assert fyre("log", "fyre/ada", "--json") == 0
    assert [row["sha"] for row in json.loads(capfd.readouterr().out)] == [started]
    assert fyre("logs", "fyre/nobody") == 1
    assert "names no commit here" in capfd.readouterr().err


@long_case
def test_d36_an_earlier_attempt_is_reached_after_a_rerun(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("echo attempt $FYRE_ATTEMPT")
    person.final(sha)
    assert fyre("rerun") == 0
    person.final(sha, attempt="attempt 2")
    for number in ("1", "2"):
        capfd.readouterr()
        assert fyre("logs", "--attempt", number) == 0
        assert capfd.readouterr().out == f"attempt {number}\n"
        assert fyre("show", "--attempt", number, "--json") == 0
        assert json.loads(capfd.readouterr().out)[0]["attempt"] == int(number)
    assert fyre("logs", "--attempt", "3") == 1
    assert "has no runs of attempt 3" in capfd.readouterr().err


def test_d36_a_name_that_is_none_is_answered_with_those_that_are(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    person.final(person.run("true", "Fyre-Name: train"), "fyre/train")
    assert fyre("logs", "--name", "nope") == 1
    assert "hint: its runs are: train" in capfd.readouterr().err


def test_9_36_a_lab_branch_is_found_by_the_name_that_a_person_has(person: Person) -> None:
    sha = person.git("rev-parse", "HEAD")
    person.git("update-ref", "refs/fyre/lab/origin/unal", sha)
    assert run_target.find_branch("fyre/Ünal", "origin") == sha


def test_9_36_the_log_of_a_cancelled_run_without_output_says_so(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sha = person.run("sleep 60")
    until(lambda: any(run.started_at for run in person.up.engine.query_runs(ALL_RUNS)))
    person.comment(sha, "/fyre cancel")
    person.final(sha)
    capfd.readouterr()
    assert fyre("logs", "-f") == 0
    assert "fyre: there is no output of run: cancelled by ada" in capfd.readouterr().err


def test_9_36_a_remote_that_is_not_there_is_answered_with_those_that_are(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fyre("status", "--remote", "upstream") == 1
    known = "hint: the remotes are: origin; git remote add upstream URL"
    assert capfd.readouterr().err.splitlines() == ["error: there is no remote 'upstream'", known]


def test_9_31_fyre_run_says_what_comes_before_and_needs_no_word_on_lfs(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    """The forge of `fyre up` takes Git LFS."""
    person.git("config", "filter.lfs.clean", "wc -c")
    (person.repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    (person.repo / "a.bin").write_text("content\n")
    (person.repo / ".fyre.yaml").write_text("setup: [echo first, 'true']\n")
    assert fyre("run", "-y", "--", "true") == 0
    out, err = capfd.readouterr()
    assert out == "first\n"
    assert "fyre: the setup of .fyre.yaml runs first: echo first; true\n" in err
    assert "its receiver takes Git LFS" not in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["log", "-n", "x"], ["-n or --limit: 'x' is not a whole number", "write it like 3"]),
        (["up", "--port", "x"], ["--port: 'x' is not a whole number", "write it like 8020"]),
        (["show", "--attempt", "0"], ["--attempt: 0 is not allowed", "a whole number, 1 or more"]),
        (["up", "--port", "99999"], ["--port: 99999 is not", "a whole number from 0 to 65535"]),
        (["status", "a", "b"], ["does not take so many words: b", "fyre status --help"]),
        (["run", "--nme", "x"], ["no such option: --nme", "--name"]),
        (["run"], ["missing argument: the command", "fyre run -- python train.py"]),
        (["run", "--", ""], ["the command is empty", "fyre run -- python train.py"]),
        (["watch", "--name"], ["--name needs a value", "fyre watch --help"]),
    ],
)
def test_9_36_wrong_words_are_answered_with_what_to_write(
    words: list[str], says: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert fyre(*words) == 2
    error, hint = capfd.readouterr().err.splitlines()
    assert says[0] in error
    assert says[1] in hint


@long_case
def test_d36_three_are_three(person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    shas = [person.run(f"echo {number}", "Fyre-Run: true") for number in range(2)]
    start(person, "echo a")
    for sha in (*shas, start(person, "echo b")):
        person.final(sha)
    capfd.readouterr()
    assert fyre("log", "-n", "3", "--json") == 0
    assert len(json.loads(capfd.readouterr().out)) == 3
