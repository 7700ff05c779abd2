"""Hide the Python environment in which Fyre itself runs from the commands of runs.

``fyre up`` often runs in a virtual environment. A command that saw it would install its packages
there: beside Fyre's, and beside those of every other run.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

_OWN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")


def without_own_environment(env: Mapping[str, str], programs: Path) -> dict[str, str]:
    """Return the variables of a server without what makes its Python environment.

    Only the environment in which Fyre itself runs is taken out. One that its user has made for
    other things stays, and so does a Python that is no virtual environment. A command may still
    call ``fyre``, which is written into the folder ``programs``.
    """
    kept = {
        name: value
        for name, value in env.items()
        if name not in _OWN_VARIABLES and not name.startswith("FYRE_")
    }
    if sys.prefix == sys.base_prefix:
        return kept
    own_directory = os.path.realpath(sys.prefix)
    own_programs = str(Path(own_directory, "bin"))
    if os.path.realpath(kept.get("VIRTUAL_ENV", "/")) == own_directory:
        kept.pop("VIRTUAL_ENV", None)
        kept.pop("VIRTUAL_ENV_PROMPT", None)
    if "PATH" in kept:
        folders = kept["PATH"].split(os.pathsep)
        others = [folder for folder in folders if os.path.realpath(folder) != own_programs]
        kept["PATH"] = os.pathsep.join([*others, str(_write_program(programs))])
    return kept


def _write_program(programs: Path) -> Path:
    """Write ``fyre`` into a folder, to be run by the Python that runs this; return the folder."""
    programs.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = programs / f"fyre.{os.getpid()}"
    draft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fyre "$@"\n')
    draft.chmod(0o700)
    draft.replace(programs / "fyre")
    return programs
