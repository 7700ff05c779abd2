"""A ``fyre up`` of either version on the same state, and somebody who pushes to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from fyre.message import fyre_ids
from tests.conftest import git

NAME = "ada/lab"


@contextmanager
def serving(
    code: Path, root: Path, how_it_ends: signal.Signals, *options: str, port: int = 0
) -> Iterator[str]:
    """Run a ``fyre up`` of that code until the block ends; yield its address."""
    env = {**os.environ, "PYTHONPATH": str(code), "HOME": str(root.parent)}
    words = [sys.executable, "-m", "fyre", "up", "--root", str(root), "--port", str(port)]
    log = root.parent / f"server-{len(server_logs(root))}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen([*words, *options], stderr=errors, env=env, cwd=root.parent) as server,
    ):
        try:
            yield until(lambda: _find_address(log), "the server is up")
        finally:
            server.send_signal(how_it_ends)
            server.wait(60)


def server_logs(root: Path) -> list[Path]:
    """Return the logs of all servers on that state so far."""
    return [*root.parent.glob("server-*.log")]


def find_tracebacks(root: Path) -> list[str]:
    """Return each line in the servers' logs that begins a traceback."""
    lines = [line for log in server_logs(root) for line in log.read_text().splitlines()]
    return [line for line in lines if "Traceback" in line]


def _find_address(log: Path) -> str:
    found = re.search(r"^ready (\S+)\n", log.read_text(), re.MULTILINE)
    return found[1] if found else ""


def until(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What it comes to, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
    return found


@dataclass
class UpgradeStory:
    """A repository, and what was pushed from it to the forge at ``url``."""

    path: Path
    url: str = ""
    # of each commit that asks for a run, by its SHA
    messages: dict[str, str] = field(default_factory=dict)

    def push_run(self, *trailers: str) -> str:
        """Push a commit with these trailers to a branch of its own; return its SHA."""
        lines = [*trailers, f"Fyre-Id: {fyre_ids.new_fyre_id()}"]
        message = "Work\n\n" + "\n".join(lines) + "\n"
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

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        """Return all statuses of a commit, newest first."""
        answer = requests.get(
            f"{self.url}/api/repos/{NAME}/commits/{sha}/statuses",
            headers={"Authorization": "token user:ada"},
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def final_states(self, sha: str) -> list[str]:
        """Return the state of each status that says how a run ended, newest first."""
        states = [str(one["state"]) for one in self.statuses(sha)]
        return [state for state in states if state != "pending"]

    def state(self, sha: str) -> str:
        """What the server's list of runs says of it; "" for nothing."""
        rows = {row["sha"]: row["state"] for row in requests.get(f"{self.url}/runs.json").json()}
        return str(rows.get(sha, ""))

    def await_state(self, sha: str, state: str) -> None:
        until(lambda: self.state(sha) == state, f"{sha} is {state}, not {self.state(sha)}")

    def await_status(
        self, sha: str, context: str, *, begins: str = "", holds: str = "", seconds: float = 60
    ) -> None:
        """Wait for a status of a context; fail with all that there are after so many seconds."""
        texts: list[str] = []

        def said() -> bool:
            found = [one for one in self.statuses(sha) if one["context"] == context]
            texts[:] = [one["description"] for one in found]
            return any(text.startswith(begins) and holds in text for text in texts)

        try:
            until(said, f"{context} on {sha}: {begins}…{holds}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {texts}") from None

    def check_repeated(self, *, good: str, bad: str, running: str) -> None:
        """Check that pushing the same message again carries each run, or moves it.

        ``good`` ended with 0, ``bad`` with 3, ``running`` has not ended.
        """
        for sha, ended in ((good, "exit 0"), (bad, "exit 3")):
            assert len(self.final_states(sha)) == 1
            again = self.push_again(sha, other_code=False)
            self.await_status(again, "fyre/run", begins=ended, holds=f"carried from {sha[:7]}")
        moved = self.push_again(good, other_code=True)
        self.await_status(moved, "fyre/moved", begins=f"ran at {good[:7]}")
        carried = self.push_again(running, other_code=False)
        self.await_status(carried, "fyre/run", holds=f"carried from {running[:7]}")

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
