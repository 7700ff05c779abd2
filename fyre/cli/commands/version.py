"""``fyre version``: print the versions that belong in a bug report."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

import fyre
from fyre.git import git_command


def main(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False
) -> None:
    """Print the version of Fyre, and of the Python and git that it stands on."""
    versions = {
        "fyre": fyre.__version__,
        "python": platform.python_version(),
        "git": (git_command.git_output_or_none("version") or "none").removeprefix("git version "),
    }
    if as_json:
        import json

        print(json.dumps(versions))
    else:
        print(" · ".join(f"{name} {version}" for name, version in versions.items()))
