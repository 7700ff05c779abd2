"""The files in a run's directory in which its command leaves what it found.

A supervisor loads this: standard library only.
"""

from __future__ import annotations

import contextlib
import os

from fyre.engines.local import checkout

OUTPUTS_DIR, METRICS_FILE, LINKS_FILE = "outputs", "metrics.jsonl", "links.txt"

_FILES = (METRICS_FILE, LINKS_FILE)

ENDED_FILE = "ended.json"
"""The outcome of a run whose outputs are not stored yet: see ``output_sealer``."""

VARIABLES = {
    "FYRE_OUTPUTS": OUTPUTS_DIR,
    "FYRE_METRICS": METRICS_FILE,
    "FYRE_LINK": LINKS_FILE,
}
"""By variable of the command: the directory or file that it names."""


def results_environment(directory: str) -> dict[str, str]:
    """Return the variables that say where a command leaves what it found."""
    return {name: os.path.join(directory, file) for name, file in VARIABLES.items()}


def create_outputs_directory(directory: str, *, is_first_try: bool) -> None:
    """Make the directory for outputs; what an earlier try left is not this one's."""
    path = os.path.join(directory, OUTPUTS_DIR)
    if not is_first_try or os.path.lexists(path):  # a supervisor may have died just now
        remove_results_files(directory)
    os.mkdir(path, 0o700)


def remove_results_files(directory: str) -> None:
    """Remove what a command left, whatever it is by now."""
    for name in VARIABLES.values():
        path = os.path.join(directory, name)
        if os.path.isdir(path) or os.path.lexists(path):
            _remove(path)


def has_results(directory: str) -> bool:
    """Return True if the command left something."""
    with contextlib.suppress(OSError):
        if not os.listdir(os.path.join(directory, OUTPUTS_DIR)):
            return any(map(_has_content, (os.path.join(directory, name) for name in _FILES)))
    return True  # there are files, or it did something to the directory


def _has_content(path: str) -> bool:
    try:
        return os.lstat(path).st_size > 0
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    """Remove a file, an empty directory, or a tree: the cheap ways first."""
    for remove in (os.unlink, os.rmdir, checkout.remove_tree):
        with contextlib.suppress(OSError):
            remove(path)
            return
