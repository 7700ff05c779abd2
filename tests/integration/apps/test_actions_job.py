"""``fyre dispatch`` as a workflow step: the runner's variables and files, a real forge."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fyre.apps import actions_summary
from fyre.apps.up import FyreUp
from fyre.cli import main
from fyre.local_forge.api.rest import ApiError
from fyre.local_forge.storage.git_notes import GitNotes
from fyre.message import fyre_ids
from tests.support.ci_marks import long_case
from tests.support.first_push import push_to_forge
from tests.support.person import NAME, Person, await_answer
from tests.support.waiting import until


@dataclass
class Runner:
    """What a runner would do for one step."""

    person: Person
    folder: Path

    def event(self, sha: str, before: str, **more: object) -> Path:
        """The file with a push event, as GitHub writes it for a workflow: no lists of files."""
        repository = self.person.api("")
        told = {
            "ref": "refs/heads/main",
            "before": before,
            "after": sha,
            "deleted": False,
            "commits": [{"id": sha}],
            "sender": {"login": "ada"},
            "repository": {key: repository[key] for key in ("id", "full_name", "default_branch")},
            **more,
        }
        path = self.folder / "event.json"
        path.write_text(json.dumps(told))
        return path

    def env(self, event: Path, **more: str) -> dict[str, str]:
        url = self.person.up.url
        return {
            **os.environ,
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_API_URL": f"{url}/api",
            "GITHUB_SERVER_URL": url,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_RUN_ID": "77",
            "GITHUB_TOKEN": "user:runner",
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "RUNNER_TEMP": str(self.folder),
            "FYRE_LOGIN": "runner",
            **more,
        }

    def step(self, sha: str, before: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.does(self.env(self.event(sha, before), **more))

    def does(self, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        """Do the step in this process, which has loaded all that it needs."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in os.environ.keys() - env.keys():
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            code = main.main(["dispatch", "--jobs", "2", *options])
        out.flush()
        said = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
        return subprocess.CompletedProcess([], code, said, err.getvalue())

    def process(self, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fyre", "dispatch", "--jobs", "2", *options]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=120
        )

    def outputs(self) -> dict[str, str]:
        lines = (self.folder / "output").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def runner(
    start_up: Callable[[], FyreUp], repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Runner:
    """A forge whose webhooks nobody hears: the workflow is all there is."""
    up = start_up()
    monkeypatch.setattr(up.controller, "_process_event", lambda _: None)
    await_answer(up)
    push_to_forge(up.local_forge, NAME, repo)
    person = Person(up, repo)
    folder = tmp_path / "runner"
    folder.mkdir()
    return Runner(person, folder)


def pushed(runner: Runner, *trailers: str) -> tuple[str, str]:
    before = runner.person.git("rev-parse", "HEAD")
    sha = runner.person.commit(*trailers)
    runner.person.push()
    return sha, before


def test_a_push_is_run_reported_and_summed_up(runner: Runner) -> None:
    sha, before = pushed(
        runner, "Fyre-Run: echo hello; git rev-parse HEAD", "Fyre-Run: exit 3", "Fyre-Name: bad"
    )
    done = runner.process(runner.env(runner.event(sha, before)))
    assert done.returncode == 1, done.stderr
    newest = {one["context"]: one for one in runner.person.statuses(sha)}
    assert {name: one["state"] for name, one in newest.items()} == {
        "fyre/run": "success",
        "fyre/bad": "failure",
    }
    assert newest["fyre/run"]["target_url"].endswith(f"/{NAME}/actions/runs/77")
    assert f"hello\n{sha}\n" in done.stdout
    assert runner.outputs()["outcome"] == "failure"
    assert [run["state"] for run in json.loads(runner.outputs()["runs"])] == ["succeeded", "failed"]
    assert "<code>exit 3" in (runner.folder / "summary").read_text()
    assert not list(runner.folder.glob("fyre-*"))


@long_case
def test_the_logs_of_one_commit_are_printed_in_the_order_of_its_message(runner: Runner) -> None:
    names = [f"part-{number}" for number in (3, 1, 4, 2, 6, 5)]
    trailers = (line for name in names for line in ("Fyre-Run: true", f"Fyre-Name: {name}"))
    sha, before = pushed(runner, *trailers)
    done = runner.step(sha, before)
    printed = re.findall(r"^::group::\w+ (\S+): succeeded$", done.stdout, re.MULTILINE)
    assert (done.returncode, printed) == (0, names)


def test_asked_again_it_runs_nothing_again(runner: Runner) -> None:
    sha, before = pushed(runner, "Fyre-Run: true")
    assert runner.step(sha, before).returncode == 0
    again = runner.step(sha, before, FYRE_LOGIN="Runner")  # as somebody types it
    assert again.returncode == 0, again.stderr
    assert [one["state"] for one in runner.person.statuses(sha)] == ["pending", "success"]
    assert runner.outputs()["outcome"] == "none"


def test_what_a_command_prints_is_no_command_of_the_runners(runner: Runner) -> None:
    sha, before = pushed(
        runner, "Fyre-Run: echo '::set-output name=x::y'; echo '::stop-commands::z'", "Fyre-Name: a"
    )
    lines = runner.step(sha, before).stdout.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("::stop-commands::"))
    word = lines[begin].removeprefix("::stop-commands::")
    end = lines.index(f"::{word}::")
    spoken = [
        n for n, line in enumerate(lines) if "::set-output" in line or line == "::stop-commands::z"
    ]
    assert len(word) == 32
    assert spoken
    assert all(begin < n < end for n in spoken)


def test_no_token_is_left_to_the_command(runner: Runner) -> None:
    sha, before = pushed(runner, "Fyre-Run: env; cat .git/config; git config --list")
    secrets = {
        "FYRE_APP_PRIVATE_KEY": "pem of ours",
        "FYRE_KEY": "key of ours",
        "FYRE_WEBHOOK_SECRET": "word of ours",
    }
    secrets["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "token of ours"
    done = runner.process(runner.env(runner.event(sha, before), **secrets))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FYRE_SHA=" in done.stdout
    assert "GITHUB_TOKEN" not in done.stdout
    assert "user:runner" not in done.stdout + done.stderr
    assert " of ours" not in done.stdout + done.stderr


@long_case
def test_no_command_is_given_the_files_in_which_a_runner_takes_commands(runner: Runner) -> None:
    sha, before = pushed(
        runner, "Fyre-Run: env", 'Fyre-Run: echo outcome=fine >>"${GITHUB_OUTPUT:-/dev/null}"'
    )
    done = runner.step(
        sha, before, GITHUB_ENV=f"{runner.folder}/env", GITHUB_PATH=f"{runner.folder}/path"
    )
    assert not [
        name
        for name in ("ENV", "OUTPUT", "PATH", "STEP_SUMMARY")
        if f"GITHUB_{name}=" in done.stdout
    ]
    assert "outcome=fine" not in (runner.folder / "output").read_text()


def test_nothing_asked_is_no_failure(runner: Runner) -> None:
    sha, before = pushed(runner, "Signed-off-by: Ada")
    assert runner.step(sha, before).returncode == 0
    assert "No commit" in (runner.folder / "summary").read_text()


@pytest.mark.parametrize(
    ("trailers", "said", "times"),
    [
        (("Fyre-Run: exit 3",), "run: exit 3", 2),
        (
            ("Fyre-Run: true", "Fyre-Tiemout: 2h"),
            "run: not launched: line 4: unknown trailer Fyre-Tiemout",
            1,
        ),
    ],
)
def test_a_job_is_no_better_than_what_stands_on_the_commit_also_when_it_is_run_again(
    runner: Runner, trailers: tuple[str, ...], said: str, times: int
) -> None:
    sha, before = pushed(runner, *trailers)
    for _ in range(times):
        done = runner.step(sha, before)
        assert (done.returncode, runner.outputs()["outcome"]) == (1, "failure"), done.stderr
        assert f"{sha[:7]} {said}" in done.stdout
    assert (runner.folder / "summary").read_text().count("❌") == times
    assert {one["state"] for one in runner.person.statuses(sha)} <= {"pending", "failure", "error"}


def test_what_ran_is_reported_also_where_the_forge_answers_no_more(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GitNotes.read_commit_notes

    def read(notes: GitNotes, git_dir: Path, sha: str) -> list[dict[str, Any]]:
        if (tmp_path / "enough").exists():
            raise ApiError(403, "Resource not accessible by integration")
        return real(notes, git_dir, sha)

    monkeypatch.setattr(GitNotes, "read_commit_notes", read)
    sha, before = pushed(runner, f"Fyre-Run: echo hello; touch {tmp_path}/enough")
    done = runner.step(sha, before)
    assert (done.returncode, runner.outputs()["outcome"]) == (0, "success"), done.stderr
    assert "hello\n" in done.stdout


@long_case
def test_a_commit_that_was_refused_and_shares_an_outcome_now_is_as_good_as_that(
    runner: Runner, tmp_path: Path
) -> None:
    first, before = pushed(
        runner, "Fyre-Run: true", f"Fyre-Id: {(minted := fyre_ids.new_fyre_id())}"
    )
    second, _ = pushed(runner, "Fyre-Run: true", f"Fyre-Id: {minted}")
    env = runner.env(runner.event(second, before, commits=[{"id": first}, {"id": second}]))
    (tmp_path / "policy.yaml").write_text("refs: [release/*]\n")
    assert runner.does(env, "--policy", str(tmp_path / "policy.yaml")).returncode == 1
    done = runner.does(env)
    assert (done.returncode, runner.outputs()["outcome"]) == (0, "success"), done.stdout
    said = [[one["state"] for one in runner.person.statuses(sha)] for sha in (first, second)]
    assert [(states[0], states[-1]) for states in said] == [("error", "success")] * 2


@long_case
def test_what_another_job_runs_is_not_said_to_be_lost(runner: Runner, tmp_path: Path) -> None:
    sha, before = pushed(runner, f"Fyre-Run: until [ -e {tmp_path}/go ]; do sleep 0.05; done")
    env = runner.env(runner.event(sha, before), GITHUB_RUN_ID="76")
    with subprocess.Popen(
        [sys.executable, "-m", "fyre", "dispatch"], env=env, stdout=subprocess.DEVNULL
    ) as other:
        until(lambda: runner.person.statuses(sha))
        done = runner.step(sha, before)
        (tmp_path / "go").touch()
        assert (done.returncode, other.wait(60)) == (0, 0), done.stderr
    assert [one["state"] for one in runner.person.statuses(sha)] == ["pending", "success"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GITHUB_TOKEN", "GITHUB_TOKEN is not set"),
        ("GITHUB_EVENT_PATH", "GITHUB_EVENT_PATH is not set"),
    ],
)
def test_a_missing_variable_is_named(runner: Runner, name: str, said: str) -> None:
    sha, before = pushed(runner, "Fyre-Run: true")
    done = runner.step(sha, before, **{name: ""})
    assert (done.returncode, said in done.stderr) == (1, True)


def test_the_summary_shows_what_people_wrote_as_text() -> None:
    text = actions_summary._code_span(
        "a|b`c` <img src=x> @team & more\nline ![seen](//eve.example/x.png) *this* \\*that"
    )
    assert "<img" not in text
    assert not set("|`@[*\\\n") & set(text)


@pytest.mark.parametrize("option", ["--no-wait", "--reconcile"])
def test_what_ends_with_the_job_is_waited_for(runner: Runner, option: str) -> None:
    env = runner.env(runner.folder / "none")
    done = runner.does(env, option)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            f"error: {option} has no effect with engine local: its runs end with this job",
            "hint: --engine kubernetes; or wait for the runs",
        ],
    )
