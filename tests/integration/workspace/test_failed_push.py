"""What is said of a remote that takes no push: its own reason, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.local_forge import machine_trouble
from tests.integration.workspace.conftest import Git
from tests.support.ci_marks import long_case
from tests.support.local_forge import Served, served

Answer = Callable[..., list[str]]


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "forge") as found:
        yield found


@pytest.fixture
def answer(
    repo: Path, git: Git, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Answer:
    """Return a function for the error and the hint of `fyre run` or `fyre commit` at a remote."""
    monkeypatch.chdir(repo)
    git("remote", "add", "origin", "http://127.0.0.1:9/ada/lab.git", cwd=repo)

    def ask(url: str, *words: str) -> list[str]:
        git("remote", "set-url", "origin", url, cwd=repo)
        capfd.readouterr()
        assert main.main(words) == 1
        return capfd.readouterr().err.splitlines()[-2:]

    return ask


RUN = ("run", "--detach", "--yes", "--", "true")
COMMIT = ("commit", "--run", "true", "--push")


@long_case
def test_9_40_a_full_disk_of_the_server_is_the_reason(
    forge: Served, answer: Answer, git: Git, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = f"origin says: {machine_trouble.DISK_FULL}"
    told = [
        f"error: the snapshot was not pushed: {says}",
        "hint: make room on the disk of its server, then try again",
    ]
    new, known = forge.git("ada/new"), forge.git("ada/known")
    git("push", "-q", known, "main", cwd=repo)
    monkeypatch.setattr(machine_trouble, "FREE_BYTES_MIN", 1 << 60)
    assert answer(new, *RUN) == answer(known, *RUN) == told
    error, hint = answer(new, *COMMIT)
    assert error == f"error: the commit is made, but the push failed: {says}"
    assert hint.endswith("git push -u origin main, once there is room on that disk")


def test_9_40_a_name_that_no_repository_can_have_is_told_what_names_are(
    forge: Served, answer: Answer
) -> None:
    for words in (RUN, COMMIT):
        error, hint = answer(forge.git("mü/prö"), *words)
        assert "origin says: a repository's name is OWNER/REPO, in the letters a to z" in error
        assert "git remote set-url origin URL" in hint
