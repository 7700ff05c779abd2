"""``fyre status``: the runs of a commit."""

from __future__ import annotations

from fyre import table
from fyre.commands import target
from fyre.commands.target import AsJson, RemoteName, Rev


def main(rev: Rev = "", *, remote: RemoteName = "", json: AsJson = False) -> None:
    """The runs of a commit and how they stand. Without REV: of HEAD."""
    table.show(target.of(rev, remote).rows(), as_json=json)
