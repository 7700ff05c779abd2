"""A repository that lost a part of it: one line says which, and the others go on."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.local_forge import NAME, Receiver, Served

Git = Callable[..., str]


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


DAMAGES = {
    "HEAD is empty": lambda git_dir: (git_dir / "HEAD").write_text(""),
    "HEAD names no branch": lambda git_dir: (git_dir / "HEAD").write_text("x"),
    "HEAD can't be read": lambda git_dir: remove(git_dir / "HEAD"),
    "there is no directory objects": lambda git_dir: remove(git_dir / "objects"),
    "there is no directory refs": lambda git_dir: remove(git_dir / "refs"),
    "bad config line": lambda git_dir: (git_dir / "config").write_text("[core\nx"),
    "packed-refs": lambda git_dir: (git_dir / "packed-refs").write_text("nonsense\n"),
}
SEEN_BY_GIT_ITSELF = {"bad config line", "packed-refs"}


@pytest.mark.parametrize("reason", DAMAGES)
def test_9_3_a_damaged_repository_is_told_in_one_line(  # noqa: PLR0917 - fixtures
    forge: Served,
    receiver: Receiver,
    pushed: str,
    repo: Path,
    git: Git,
    caplog: pytest.LogCaptureFixture,
    reason: str,
) -> None:
    receiver.wait(1)  # whoever delivers it reads the repository, too
    forge.forge.objects.close()
    DAMAGES[reason](forge.forge.repository_git_dir(NAME))
    forge.forge.objects.close()  # as after a restart
    url = f"{forge.api}/repos/{NAME}/commits/{pushed}/status"
    answers = [requests.get(url, timeout=30) for _ in range(2)]
    line = f"the repository {NAME} is damaged on this Git server: "
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["message"].startswith(line)
        assert reason in answer.json()["message"]
    told = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert len([one for one in told if line in one.getMessage()]) <= 1
    if reason not in SEEN_BY_GIT_ITSELF:
        push = subprocess.run(
            ["git", "push", "origin", "main"], cwd=repo, capture_output=True, text=True, check=False
        )
        assert reason in push.stderr
    git("push", "-q", forge.git("ada/other"), "main", cwd=repo)
    assert requests.get(url.replace(NAME, "ada/other"), timeout=30).ok


@pytest.mark.parametrize("damage", ["facts", "file"])
def test_9_3_a_push_to_what_is_no_repository_is_told_in_one_line(
    forge: Served, pushed: str, repo: Path, damage: str
) -> None:
    git_dir = forge.forge.repository_git_dir(NAME)
    if damage == "facts":
        (git_dir / "fyre.json").write_text("")
    else:
        remove(git_dir)
        git_dir.write_text("")
    push = subprocess.run(
        ["git", "push", "origin", "main"], cwd=repo, capture_output=True, text=True, check=False
    )
    assert f"the repository {NAME} is damaged on this Git server" in push.stderr
