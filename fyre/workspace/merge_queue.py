"""Find signs of GitHub's merge queue in a clone, without asking GitHub."""

from __future__ import annotations

import re
from pathlib import Path

from fyre.git import git_command

_MERGE_GROUP = re.compile(rb"^[^#\n]*\bmerge_group\b", re.MULTILINE)
_WORKFLOW_BYTES_MAX = 256 * 1024


def has_merge_queue(top: Path) -> bool:
    """Return True if a workflow listens to a merge queue, or a branch of one was fetched."""
    for path in sorted((top / ".github" / "workflows").glob("*.y*ml")):
        try:
            with path.open("rb") as file:
                if _MERGE_GROUP.search(file.read(_WORKFLOW_BYTES_MAX)):
                    return True
        except OSError:
            continue
    pattern = "refs/remotes/*/gh-readonly-queue/**"
    return bool(git_command.git_output_or_none("for-each-ref", "--count=1", pattern, cwd=top))
