"""Print runs as a table: columns cut to the terminal's width, the state in colour."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `fyre check` needs nothing of it
    from fyre.client.run_client import RunSummary

_STATE_COLOURS = {
    "succeeded": "32",
    "carried": "32",
    "waiting": "33",
    "queued": "33",
    "starting": "33",
    "running": "33",
}
_COLUMNS = ("sha", "state", "name", "description", "command")


def print_run_table(runs: Sequence[RunSummary], *, as_json: bool) -> None:
    """Print runs, as a table or as a JSON list with every field."""
    if as_json:
        json.dump([run.to_json() for run in runs], sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    cells = [[_format_cell(run, column) for column in _COLUMNS] for run in runs]
    widths = [max((len(line[n]) for line in cells), default=0) for n in range(len(_COLUMNS))]
    total = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for line in cells:
        text = "  ".join(
            f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        sys.stdout.write(_colour_state(text[:total], line[1]) + "\n")


def escape_unprintable(text: str) -> str:
    """Return the text with escapes for characters that a terminal would obey.

    Anybody who can push may have written a status.
    """
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _format_cell(run: RunSummary, column: str) -> str:
    text = str(getattr(run, column))
    return text[:7] if column == "sha" else escape_unprintable(" ".join(text.split()))


def _colour_state(text: str, state: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return text.replace(state, f"\x1b[{_STATE_COLOURS.get(state, '31')}m{state}\x1b[0m", 1)
