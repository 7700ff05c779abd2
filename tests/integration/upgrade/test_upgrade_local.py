"""Upgrade from 0.1 to today's Fyre and back, with runs that wait, run and have ended.

None is lost and none runs twice.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import git
from tests.support.ci_marks import EASIER_CASE, LONG_CASE
from tests.support.old_version import ROOT, old_version
from tests.support.upgrade_story import (
    NAME,
    UpgradeStory,
    find_tracebacks,
    server_logs,
    serving,
)

__all__ = ["old_version"]  # a fixture

TWO_AT_ONCE = ("--jobs", "2")


@dataclass
class Story(UpgradeStory):
    """Runs of this machine: each notes its start in a file, and waits for a file."""

    starts: Path = field(kw_only=True)

    def push(self, command: str = "true", *, gate: str = "") -> str:
        """Push a commit whose run records its start, and waits for the file ``gate``, if any."""
        wait = f"while [ ! -e {self.starts.parent}/{gate} ]; do sleep 0.05; done; " if gate else ""
        return self.push_run(f"Fyre-Run: echo $FYRE_SHA >> {self.starts}; {wait}{command}")

    def open(self, gate: str) -> None:
        (self.starts.parent / gate).touch()


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
    story.check_repeated(good=pushed.good, bad=pushed.bad, running=pushed.running[0])


@pytest.mark.parametrize(
    "how_it_ends",
    [
        # Whoever finds what a killed server left also finds what one left that had time to stop.
        pytest.param(signal.SIGINT, id="stopped", marks=EASIER_CASE),
        pytest.param(signal.SIGKILL, id="killed", marks=LONG_CASE),
    ],
)
def test_there_and_back(
    how_it_ends: signal.Signals, old_version: Path, tmp_path: Path, repo: Path
) -> None:
    old, root = old_version, tmp_path / "state"
    starts = tmp_path / "starts"
    starts.touch()
    story = Story(repo, starts=starts)
    try:
        with serving(old, root, how_it_ends, *TWO_AT_ONCE) as story.url:
            git("push", "-q", f"{story.url}/{NAME}.git", "main", cwd=repo)
            first = push_all(story, "first", free=2)
        with serving(ROOT, root, how_it_ends, *TWO_AT_ONCE) as story.url:
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
        with serving(old, root, how_it_ends, *TWO_AT_ONCE) as story.url:
            assert (
                story.state(first.running[1]) == "running"
            )  # since the first version, through both others
            check_all(story, second)
            for gate in ("first-1", "second-0", "second-waiting"):
                story.open(gate)
            for sha in (first.running[1], *second.running, *second.waiting):
                story.await_status(sha, "fyre/run", begins="exit 0")
            finals = {sha: len(story.final_states(sha)) for sha in story.messages}
    finally:
        for gate in ("first-0", "first-1", "first-waiting", "second-0", "second-waiting"):
            story.open(gate)
    assert Counter(starts.read_text().split()) == Counter([*story.messages]), (
        "each was started, and once"
    )
    assert set(finals.values()) == {1}, "an end was posted twice, or not at all"
    assert len(server_logs(root)) == 3
    assert find_tracebacks(root) == []
