"""``fyre rerun``: run again what ran, as a new attempt on the same commit."""

from __future__ import annotations

from fyre import asked
from fyre.commands import cancel, target
from fyre.commands.target import Name, RemoteName, Rev


def main(rev: Rev = "", *, name: Name = "", remote: RemoteName = "") -> None:
    """Run the runs of a commit again, or the one of that name; also those that were refused or moved."""
    found = target.of(rev, remote)
    if not asked.read(found.message).names:  # what it asks for runs again even where nothing was ever heard of it
        found.rows(name)
    cancel.ask(found, "rerun", name)
