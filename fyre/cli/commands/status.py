"""``fyre status``: the runs of a commit."""

from __future__ import annotations

from fyre.cli import run_target, table
from fyre.cli.run_target import AsJson, RemoteName, Rev


def main(rev: Rev = "", *, remote: RemoteName = "", json: AsJson = False) -> None:
    """The runs of a commit and how they stand. Without REV: of HEAD."""
    table.show(run_target.of(rev, remote).rows(), as_json=json)
