"""Find the submodules of a commit whose own commits are not pushed: no run could fetch them."""

from __future__ import annotations

import os
from pathlib import Path

from fyre.git import git_command

HINT = "git push --recurse-submodules=on-demand"
"""What pushes them with the commit that names them."""


def find_unpushed(sha: str, top: Path) -> list[str]:
    """Return the paths of those submodules, as far as this clone can tell.

    None where git pushes them by itself: ``push.recurseSubmodules``.
    """
    if not os.path.lexists(top / ".gitmodules") or _are_pushed_along(top):
        return []
    listed = git_command.git_output_or_none(
        "config", "-z", "-f", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$", cwd=top
    )
    paths = [entry.partition("\n")[2] for entry in (listed or "").split("\0") if entry]
    if not paths:
        return []
    entries = git_command.git_output(
        "ls-tree", "-z", "--full-tree", sha, "--", *paths, cwd=top
    ).split("\0")
    links = [entry.partition("\t")[::2] for entry in entries if entry.startswith("160000 ")]
    return [path for fields, path in links if _is_unpushed(top / path, fields.split()[2])]


def _are_pushed_along(top: Path) -> bool:
    settings = ("push.recurseSubmodules", "submodule.recurse")
    values = [git_command.git_output_or_none("config", "--get", key, cwd=top) for key in settings]
    return values[0] in ("on-demand", "only") or (values[0] is None and values[1] == "true")


def _is_unpushed(submodule: Path, sha: str) -> bool:
    """Return True if the clone of a submodule has a commit that none of its remotes has."""
    if not (submodule / ".git").exists():
        return False
    # --git-dir is given because GIT_DIR, in a hook, names the repository around the submodule.
    git_args = ("--git-dir=.git", "rev-list", "-1", sha, "--not", "--remotes", "--")
    return bool(git_command.git_output_or_none(*git_args, cwd=submodule))
