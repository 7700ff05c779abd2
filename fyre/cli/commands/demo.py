"""``fyre demo``: show a real commit, push, run and status, once, on a temporary forge."""

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
from fyre.client.run_client import RunClient
from fyre.errors import UserError
from fyre.git import git_command
from fyre.local_forge.auth import ACCESS_TOKEN_FILE
from fyre.workspace import remote

DEMO_COMMAND = 'echo "hello world"'


def main() -> None:
    """See it work: what is typed, what happens, and the status that the commit has in the end."""
    for key in git_command.git_output("rev-parse", "--local-env-vars").split():
        # in a hook, GIT_DIR would make git commit to the repository around it
        os.environ.pop(key, None)
    folder = tempfile.TemporaryDirectory(prefix="fyre-demo-")
    with (
        local_run.raise_on_signal(),
        folder as folder_path,
        _running_fyre_up(Path(folder_path) / "state") as url,
    ):
        repository = Path(folder_path) / "project"
        os.environ.update(_demo_identity() | _token_variables(Path(folder_path) / "state"))
        _print_step("A repository, as anyone has one, and a forge on this machine to push to:")
        _show_and_run(
            "git",
            "init",
            "--quiet",
            "--initial-branch=main",
            str(repository),
            cwd=Path(folder_path),
        )
        _show_and_run("git", "remote", "add", "origin", f"{url}/demo/project.git", cwd=repository)
        _print_step("A commit that says what to run. The command is a trailer of its message:")
        _show_and_run("fyre", "commit", "--run", DEMO_COMMAND, cwd=repository)
        _show_and_run("git", "log", "-1", "--format=%B", cwd=repository)
        _print_step("The push is the submission:")
        _show_and_run("git", "push", "--quiet", "origin", "main", cwd=repository)
        _print_step(
            "The forge tells the receiver, which runs it on exactly that commit; "
            "the commit remembers:"
        )
        _show_and_run("fyre", "watch", "--exit-status", cwd=repository)
        _show_and_run("fyre", "logs", cwd=repository)
        _show_and_run("fyre", "status", cwd=repository)
        _assert_success(repository)


def _assert_success(repository: Path) -> None:
    """Raise ``UserError`` unless the forge itself has a status of success."""
    sha = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    client = RunClient.from_remote(remote.resolve_remote(repository))
    (posted,) = client.latest_statuses(sha.strip())
    if posted.status.state != "success":
        raise UserError(
            f"the status on {sha[:7]} is {posted.status.state}: {posted.status.description}"
        )
    _print_step(
        f"{posted.status.context} on {sha[:7]} is {posted.status.state}. "
        "Next: `fyre up`, and push to it."
    )


@contextmanager
def _running_fyre_up(root: Path) -> Iterator[str]:
    """Run a ``fyre up``, and yield its address."""
    command = [sys.executable, "-m", "fyre", "up", "--root", str(root), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None  # noqa: S101 - it was asked for as a pipe
        try:
            yield _wait_until_ready(server.stderr)
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate()


def _wait_until_ready(stderr: IO[str]) -> str:
    output = ""
    for line in stderr:
        if match := re.fullmatch(r"ready (\S+)\n", line):
            return match[1]
        output += line
    raise UserError(f"`fyre up` did not start: {output.strip() or 'it printed nothing'}")


def _show_and_run(program: str, *words: str, cwd: Path) -> None:
    """Print a command as a person would type it, run it, and print its output."""
    print(f"  $ {shlex.join([program, *words])}", flush=True)
    command = [sys.executable, "-m", "fyre", *words] if program == "fyre" else [program, *words]
    result = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print("".join(f"    {line}\n" for line in result.stdout.splitlines()), end="", flush=True)
    if result.returncode:
        raise UserError(f"`{program} {words[0]}` failed with exit code {result.returncode}")


def _print_step(text: str) -> None:
    print(f"\n{text}", flush=True)


def _token_variables(root: Path) -> dict[str, str]:
    """Return variables by which git and the verbs give the token of the ``fyre up`` on that root.

    Some systems do not say whose a connection is.
    """
    token = (root / ACCESS_TOKEN_FILE).read_text(encoding="ascii").strip()
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    return {
        "FYRE_TOKEN": token,
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "http.extraHeader",
        f"GIT_CONFIG_VALUE_{count}": f"Authorization: Bearer {token}",
    }


def _demo_identity() -> dict[str, str]:
    """Return variables for an author and committer, if git knows none.

    The first minute of a new user must not fail because of that.
    """
    is_known = (
        subprocess.run(["git", "config", "user.email"], capture_output=True, check=False).returncode
        == 0
    )
    if is_known or os.environ.get("GIT_AUTHOR_EMAIL"):
        return {}
    return {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "Demo"), ("EMAIL", "demo@localhost"))
    }
