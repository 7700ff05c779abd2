"""The thin module over the git command that the keyboard and the hooks use: no GitPython, arguments as lists only.

Whatever git prints to a person reaches the person; whatever fails carries the command and git's own words.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fyre.errors import UserError


class GitError(UserError):
    """A git command failed: ``message`` is git's own last words, ``returncode`` its exit code."""

    def __init__(self, args: Sequence[str], returncode: int, stderr: str) -> None:
        said = [line for line in stderr.splitlines() if line.strip()]
        words = next(
            (line for line in said if line.startswith(("fatal:", "error:"))),
            said[-1] if said else "",
        )
        super().__init__(f"git {args[0] if args else ''} failed: {words or f'exit {returncode}'}")
        self.argv = tuple(args)
        self.returncode = returncode
        self.stderr = stderr


def run_git(
    *args: str,
    cwd: str | Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run git with its output captured. Raises ``GitError`` when it fails and ``check`` is set."""
    full = {**os.environ, **env} if env else None
    try:
        done = subprocess.run(
            ["git", *args], cwd=cwd, input=stdin, env=full, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        if cwd and not Path(cwd).is_dir():
            raise UserError(f"no such directory: {cwd}") from error
        raise UserError(
            "git is not installed, or not on the PATH", hint="install git 2.34 or newer"
        ) from error
    if check and done.returncode:
        raise GitError(args, done.returncode, done.stderr.decode(errors="replace"))
    return done


def git_output(
    *args: str,
    cwd: str | Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What git prints on stdout, without the last newline."""
    return (
        run_git(*args, cwd=cwd, stdin=stdin, env=env)
        .stdout.decode(errors="surrogateescape")
        .removesuffix("\n")
    )


def git_output_or_none(*args: str, cwd: str | Path | None = None) -> str | None:
    """Like ``out``, but None where git says no: an unset configuration, a ref that does not exist."""
    done = run_git(*args, cwd=cwd, check=False)
    return (
        done.stdout.decode(errors="surrogateescape").removesuffix("\n")
        if done.returncode == 0
        else None
    )


def run_git_in_terminal(
    *args: str, cwd: str | Path | None = None, stdout: int | None = None
) -> int:
    """Run git on the person's own terminal and answer with its exit code; ``stdout`` is a descriptor to use instead."""
    try:
        return subprocess.run(["git", *args], cwd=cwd, stdout=stdout, check=False).returncode
    except FileNotFoundError as error:
        raise UserError(
            "git is not installed, or not on the PATH", hint="install git 2.34 or newer"
        ) from error


def clean_env(**extra: str) -> dict[str, str]:
    """An environment for git in which no configuration of a person or a machine changes what it does."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {
        **kept,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        **extra,
    }
