"""Run the git command for the command line and the hooks: no GitPython, arguments as lists only.

Output that git prints to a person reaches the person; an error carries the command and git's own
message.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fyre.errors import TransientError, UserError

LOCAL_TIMEOUT = 600.0
"""Seconds for a command that asks no server: what takes longer waits for a disk that is away."""


class GitError(UserError):
    """A git command failed.

    ``message`` ends with git's own error; ``returncode`` is its exit code.
    """

    def __init__(self, args: Sequence[str], returncode: int, stderr: str) -> None:
        lines = [line for line in stderr.splitlines() if line.strip()]
        reason = next(
            (line for line in lines if line.startswith(("fatal:", "error:"))),
            lines[-1] if lines else f"exit {returncode}",
        )
        super().__init__(f"git {args[0] if args else ''} failed: {reason}")
        self.argv = tuple(args)
        self.returncode = returncode
        self.stderr = stderr


def run_git(
    *args: str,
    cwd: str | Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git with its output captured.

    Raises ``GitError`` if it fails and ``check`` is set; ``TransientError`` if it takes longer than
    ``timeout`` seconds.
    """
    full_env = {**os.environ, **env} if env else None
    try:
        result = subprocess.run(
            ["git", *args],
            cwd=cwd,
            input=stdin,
            env=full_env,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"git took more than {timeout:.0f} s") from error
    except FileNotFoundError as error:
        if cwd and not Path(cwd).is_dir():
            raise UserError(f"no such directory: {cwd}") from error
        raise UserError(
            "git is not installed, or not on the PATH", hint="install git 2.34 or newer"
        ) from error
    if check and result.returncode:
        raise GitError(args, result.returncode, result.stderr.decode(errors="replace"))
    return result


def git_output(
    *args: str,
    cwd: str | Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Return git's stdout without the last newline. Raises ``GitError`` if git fails."""
    result = run_git(*args, cwd=cwd, stdin=stdin, env=env)
    return result.stdout.decode(errors="surrogateescape").removesuffix("\n")


def git_output_or_none(*args: str, cwd: str | Path | None = None) -> str | None:
    """Return git's stdout, or None if git fails.

    Use it for a configuration that may be unset, or a ref that may not exist.
    """
    result = run_git(*args, cwd=cwd, check=False)
    if result.returncode:
        return None
    return result.stdout.decode(errors="surrogateescape").removesuffix("\n")


def run_git_in_terminal(
    *args: str, cwd: str | Path | None = None, stdout: int | None = None
) -> int:
    """Run git on the person's own terminal and return its exit code.

    ``stdout`` is a file descriptor to use instead.
    """
    try:
        return subprocess.run(["git", *args], cwd=cwd, stdout=stdout, check=False).returncode
    except FileNotFoundError as error:
        raise UserError(
            "git is not installed, or not on the PATH", hint="install git 2.34 or newer"
        ) from error


def clean_env(**extra: str) -> dict[str, str]:
    """Return an environment for git that no configuration affects.

    That is the configuration of a person or of the machine.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {
        **inherited,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        **extra,
    }
