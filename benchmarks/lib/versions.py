"""Two versions of Fyre in one run: this clone, and the source in another folder (``--against``)."""

from __future__ import annotations

import argparse
import compileall
import statistics
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSOLE_SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


@dataclass(frozen=True)
class Version:
    """The source of one version of Fyre; ``name`` is its key in the figures."""

    name: str
    source: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables with which a process imports this version's ``fyre``."""
        return {"PYTHONPATH": str(self.source)}

    def write_console_script(self, folder: Path) -> Path:
        """Write the ``fyre`` command as an installer does, by the entry point in pyproject.toml."""
        project = tomllib.loads((self.source / "pyproject.toml").read_text())
        module, _, function = project["project"]["scripts"]["fyre"].partition(":")
        script = folder / self.name / "fyre"
        script.parent.mkdir()
        script.write_text(
            CONSOLE_SCRIPT.format(python=sys.executable, module=module, function=function)
        )
        script.chmod(0o755)
        return script


CURRENT = Version("fyre", ROOT)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--against CHECKOUT`` to the options of a benchmark."""
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="a folder with another version of Fyre's source (git worktree add FOLDER REVISION): "
        "measure it in turn with this one",
    )


def select_versions(against: Path | None) -> list[Version]:
    """Return this version, and the one to compare with where there is one.

    Both are compiled first, so that neither pays for it in the first round.
    """
    if against is None:
        return [CURRENT]
    found = [CURRENT, Version("against", against.resolve())]
    for version in found:
        if not (version.source / "fyre" / "__init__.py").exists():
            sys.exit(f"--against: no source of Fyre in {version.source}")
        compileall.compile_dir(str(version.source / "fyre"), quiet=1)
    return found


def in_turn(versions: Sequence[Version], round_number: int) -> Sequence[Version]:
    """Return the versions in the order of a round: each goes first as often as the other."""
    return versions if round_number % 2 == 0 else versions[::-1]


def median_ratio(values: Sequence[float], floor: Sequence[float]) -> float:
    """Return the median of the ratios of pairs that were measured one after the other."""
    return round(statistics.median(a / b for a, b in zip(values, floor, strict=True)), 2)
