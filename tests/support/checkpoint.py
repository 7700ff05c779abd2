"""A program that takes a while to save a checkpoint when it is told to end."""

from __future__ import annotations

import sys
from pathlib import Path

COMMANDS = (
    "{save}",
    "exec {save}",
    "true && {save}",
    "{save} | cat",
    "{save}; echo done",
    "while :; do {save}; done",
    "({save})",
    "trap 'echo heard' TERM; {save}",
    "{save} & wait",
)
"""Ways to run it; ``{save}`` stands for its command line."""

_PROGRAM = """\
import os, signal, sys, time
place = sys.argv[1]
def save(*_):
    with open(place + "/heard", "a") as file:
        file.write("TERM\\n")
    time.sleep(float(sys.argv[2]))
    open(place + "/saved", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, save)
open(place + "/ready", "w").close()
while True:
    time.sleep(0.05)
"""


class Checkpoint:
    """What the program left in a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "save.py").write_text(_PROGRAM)

    def command(self, form: str, seconds: float) -> str:
        """Return the shell command of one of ``COMMANDS``; saving takes so many seconds."""
        program = f"{sys.executable} {self.place}/save.py {self.place} {seconds}"
        return form.format(save=program)

    @property
    def is_ready(self) -> bool:
        return (self.place / "ready").exists()

    @property
    def is_saved(self) -> bool:
        return (self.place / "saved").exists()

    @property
    def times_told(self) -> int:
        file = self.place / "heard"
        return len(file.read_text().splitlines()) if file.exists() else 0
