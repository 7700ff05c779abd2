"""``fyre status``: print the runs of a commit."""

from __future__ import annotations

from fyre.cli import run_target, table
from fyre.cli.run_target import JsonOption, RemoteOption, RevArgument


def main(rev: RevArgument = "", *, remote: RemoteOption = "", json: JsonOption = False) -> None:
    """Print the runs of a commit and their states. Without REV: of HEAD, or of what was
    started since."""
    table.print_run_table(run_target.resolve_target(rev, remote).find_runs(), as_json=json)
