"""``/fyre run|rerun|cancel`` in a comment: from its text to a command. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fyre import units

VERBS = ("run", "rerun", "cancel")
PREFIX = "/fyre"
LATEST = "--latest"


@dataclass(frozen=True, slots=True)
class Command:
    """What a comment asks for. ``text`` is the shell command of ``run``, else the name of a run, or ""."""

    verb: str
    text: str = ""
    latest: bool = False  # rerun: the image as it was asked for, not the digest that ran


def parse(body: str) -> Command | None:
    """The command of a comment: its first line that begins with ``/fyre``; None where there is none.

    Raises ``units.BadValueError`` for one that can't be understood. Quoted and indented lines are talk, not commands.
    """
    line = next((line for line in body.splitlines() if line.split(" ", 1)[0] == PREFIX), None)
    if line is None:
        return None
    _, _, rest = line.partition(" ")
    verb, _, text = rest.strip().partition(" ")
    text = text.strip()
    if verb not in VERBS:
        raise units.BadValueError(f"/fyre {verb[:40]} is not a command", f"write /fyre {', /fyre '.join(VERBS)}")
    if verb == "run":
        units.command(text)
        return Command(verb, text)
    words = text.split()
    latest = verb == "rerun" and LATEST in words
    text = " ".join(word for word in words if not (latest and word == LATEST))
    if text:
        units.name(text)
    return Command(verb, text, latest)
