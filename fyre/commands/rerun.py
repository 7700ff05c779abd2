"""``fyre rerun``: run again what ran, as a new attempt on the same commit."""

from __future__ import annotations

from fyre.commands import cancel, target
from fyre.commands.target import Name, RemoteName, Rev


def main(rev: Rev = "", *, name: Name = "", remote: RemoteName = "") -> None:
    """Run the runs of a commit again, or the one of that name; also those that were refused or moved."""
    cancel.ask(target.of(rev, remote), "rerun", name)
