"""``fyre demo``: the whole way once, on a throw-away forge: a real commit, a real push, a real run, a real status."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fyre.apps import local_run
from fyre.cli import follow
from fyre.errors import UserError
from fyre.git import git_command
from fyre.workspace import remote

DEMO_COMMAND = 'echo "hello world"'


def main() -> None:
    """See it work: what is typed, what happens, and the status that the commit has in the end."""
    for key in git_command.git_output("rev-parse", "--local-env-vars").split():
        os.environ.pop(
            key, None
        )  # in a hook, GIT_DIR would have us commit to the repository around it
    folder = tempfile.TemporaryDirectory(prefix="fyre-demo-")
    with (
        local_run.raise_on_signal(),
        folder as place,
        _running_fyre_up(Path(place) / "state") as url,
    ):
        repository = Path(place) / "project"
        os.environ.update(_demo_identity())
        _print_step("A repository, as anyone has one, and a forge on this machine to push to:")
        _show_command(
            "git", "init", "--quiet", "--initial-branch=main", str(repository), cwd=Path(place)
        )
        _show_command("git", "remote", "add", "origin", f"{url}/demo/project.git", cwd=repository)
        _print_step("A commit that says what to run. The command is a trailer of its message:")
        _show_command("fyre", "commit", "--run", DEMO_COMMAND, cwd=repository)
        _show_command("git", "log", "-1", "--format=%B", cwd=repository)
        _print_step("The push is the submission:")
        _show_command("git", "push", "--quiet", "origin", "main", cwd=repository)
        _print_step(
            "The forge tells the receiver, which runs it on exactly that commit; the commit remembers:"
        )
        _show_command("fyre", "watch", "--exit-status", cwd=repository)
        _show_command("fyre", "logs", cwd=repository)
        _show_command("fyre", "status", cwd=repository)
        _assert_success(repository)


def _assert_success(repository: Path) -> None:
    """Believe the forge alone."""
    sha = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    where = remote.resolve_remote(repository)
    (posted,) = follow.latest_statuses(
        where.create_client(), follow.repository_by_name(where), sha.strip()
    )
    if posted.status.state != "success":
        raise UserError(
            f"the status on {sha[:7]} is {posted.status.state}: {posted.status.description}"
        )
    _print_step(
        f"{posted.status.context} on {sha[:7]} is {posted.status.state}. Next: `fyre up`, and push to it."
    )


@contextmanager
def _running_fyre_up(root: Path) -> Iterator[str]:
    """A ``fyre up`` of our own, and its address."""
    command = [sys.executable, "-m", "fyre", "up", "--root", str(root), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None  # noqa: S101 - it was asked for as a pipe
        try:
            yield _wait_until_ready(server.stderr)
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate()


def _wait_until_ready(stderr: IO[str]) -> str:
    said = ""
    for line in stderr:
        if match := re.fullmatch(r"ready (\S+)\n", line):
            return match[1]
        said += line
    raise UserError(f"`fyre up` did not start: {said.strip() or 'it said nothing'}")


def _show_command(program: str, *words: str, cwd: Path) -> None:
    """Show a command as a person would type it, and run it."""
    print(f"  $ {shlex.join([program, *words])}", flush=True)
    command = [sys.executable, "-m", "fyre", *words] if program == "fyre" else [program, *words]
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print("".join(f"    {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        raise UserError(f"`{program} {words[0]}` failed with exit code {done.returncode}")


def _print_step(text: str) -> None:
    print(f"\n{text}", flush=True)


def _demo_identity() -> dict[str, str]:
    """Somebody to commit as, where git knows nobody: a newcomer's first minute must not fail on that."""
    known = (
        subprocess.run(["git", "config", "user.email"], capture_output=True, check=False).returncode
        == 0
    )
    if known or os.environ.get("GIT_AUTHOR_EMAIL"):
        return {}
    return {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Demo"), ("EMAIL", "demo@localhost"))}  # fmt: skip
