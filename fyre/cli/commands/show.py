"""``fyre show``: all there is to know of a run."""

from __future__ import annotations

import json as json_
import sys

from fyre.cli import follow, run_target, table
from fyre.cli.run_target import AsJson, Name, RemoteName, Rev


def main(rev: Rev = "", *, name: Name = "", remote: RemoteName = "", json: AsJson = False) -> None:
    """All that the ledger and the receiver know of the runs of a commit."""
    rows = [row | follow.page(row["log_url"]) for row in run_target.of(rev, remote).rows(name)]
    if json:
        json_.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for row in rows:
        for key, value in row.items():
            if value not in (None, ""):
                sys.stdout.write(f"{key:12} {table.printable(str(value))}\n")
        sys.stdout.write("\n")
