"""Upgrade from 0.1 to today's Fyre and back, with runs that wait, run and have ended.

None is lost and none runs twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.message import fyre_ids
from tests.conftest import git
from tests.support.ci_marks import EASIER_CASE
from tests.support.old_version import ROOT, old_version

__all__ = ["old_version"]  # a fixture

NAME = "ada/lab"


@contextmanager
def serving(code: Path, root: Path, how_it_ends: signal.Signals) -> Iterator[str]:
    """A ``fyre up`` of that code, two runs at once; its address."""
    env = {**os.environ, "PYTHONPATH": str(code), "HOME": str(root.parent)}
    words = [sys.executable, "-m", "fyre", "up", "--root", str(root), "--port", "0", "--jobs", "2"]
    log = root.parent / f"server-{len([*root.parent.glob('server-*.log')])}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(words, stderr=errors, env=env, cwd=root.parent) as server,
    ):
        try:
            yield until(
                lambda: log.read_text().partition("ready ")[2].partition("\n")[0],
                "the server is up",
            )
        finally:
            server.send_signal(how_it_ends)
            server.wait(30)


def until(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What it comes to, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Story:
    """A repository, what was pushed from it, and what came of it."""

    path: Path
    starts: Path
    url: str = ""
    messages: dict[str, str] = field(
        default_factory=dict
    )  # of each commit that asks for a run, by its SHA

    def push(self, command: str = "true", *, gate: str = "") -> str:
        """Push a commit whose run records its start, and waits for the file ``gate``, if any."""
        wait = f"while [ ! -e {self.starts.parent}/{gate} ]; do sleep 0.05; done; " if gate else ""
        trailer = f"Fyre-Run: echo $FYRE_SHA >> {self.starts}; {wait}{command}"
        message = f"Work\n\n{trailer}\nFyre-Id: {fyre_ids.new_fyre_id()}\n"
        sha = self._commit(message, tree="HEAD^{tree}", parent="HEAD")
        self.messages[sha] = message
        return sha

    def push_again(self, sha: str, *, other_code: bool) -> str:
        """Push the same message as another commit, later: on the same code or on other code."""
        tree, parent = f"{sha}^{{tree}}", f"{sha}^"
        if other_code:
            (self.path / "README").write_text(f"other {sha}\n")
            git("commit", "-q", "-a", "-m", "Other code", cwd=self.path)
            tree, parent = "HEAD^{tree}", "HEAD"
        return self._commit(
            self.messages[sha], tree=tree, parent=parent, date="2026-01-02T03:04:06+0000"
        )

    def open(self, gate: str) -> None:
        (self.starts.parent / gate).touch()

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        answer = requests.get(
            f"{self.url}/api/repos/{NAME}/commits/{sha}/statuses",
            headers={"Authorization": "token user:ada"},
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def state(self, sha: str) -> str:
        """What the server's list of runs says of it; "" for nothing."""
        rows = {row["sha"]: row["state"] for row in requests.get(f"{self.url}/runs.json").json()}
        return str(rows.get(sha, ""))

    def await_state(self, sha: str, state: str) -> None:
        until(lambda: self.state(sha) == state, f"{sha} is {state}, not {self.state(sha)}")

    def await_status(self, sha: str, context: str, *, begins: str = "", holds: str = "") -> None:
        def said() -> bool:
            texts = [one["description"] for one in self.statuses(sha) if one["context"] == context]
            return any(text.startswith(begins) and holds in text for text in texts)

        until(said, f"{context} on {sha}: {begins}…{holds}")

    def _commit(self, message: str, *, tree: str, parent: str, date: str = "") -> str:
        when = {"GIT_AUTHOR_DATE": date or f"{int(time.time())} +0000"}
        words = ["git", "commit-tree", tree, "-p", parent, "-m", message.rstrip("\n")]
        sha = subprocess.check_output(
            words, cwd=self.path, env={**os.environ, **when}, text=True
        ).strip()
        git(
            "push", "-q", f"{self.url}/{NAME}.git", f"{sha}:refs/heads/of-{sha[:12]}", cwd=self.path
        )
        return sha


@dataclass
class Pushed:
    """What one version was given."""

    good: str
    bad: str
    running: list[str]
    waiting: list[str]


def push_all(story: Story, version: str, free: int) -> Pushed:
    """Push runs that end, then as many as there are ``free`` places, then two that wait."""
    good, bad = story.push("true"), story.push("exit 3")
    story.await_status(good, "fyre/run", begins="exit 0")
    story.await_status(bad, "fyre/run", begins="exit 3")
    running = [story.push(gate=f"{version}-{number}") for number in range(free)]
    for sha in running:
        story.await_state(sha, "running")
    waiting = [story.push(gate=f"{version}-waiting") for _ in range(2)]
    for sha in waiting:
        story.await_status(sha, "fyre/run")
        assert story.state(sha) == "queued"
    return Pushed(good, bad, running, waiting)


def check_all(story: Story, pushed: Pushed) -> None:
    """Check that the other version's runs are known, and that repeated ones are carried or moved.

    Each as the other version decided it.
    """
    assert (story.state(pushed.good), story.state(pushed.bad)) == ("succeeded", "failed")
    assert [story.state(sha) for sha in pushed.running] == ["running"] * len(pushed.running)
    assert [story.state(sha) for sha in pushed.waiting] == ["queued"] * len(pushed.waiting)
    for sha, ended in ((pushed.good, "exit 0"), (pushed.bad, "exit 3")):
        assert sum(one["state"] != "pending" for one in story.statuses(sha)) == 1
        again = story.push_again(sha, other_code=False)
        story.await_status(again, "fyre/run", begins=ended, holds=f"carried from {sha[:7]}")
    moved = story.push_again(pushed.good, other_code=True)
    story.await_status(moved, "fyre/moved", begins=f"ran at {pushed.good[:7]}")
    running = story.push_again(pushed.running[0], other_code=False)
    story.await_status(running, "fyre/run", holds=f"carried from {pushed.running[0][:7]}")


@pytest.mark.parametrize(
    "how_it_ends",
    [
        # Whoever finds what a killed server left also finds what one left that had time to stop.
        pytest.param(signal.SIGINT, id="stopped", marks=EASIER_CASE),
        pytest.param(signal.SIGKILL, id="killed"),
    ],
)
def test_there_and_back(
    how_it_ends: signal.Signals, old_version: Path, tmp_path: Path, repo: Path
) -> None:
    old, root = old_version, tmp_path / "state"
    starts = tmp_path / "starts"
    starts.touch()
    story = Story(repo, starts)
    try:
        with serving(old, root, how_it_ends) as story.url:
            git("push", "-q", f"{story.url}/{NAME}.git", "main", cwd=repo)
            first = push_all(story, "first", free=2)
        with serving(ROOT, root, how_it_ends) as story.url:
            check_all(story, first)
            story.open(
                "first-0"
            )  # a place for one that waits, which 0.1 wrote down and this version starts
            story.await_status(first.running[0], "fyre/run", begins="exit 0")
            story.await_state(first.waiting[0], "running")
            story.open("first-waiting")
            for sha in first.waiting:
                story.await_status(sha, "fyre/run", begins="exit 0")
            second = push_all(story, "second", free=1)
        with serving(old, root, how_it_ends) as story.url:
            assert (
                story.state(first.running[1]) == "running"
            )  # since the first version, through both others
            check_all(story, second)
            for gate in ("first-1", "second-0", "second-waiting"):
                story.open(gate)
            for sha in (first.running[1], *second.running, *second.waiting):
                story.await_status(sha, "fyre/run", begins="exit 0")
            finals = {
                sha: sum(one["state"] != "pending" for one in story.statuses(sha))
                for sha in story.messages
            }
    finally:
        for gate in ("first-0", "first-1", "first-waiting", "second-0", "second-waiting"):
            story.open(gate)
    assert Counter(starts.read_text().split()) == Counter([*story.messages]), (
        "each was started, and once"
    )
    assert set(finals.values()) == {1}, "an end was posted twice, or not at all"
    logs = [*tmp_path.glob("server-*.log")]
    assert len(logs) == 3
    assert [
        line for log in logs for line in log.read_text().splitlines() if "Traceback" in line
    ] == []
