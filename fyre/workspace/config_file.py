"""Read the ``.fyre.yaml`` of a work tree, as it would be in a commit."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fyre.errors import UserError
from fyre.git import git_command

CONFIG_FILE = ".fyre.yaml"


def read_worktree_config(top: Path) -> str | None:
    """Return the text of the file at the top of a work tree; None if there is none.

    Raises ``UserError`` for a symbolic link: git stores where it leads, not what is there.
    """
    try:
        descriptor = os.open(top / CONFIG_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _link_error() from error
        return None
    try:
        with os.fdopen(descriptor, "rb") as file:
            return file.read().decode(errors="surrogateescape")
    except IsADirectoryError:
        return None


def read_committed_config(sha: str) -> str | None:
    """Return the text of the file in a commit; None if there is none.

    Raises ``UserError`` for a symbolic link.
    """
    entry = git_command.git_output_or_none("ls-tree", "--full-tree", sha, "--", CONFIG_FILE) or ""
    if entry.startswith("120000"):
        raise _link_error()
    return git_command.git_output_or_none("show", f"{sha}:{CONFIG_FILE}") if entry else None


def reject_bad_config(text: str | None, problem: str) -> None:
    """Raise ``UserError`` for a file that the receiver would refuse; ``problem`` comes first."""
    if text is None:
        return
    from fyre.runs import repo_config  # loads the YAML parser: only where there is a file

    try:
        repo_config.parse_repo_config(text)
    except repo_config.RepoConfigError as error:
        raise UserError(f"{problem}: {error}", hint=error.hint or "fyre check") from error


def _link_error() -> UserError:
    return UserError(
        f"{CONFIG_FILE} is a symbolic link, and a run does not follow it",
        hint="put the file itself in its place",
    )
