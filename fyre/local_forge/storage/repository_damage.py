"""The damage of a repository that git can't use: in one line, for whoever asks for it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from fyre.git import git_command
from fyre.regular_files import read_regular

log = logging.getLogger(__name__)

_HEAD = re.compile(rb"ref: refs/\S+\s*|[0-9a-f]{40}\s*|[0-9a-f]{64}\s*")
_LOGGED_MAX = 1000

_logged: set[str] = set()


def find_damage(name: str, git_dir: Path) -> str:
    """Return what is wrong with a repository, and log it once; "" if git can use it."""
    reason = find_missing_part(git_dir) or _ask_git(git_dir)
    return describe_damage(name, reason) if reason else ""


def describe_damage(name: str, reason: str) -> str:
    """Return the line that says what is wrong with a repository, and log it once."""
    line = f"the repository {name} is damaged on this Git server: {reason}"
    if line not in _logged and len(_logged) < _LOGGED_MAX:
        _logged.add(line)
        log.error("%s; other repositories go on", line)
    return line


def find_missing_part(git_dir: Path) -> str:
    """Return what a directory lacks without which git takes it for no repository; "" for nothing.

    It costs little: git itself says of such a directory that there is no repository.
    """
    try:
        head = read_regular(git_dir / "HEAD")
    except OSError as error:
        return f"HEAD can't be read: {error.strerror}"
    if not _HEAD.fullmatch(head):
        return "HEAD names no branch" if head.strip(b"\0 \n") else "HEAD is empty"
    missing = [part for part in ("objects", "refs") if not (git_dir / part).is_dir()]
    return f"there is no directory {missing[0]}" if missing else ""


def _ask_git(git_dir: Path) -> str:
    """Return git's own error; "" if it can read the refs."""
    done = git_command.run_git(
        f"--git-dir={git_dir}",
        "for-each-ref",
        "--count=1",
        env=git_command.clean_env(),
        check=False,
        timeout=git_command.LOCAL_TIMEOUT,
    )
    errors = done.stderr.decode(errors="replace").strip().splitlines()
    if not done.returncode:
        return ""
    text = errors[0] if errors else f"git ended with {done.returncode}"
    return text.removeprefix("fatal: ").replace(f"{git_dir}/", "")[:200]
