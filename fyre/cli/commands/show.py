"""``fyre show``: print all that is known about a run."""

from __future__ import annotations

import json as json_
import sys

from fyre.cli import run_target, table
from fyre.cli.run_target import AttemptOption, JsonOption, NameOption, RemoteOption, RevArgument
from fyre.client import run_page


def main(
    rev: RevArgument = "",
    *,
    name: NameOption = "",
    attempt: AttemptOption = None,
    remote: RemoteOption = "",
    json: JsonOption = False,
) -> None:
    """Print all that the commit statuses and the receiver know about the runs of a commit."""
    rows = [
        run.to_json() | run_page.fetch_page(run.log_url)
        for run in run_target.resolve_target(rev, remote).find_runs(name, attempt)
    ]
    if json:
        json_.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for row in rows:
        for key, value in row.items():
            if text := _describe(value):
                sys.stdout.write(f"{key:12} {table.escape_unprintable(text)}\n")
        sys.stdout.write("\n")


def _describe(value: object) -> str:
    """Return a fact for people; "" for one that says nothing."""
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items() if one)
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None or value is False else str(value)
