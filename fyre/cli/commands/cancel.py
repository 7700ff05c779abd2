"""``fyre cancel``: end runs. A comment on the commit asks for it, so that it needs nothing but repository rights."""

from __future__ import annotations

import sys

from fyre.cli import run_target
from fyre.cli.run_target import Name, RemoteName, Rev
from fyre.errors import UserError
from fyre.github.errors import HiddenError, NotFoundError
from fyre.runs.state import State


def main(rev: Rev = "", *, name: Name = "", remote: RemoteName = "") -> None:
    """Cancel the runs of a commit that have not ended, or the one of that name."""
    found = run_target.of(rev, remote)
    rows = found.rows(name)
    if all(State(row["state"]).final for row in rows):
        ended = ", ".join(f"{row['name']} {row['state']}" for row in rows)
        raise UserError(
            f"nothing to cancel: {ended}", hint="what has ended can only run again: fyre rerun"
        )
    ask(found, "cancel", name)


def ask(found: run_target.Target, verb: str, name: str) -> None:
    """Write the ``/fyre`` comment that the receiver obeys."""
    text = f"/fyre {verb} {name}".rstrip()
    try:
        found.forge.comment(found.repository, found.sha, text)
    except HiddenError:  # to a token that may read but not write, GitHub says no more than that
        raise
    except NotFoundError as error:
        raise found.absent() from error
    sys.stderr.write(f"asked for it on {found.sha[:7]}: {text}\n")
