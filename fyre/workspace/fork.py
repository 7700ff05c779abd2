"""Tell whether commits of this clone reach their repository by a pull request from a fork."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fyre.git import git_command

UPSTREAM = "upstream"
"""The usual name of the remote that a fork was made from; ``gh repo fork`` gives it as well."""


def comes_from_fork() -> bool:
    """Return True in a workflow about a fork's pull request, and in a clone with an upstream."""
    pull = _workflow_event().get("pull_request")
    if isinstance(pull, dict):
        return _repository_id(pull, "head") != _repository_id(pull, "base")
    return git_command.git_output_or_none("config", f"remote.{UPSTREAM}.url") is not None


def _workflow_event() -> dict[str, Any]:
    """Return the event of the GitHub workflow that this runs in, {} outside of one."""
    try:
        event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
    except (KeyError, OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _repository_id(pull: dict[str, Any], end: str) -> object:
    """Return the id of the repository at an end of a pull request; None if it is gone."""
    side = pull.get(end)
    repository = side.get("repo") if isinstance(side, dict) else None
    return repository.get("id") if isinstance(repository, dict) else None
