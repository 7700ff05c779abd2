"""Git hooks that check messages and pushes before anything reaches a forge.

They run at every commit, so each first checks, with nothing loaded but Python itself, whether Fyre
is concerned at all. They need only the standard library, whatever environment they were installed
from.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

HOOK_NAMES = ("commit-msg", "prepare-commit-msg", "pre-push")
"""The names of the hooks; the module of each has ``main(argv) -> int``."""


def run(argv: list[str]) -> int:
    """Run the hook that the first argument names, and return its exit code."""
    if not argv or argv[0] not in HOOK_NAMES:
        print(f"usage: python -m fyre.hooks {'|'.join(HOOK_NAMES)} …", file=sys.stderr)
        return 2
    module = import_module(f"fyre.hooks.{argv[0].replace('-', '_')}")
    code: int = module.main(argv[1:])
    return code


def git_output(*git_args: str) -> str:
    """Return what git prints; "" if it fails.

    ``subprocess`` is not used: loading it would double the time of a hook.
    """
    read_end, write_end = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write_end, 1), (os.POSIX_SPAWN_CLOSE, read_end)]
    child = os.posix_spawnp("git", ["git", *git_args], os.environ, file_actions=actions)
    os.close(write_end)
    # a descriptor has no pathlib.Path
    with open(read_end, encoding="utf-8", errors="surrogateescape") as pipe:  # noqa: PTH123
        output = pipe.read()
    os.waitpid(child, 0)
    return output.rstrip("\n")
