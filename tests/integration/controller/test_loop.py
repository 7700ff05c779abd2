"""From a push to a commit status, through the real forge, receiver and engine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.runs.policy import Policy
from fyre.runs.run import Repository
from fyre.runs.run_query import ALL_RUNS
from tests.conftest import git
from tests.support.ci_marks import easier_cases, long_case
from tests.support.person import NAME, Person
from tests.support.waiting import until

NO_SUCH = (
    "`/fyre dance` is not a command: write `/fyre run`, `/fyre rerun`, `/fyre cancel`, "
    "`/fyre status`, `/fyre approve`"
)


def test_a_commit_written_by_hand_runs(person: Person) -> None:
    sha = person.run('echo "a  b" && git rev-parse HEAD')
    status = person.final(sha)
    assert (status["state"], status["creator"]["login"]) == ("success", "fyre[bot]")
    assert status["description"].startswith("exit 0 · ")
    assert person.log(status) == f"a  b\n{sha}\n"
    assert person.api(f"/commits/{sha}/status")["state"] == "success"


ENDS = [
    ("exit 3", (), "failure", "exit 3 · 0s"),
    ("sleep 60", ("Fyre-Timeout: 1s",), "failure", "timed out after 1s · 1s"),
    ("true", ("Fyre-Workdir: nope",), "error", "workdir nope is not in this commit"),
    (
        "true",
        ("Fyre-Image: python:3.12", "Fyre-Secret: s"),
        "success",
        "exit 0 · 0s · not honoured here: image, secrets",
    ),
    (
        "true",
        ("Fyre-Tiemout: 1h",),
        "error",
        "not launched: line 4: unknown trailer Fyre-Tiemout",
    ),
    (
        "true",
        ("Fyre-Matrix: a=1",),
        "error",
        "not launched: line 4: Fyre-Matrix is not supported yet",
    ),
]
"""Commands, their trailers, and the state and description in which they end."""


def test_every_end_is_told(person: Person) -> None:
    shas = [person.run(command, *trailers) for command, trailers, *_ in ENDS]
    for sha, (_, _, state, description) in zip(shas, ENDS, strict=True):
        status = person.final(sha)
        assert (status["state"], status["description"]) == (state, description)


def test_a_command_that_is_no_utf8_runs_as_its_bytes_and_is_shown_as_well_as_can_be(
    person: Person,
) -> None:
    tree, now = person.git("rev-parse", "HEAD^{tree}"), int(time.time())
    raw = f"tree {tree}\nparent {person.git('rev-parse', 'HEAD')}\n"
    raw += f"author A <a@example.org> {now} +0000\ncommitter A <a@example.org> {now} +0000\n\n"
    raw += "S\n\nFyre-Run: printf caf\udce9 | od -An -tx1\n"
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=person.repo,
        check=True,
        input=raw.encode(errors="surrogateescape"),
        capture_output=True,
    )
    sha = made.stdout.decode().strip()
    person.push(f"{sha}:refs/heads/main")
    status = person.final(sha)
    assert person.log(status).split() == ["63", "61", "66", "e9"]
    assert (
        requests.get(status["target_url"] + ".json").json()["command"]
        == "printf caf\ufffd | od -An -tx1"
    )
    for page in (status["target_url"], person.up.url, f"{person.up.url}/runs.json"):
        assert requests.get(page).status_code == 200


def test_several_runs_of_one_commit_have_their_own_statuses(person: Person) -> None:
    sha = person.run("true", "Fyre-Run: exit 1", "Fyre-Name: second", "Fyre-Run: true")
    assert person.final(sha)["state"] == "success"
    assert person.final(sha, "fyre/second")["state"] == "failure"
    assert person.final(sha, "fyre/run-2")["state"] == "success"


def test_a_malformed_commit_does_not_stop_the_others_of_its_push(person: Person) -> None:
    before = person.commit("Fyre-Run: true")
    bad = person.commit("Fyre-Run: true", "Fyre-Timeout: soon")
    after = person.commit("Fyre-Run: true")
    person.push()
    assert [person.final(sha)["state"] for sha in (before, bad, after)] == [
        "success",
        "error",
        "success",
    ]


def test_a_poisoned_commit_does_not_take_its_push_along(person: Person) -> None:
    for poison in (
        'setup: ["echo a\\ud800"]',
        "env: " + "[" * 3000 + "]" * 3000,
        'workdir: "a\\ud800"',
        'env: {A: "\\ud800"}',
    ):
        bad = person.commit("Fyre-Run: true", files={".fyre.yaml": poison + "\n"})
        good = person.commit("Fyre-Run: true", files={".fyre.yaml": "{}\n"})
        person.push()
        assert person.final(good)["state"] == "success", poison[:20]
        status = person.final(bad)
        told = ".fyre.yaml line 1" in status["description"]
        assert (status["state"], told) == ("error", True), poison[:20]


@pytest.mark.parametrize("codec", ["unicode_escape", *easier_cases("utf-7", "punycode")])
def test_9_a1_a_message_that_git_does_not_decode_runs_nothing(person: Person, codec: str) -> None:
    hidden = "Quiet\\u000a\\u000a\\u0046yre-Run: true" if codec == "unicode_escape" else "Quiet"
    person.commit(hidden)
    raw = subprocess.run(
        ["git", "cat-file", "commit", "HEAD"], cwd=person.repo, capture_output=True, check=True
    ).stdout.replace(b"\n\n", f"\nencoding {codec}\n\n".encode(), 1)
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    sha = subprocess.run(command, cwd=person.repo, input=raw, capture_output=True, check=True)
    person.git("reset", "-q", "--hard", sha.stdout.decode().strip())
    person.push()
    status = person.final(sha.stdout.decode().strip())
    assert status["state"] == "error"
    assert status["description"] == f"not launched: encoding '{codec}' is not read: use UTF-8"
    assert person.up.engine.query_runs(ALL_RUNS) == []


@long_case
def test_9_b16_a_commit_or_file_above_the_limit_is_refused_by_name(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cat_file", "commit_reader"):  # 32 MiB takes seconds to write
        monkeypatch.setattr(f"fyre.git.{module}.OBJECT_BYTES_MAX", 6 << 20)
    large = "x" * (7 << 20)
    bad = person.commit("Fyre-Run: true", files={".fyre.yaml": f"# {large}\n"})
    person.push()
    assert ".fyre.yaml line 1: the file is larger than" in person.final(bad)["description"]
    person.commit("Fyre-Run: true", files={".fyre.yaml": "{}\n"})
    command = ["git", "commit", "-q", "--allow-empty", "-F", "-"]
    text = f"Large\n\n{large}\n\nFyre-Run: true\n".encode()
    subprocess.run(command, cwd=person.repo, input=text, check=True)
    person.push()
    large_sha = person.git("rev-parse", "HEAD")
    told = person.final(large_sha)["description"]
    assert told == "not launched: the commit's message is larger than 6 MiB"


def test_an_amended_commit_shares_the_newest_attempt(person: Person, tmp_path: Path) -> None:
    first = person.run(f"test -e {tmp_path}/ok", mint=True)
    assert person.final(first)["state"] == "failure"
    (tmp_path / "ok").touch()
    person.comment(first, "/fyre rerun")
    assert person.final(first, attempt="attempt 2")["state"] == "success"
    person.git(
        "commit", "-q", "--allow-empty", "--amend", "--no-edit", "--date", "2026-01-01T00:00:00Z"
    )
    person.git("push", "-q", "--force", "origin", "main")
    carried = person.final(person.git("rev-parse", "HEAD"))
    assert (carried["state"], f"carried from {first[:7]}" in carried["description"]) == (
        "success",
        True,
    )


@long_case
def test_a_shared_run_is_cancelled_from_either_commit_and_has_the_last_word_on_neither(
    person: Person,
) -> None:
    first = person.run("sleep 60", mint=True)
    while not any(record.state == "running" for record in person.up.engine.query_runs(ALL_RUNS)):
        time.sleep(0.01)
    person.git(
        "commit", "-q", "--allow-empty", "--amend", "--no-edit", "--date", "2026-01-01T00:00:00Z"
    )
    person.git("push", "-q", "--force", "origin", "main")
    second = person.git("rev-parse", "HEAD")
    until(lambda: person.statuses(second))
    person.comment(second, "/fyre rerun")
    until(lambda: person.comments(second)[1:])
    assert "has not ended yet" in person.comments(second)[1]
    person.comment(second, "/fyre cancel")
    assert person.final(first)["description"].startswith("cancelled by ada")
    assert person.final(second)["description"].startswith("cancelled by ada")
    assert len(person.ran()) == 1


def test_a_status_is_posted_twice_at_most_and_not_again_when_a_delivery_is_repeated(
    person: Person,
) -> None:
    sha = person.run("true")
    person.final(sha)
    hook = person.api("/hooks")[0]["id"]
    for delivery in person.api(f"/hooks/{hook}/deliveries"):
        headers = {"Authorization": "token user:ada"}
        url = f"{person.up.url}/api/repos/{NAME}/hooks/{hook}/deliveries/{delivery['id']}/attempts"
        assert requests.post(url, headers=headers).status_code == 202
    person.settled()
    assert [one["state"] for one in person.statuses(sha)] in (["pending", "success"], ["success"])
    assert [ran for ran, _ in person.ran()].count(sha) == 1


@long_case
def test_only_our_own_statuses_count(person: Person) -> None:
    sha = person.commit("Fyre-Run: true")
    person.git("push", "-q", "origin", "main:refs/tags/v1")  # a tag launches nothing
    person.api(
        f"/statuses/{sha}",
        state="success",
        context="fyre/run",
        description="exit 0 · 1s",
        token="user:eve",
    )
    repository = Repository(person.up.controller.executor.forge.url, 1, NAME)
    assert person.up.controller.executor.reporter.read_statuses(repository, sha) == {}
    person.push()
    person.settled()
    assert (sha, "true") in person.ran()


def test_tags_deletions_and_dropped_commits_launch_nothing(person: Person) -> None:
    sha = person.commit("Fyre-Run: true", subject="Tagged")
    person.git("tag", "v1")
    person.git("push", "-q", "origin", "v1")
    person.git("reset", "-q", "--hard", "HEAD~1")
    person.git("push", "-q", "origin", "main:refs/heads/gone")
    person.git("push", "-q", "origin", ":refs/heads/gone")
    person.settled()
    assert sha not in [ran for ran, _ in person.ran()]
    last = person.git("rev-parse", "HEAD")
    person.git("push", "-q", "--force", "origin", "HEAD~1:refs/heads/main")
    person.git("reset", "-q", "--hard", "HEAD~1")
    person.settled()
    assert [ran for ran, _ in person.ran()].count(last) == 1


@long_case
def test_every_commit_of_a_push_that_the_webhook_cuts_is_looked_at(person: Person) -> None:
    base, now = person.git("rev-parse", "HEAD"), int(time.time())
    stream = f"reset refs/heads/main\nfrom {base}\n\n"
    for number in range(2060):
        message = f"C {number}\n" + (f"\nFyre-Run: echo {number}\n" if number in (0, 2059) else "")
        stream += f"commit refs/heads/main\ncommitter A <a@example.org> {now} +0000\n"
        stream += f"data {len(message)}\n{message}\n"
    git("fast-import", "--quiet", cwd=person.repo, stdin=stream)
    person.push()
    oldest = person.git("rev-list", "--reverse", f"{base}..main").split()[0]
    assert person.final(oldest)["state"] == "success"
    assert person.final(person.git("rev-parse", "main"))["state"] == "success"


def test_a_branch_is_compared_with_the_default_one(person: Person) -> None:
    person.git("checkout", "-q", "-b", "topic")
    shas = [person.commit("Fyre-Run: true") for _ in range(3)]
    person.push("topic")
    assert [person.final(sha)["state"] for sha in shas] == ["success"] * 3


def test_a_new_branch_launches_what_another_branch_had_and_the_default_one_has_not(
    person: Person,
) -> None:
    """Its push lists the commits new to the repository; a comparison finds the others."""
    person.up.controller.executor.policy = Policy(refs=("main", "release/*"))
    person.git("checkout", "-q", "-b", "topic")
    had = person.commit("Fyre-Run: true")
    person.push("topic")
    assert person.final(had)["description"].startswith("refused: branch topic may not launch")
    person.git("checkout", "-q", "-b", "release/1")
    new = person.commit("Fyre-Run: true")
    person.push("release/1")
    assert person.final(new)["state"] == "success"
    until(lambda: person.final(had)["state"] == "success")
    hook = person.api("/hooks")[0]["id"]
    pushes = [
        one["id"] for one in person.api(f"/hooks/{hook}/deliveries") if one["event"] == "push"
    ]
    told = [person.api(f"/hooks/{hook}/deliveries/{one}")["request"]["payload"] for one in pushes]
    assert [
        [commit["id"] for commit in one["commits"]]
        for one in told
        if one["ref"].endswith("release/1")
    ] == [[new]]


def test_a_first_push_to_a_repository_runs_all_its_new_commits(up: FyreUp, repo: Path) -> None:
    person = Person(up, repo)
    shas = [person.commit("Fyre-Run: true") for _ in range(3)]
    person.git("remote", "add", "origin", f"{up.url}/{NAME}.git")
    person.push()
    assert [person.final(sha)["state"] for sha in shas] == ["success"] * 3


def test_an_amended_date_is_carried_and_a_cherry_pick_is_moved(person: Person) -> None:
    first = person.run("true", mint=True, files={"code": "1\n"})
    person.final(first)
    person.git(
        "commit", "-q", "--allow-empty", "--amend", "--no-edit", "--date", "2026-01-01T00:00:00Z"
    )
    person.git("push", "-q", "--force", "origin", "main")
    carried = person.git("rev-parse", "HEAD")
    assert person.final(carried)["description"] == f"exit 0 · 0s · carried from {first[:7]}"
    person.git("checkout", "-q", "-b", "release", "HEAD~1")
    person.commit(subject="Other", files={"other": "x\n"})
    person.git("cherry-pick", carried)
    person.push("release")
    picked = person.git("rev-parse", "HEAD")
    moved = person.final(picked, "fyre/moved")
    assert (moved["state"], moved["description"]) == ("error", f"ran at {first[:7]} · /fyre rerun")
    assert [one["context"] for one in person.statuses(picked)] == ["fyre/moved"]
    person.comment(picked, "/fyre rerun")
    assert person.final(picked)["state"] == "success"
    assert person.final(picked, "fyre/moved", attempt="run here")["state"] == "success"


@long_case
def test_what_moved_is_red_until_all_of_it_runs_where_it_is(person: Person) -> None:
    sha = person.commit(
        "Fyre-Run: true", "Fyre-Run: true", "Fyre-Name: test", mint=True, files={"a": "1"}
    )
    person.push()
    person.final(sha), person.final(sha, "fyre/test")
    person.git("checkout", "-q", "-b", "topic", "main~1")
    person.commit(files={"b": "2"})
    person.git("cherry-pick", sha)
    person.push("topic")
    moved = person.git("rev-parse", "HEAD")
    assert person.final(moved, "fyre/moved")["state"] == "error"
    person.comment(moved, "/fyre rerun test")
    assert person.final(moved, "fyre/test")["state"] == "success"
    until(lambda: len(person.comments(moved)) == 2)
    assert person.final(moved, "fyre/moved")["state"] == "error"
    person.comment(moved, "/fyre rerun run")
    assert person.final(moved, "fyre/run")["state"] == "success"
    assert person.final(moved, "fyre/moved", attempt="run here")["state"] == "success"


def test_a_commit_older_than_history_is_refused_and_runs_when_asked(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
    sha = person.run("true")
    monkeypatch.delenv("GIT_COMMITTER_DATE")
    assert person.final(sha)["description"].endswith("days ago · /fyre rerun")
    person.comment(sha, "/fyre rerun")
    assert person.final(sha, attempt="attempt 2")["state"] == "success"


@long_case
def test_on_a_lab_branch_only_the_notebooks_entries_run(person: Person) -> None:
    passing_by = person.commit("Fyre-Run: true")
    entry = person.commit("Fyre-Run: true", f"Fyre-From: {passing_by}")
    person.push("main:refs/heads/fyre/ada")
    assert person.final(entry)["state"] == "success"
    assert person.statuses(passing_by) == []
    person.push()
    assert person.final(passing_by)["state"] == "success"


def test_the_repositorys_own_defaults_and_setup(person: Person) -> None:
    text = "env: {A: file, B: file}\nsetup: [echo set up]\nnames: {train: {env: {A: name}}}\n"
    sha = person.run(
        'echo "$A $B"', "Fyre-Name: train", "Fyre-Env: B=trailer", files={".fyre.yaml": text}
    )
    assert person.log(person.final(sha, "fyre/train")) == "set up\nname trailer\n"
    sha = person.run("true", files={".fyre.yaml": "timeout: 2 hrs\n"})
    assert person.final(sha)["description"].startswith(
        "not launched: .fyre.yaml line 1: 'timeout: 2 hrs'"
    )
    sha = person.run("echo ran", files={".fyre.yaml": "setup: [exit 7]\n"})
    status = person.final(sha)
    assert (status["state"], status["description"].split(" · ")[0]) == (
        "error",
        "setup failed: `exit 7` exit 7",
    )
    assert person.log(status) == ""


def test_a_comment_cancels_and_another_runs_it_again_once(person: Person) -> None:
    sha = person.run("test -e /tmp/none || sleep ${SLEEP:-60}", "Fyre-Timeout: 50s")
    while not any(record.state == "running" for record in person.up.engine.query_runs(ALL_RUNS)):
        time.sleep(0.01)
    person.comment(sha, "/fyre cancel")
    status = person.final(sha)
    assert (status["state"], status["description"].split(" · ")[0]) == ("error", "cancelled by ada")
    asked = person.comment(sha, "/fyre rerun")
    hook = person.api("/hooks")[0]["id"]
    while len(person.ran()) < 2:
        time.sleep(0.01)
    for delivery in person.api(f"/hooks/{hook}/deliveries"):
        if delivery["event"] == "commit_comment":
            requests.post(f"{person.up.url}/api/repos/{NAME}/hooks/{hook}/deliveries/{delivery['id']}/attempts",
                          headers={"Authorization": "token user:ada"})  # fmt: skip
    person.settled()
    assert asked
    assert [ran for ran, _ in person.ran()].count(sha) == 2
    person.comment(sha, "/fyre cancel run")
    assert "attempt 2" in person.final(sha, attempt="attempt 2")["description"]


def test_a_comment_runs_a_command_that_stands_in_no_commit(person: Person) -> None:
    sha = person.run("true")
    person.final(sha)
    person.comment(sha, "Once more, with feeling:\n\n/fyre run echo $FYRE_RUN")
    assert person.log(person.final(sha, "fyre/run-2")) == "run-2\n"


def test_a_comment_that_can_not_be_obeyed_is_answered(person: Person) -> None:
    sha, said = person.run("true"), []
    person.final(sha)
    for body, answer in (
        ("/fyre dance", NO_SUCH),
        ("/fyre cancel", "nothing to cancel here."),
        ("/fyre rerun nope", "nothing to rerun here is named nope."),
    ):
        said += [body, answer]
        person.comment(sha, body)
        until(lambda: person.comments(sha)[-1] != body)  # noqa: B023 - called here alone
        assert person.comments(sha) == said


def test_a_stranger_is_refused_once_and_politely(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = person.run("true")
    person.final(sha)
    monkeypatch.setattr(
        person.up.controller.executor.forge, "get_permission", lambda *_: "read"
    )  # what GitHub says of a stranger
    person.comment(sha, "/fyre run echo pwned", token="user:eve")
    until(lambda: person.comments(sha)[1:])
    assert person.comments(sha)[1] == f"`/fyre` needs write permission on {NAME}."
    assert "echo pwned" not in [command for _, command in person.ran()]


def test_runs_go_on_over_a_restart_and_are_reported_then(
    start_up: Callable[[], FyreUp], repo: Path, tmp_path: Path
) -> None:
    up = start_up()
    git("remote", "add", "origin", f"{up.url}/{NAME}.git", cwd=repo)
    person = Person(up, repo)
    person.push()
    go = tmp_path / "go"
    sha = person.run(f"while ! test -e {go}; do sleep 0.02; done; echo went on")
    while not any(record.state == "running" for record in up.engine.query_runs(ALL_RUNS)):
        time.sleep(0.01)
    person.up = start_up()
    go.touch()
    status = person.final(sha)
    assert (status["state"], person.log({"target_url": _here(person.up, status)})) == (
        "success",
        "went on\n",
    )


def test_what_was_pushed_while_the_receiver_was_deaf_is_swept_up(
    start_up: Callable[[], FyreUp], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = start_up()
    git("remote", "add", "origin", f"{up.url}/{NAME}.git", cwd=repo)
    person = Person(up, repo)
    with monkeypatch.context() as deaf:  # it answers 202 and forgets, as a crash would
        deaf.setattr(up.controller, "_process_event", lambda _: None)
        shas = [person.commit("Fyre-Run: true") for _ in range(3)]
        person.push()
        person.git("checkout", "-q", "-b", "topic")
        shas += [person.commit("Fyre-Run: true") for _ in range(2)]
        person.push("topic")
        time.sleep(0.3)
        assert person.ran() == []
    person.up = start_up()
    person.git("remote", "set-url", "origin", f"{person.up.url}/{NAME}.git")
    assert [person.final(sha)["state"] for sha in shas] == ["success"] * 5


def _here(up: FyreUp, status: dict[str, str]) -> str:
    """A link of the run's page at the address that the forge has now."""
    return up.url + "/runs/" + status["target_url"].rpartition("/")[2]
