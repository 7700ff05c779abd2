"""``fyre dispatch`` in a workflow that a comment starts."""

from __future__ import annotations

import json
import subprocess

from tests.integration.apps.test_actions_job import Runner, runner
from tests.support.comment_helpers import opened, talk

__all__ = ["runner"]


def step(runner: Runner, event: str, body: str, **more: object) -> subprocess.CompletedProcess[str]:
    repository = runner.person.api("")
    told = {
        "action": "created",
        "comment": {"id": 9, "body": body, "created_at": repository["updated_at"], **more},
        "issue": {"number": 1, "pull_request": {"url": "https://api.example.org/pulls/1"}},
        "sender": {"login": "ada", "type": "User"},
        "repository": {key: repository[key] for key in ("id", "full_name", "default_branch")},
    }
    path = runner.folder / "event.json"
    path.write_text(json.dumps(told))
    return runner.does(runner.env(path, GITHUB_EVENT_NAME=event))


def test_a_command_in_a_pull_request_is_carried_out_answered_and_not_by_the_jobs_re_run(
    runner: Runner,
) -> None:
    person = runner.person
    person.git("checkout", "-q", "-b", "topic")
    sha = person.commit()
    person.push("topic")
    pull = opened(person, "topic")
    done = step(runner, "issue_comment", "/fyre run --name big -- echo here")
    assert done.returncode == 0, done.stderr
    assert "here\n" in done.stdout
    assert person.final(sha, "fyre/big")["state"] == "success"
    assert talk(person, pull)[0].startswith(f"On {sha}:\n\nlaunched:")
    again = step(runner, "issue_comment", "/fyre run --name big -- echo here")
    assert (again.returncode, "here\n" in again.stdout, len(talk(person, pull))) == (0, False, 1)
    wrong = step(runner, "commit_comment", "/fyre dance", commit_id=sha)
    assert (wrong.returncode, runner.outputs()["outcome"]) == (0, "none")
    assert "is not a command" in person.comments(sha)[0]
