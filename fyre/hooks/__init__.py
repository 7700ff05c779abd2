"""Git's hooks: what a person hears while committing and pushing, long before anything reaches a forge.

They run at every commit, so each answers first whether there is anything of ours, with nothing loaded but Python
itself; they need the standard library only, whatever environment they were installed from.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

HOOK_NAMES = ("commit-msg", "prepare-commit-msg", "pre-push")
"""The hooks there are; the module of each has ``main(words) -> int``."""


def run(argv: list[str]) -> int:
    """Run the hook that the first word names; answers with its exit code."""
    if not argv or argv[0] not in HOOK_NAMES:
        print(f"usage: python -m fyre.hooks {'|'.join(HOOK_NAMES)} …", file=sys.stderr)
        return 2
    module = import_module(f"fyre.hooks.{argv[0].replace('-', '_')}")
    code: int = module.main(argv[1:])
    return code


def git_output(*git_args: str) -> str:
    """What git prints, "" where it fails. Loading subprocess would double the time of a hook."""
    reading, writing = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_CLOSE, reading)]
    child = os.posix_spawnp("git", ["git", *git_args], os.environ, file_actions=actions)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="surrogateescape") as pipe:  # noqa: PTH123 - a descriptor, no path
        said = pipe.read()
    os.waitpid(child, 0)
    return said.rstrip("\n")
