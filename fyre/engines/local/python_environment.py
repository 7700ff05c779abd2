"""The Python environment of a checkout: made where a run wants one, and active for its commands.

Standard library only, and little of it: the supervisor loads this.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping

DIRECTORY = ".venv"
"""The environment's directory in the checkout, where ``uv``, ``poetry`` and editors look for it."""

_LOCK_FILES = ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock")
_INSTALLER = re.compile(r"(?:^|[\s;&|(])(?:pip|python)[\d.]*(?=[\s;&|)]|$)")
_UV = re.compile(r"(?:^|[\s;&|(])uv(?=\s|$)")


def creation_command(setup: Iterable[str], checkout: str) -> list[str] | None:
    """Return the command that makes the checkout's environment; None if none is asked for.

    A setup that uses ``python``, ``pip`` or ``uv`` asks for one, and so does a lock file. There is
    none to make if the commit brings one. Only ``python`` and ``pip`` need pip in it, which takes
    seconds.
    """
    commands = tuple(setup)
    wants_pip = any(_INSTALLER.search(command) for command in commands)
    wants_uv = any(_UV.search(command) for command in commands)
    has_lock = any(os.path.exists(os.path.join(checkout, name)) for name in _LOCK_FILES)
    if os.path.lexists(os.path.join(checkout, DIRECTORY)) or not (
        wants_pip or wants_uv or has_lock
    ):
        return None
    # The interpreter that made Fyre's own environment, not the one in it.
    python = getattr(sys, "_base_executable", sys.executable)
    return [python, "-I", "-m", "venv", *([] if wants_pip else ["--without-pip"]), DIRECTORY]


def activate(env: Mapping[str, str], checkout: str) -> dict[str, str]:
    """Return the variables with which the checkout's environment is active, if there is one."""
    directory = os.path.join(checkout, DIRECTORY)
    programs = os.path.join(directory, "bin")
    if not os.path.exists(os.path.join(programs, "python")):
        return dict(env)
    path = env.get("PATH", os.defpath)
    return {**env, "VIRTUAL_ENV": directory, "PATH": f"{programs}{os.pathsep}{path}"}
