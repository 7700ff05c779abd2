"""``fyre show``: print all that is known about a run."""

from __future__ import annotations

import json as json_
import sys

from fyre.cli import run_target, table
from fyre.cli.run_target import AttemptOption, JsonOption, NameOption, RemoteOption, RevArgument
from fyre.client import run_page
from fyre.client.outputs import fetch_outputs
from fyre.client.run_client import RunSummary
from fyre.errors import TransientError, UserError


def main(
    rev: RevArgument = "",
    *,
    name: NameOption = "",
    attempt: AttemptOption = None,
    remote: RemoteOption = "",
    json: JsonOption = False,
) -> None:
    """Print all that the commit statuses and the receiver know about the runs of a commit."""
    runs = run_target.resolve_target(rev, remote).find_runs(name, attempt)
    rows = [
        run.to_json() | run_page.fetch_page(run.log_url) | {"links": _list_links(run)}
        for run in runs
    ]
    if json:
        json_.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for run, row in zip(runs, rows, strict=True):
        for key, value in row.items():
            if text := _describe(value):
                sys.stdout.write(f"{key:12} {table.escape_unprintable(text)}\n")
        sys.stdout.write("\n")
        _print_goal_note(run, row.get("goals"))


def _print_goal_note(run: RunSummary, goals: object) -> None:
    """Say of which metrics the best value is only the largest one, where that was not declared."""
    names = [
        name
        for name, least in run.least.items()
        if isinstance(goals, dict) and name not in goals and least != run.greatest.get(name)
    ]
    if names:
        shown = ", ".join(map(table.escape_unprintable, names))
        sys.stderr.write(
            f"fyre: best is the largest value of {shown}: .fyre.yaml did not say which is best\n"
        )


def _list_links(run: RunSummary) -> list[dict[str, str]]:
    """Return the links that the command named in $FYRE_LINK; [] too if they can't be read now."""
    try:
        found = fetch_outputs(run.log_url) if run.state.is_final else None
    except (TransientError, UserError):
        return []
    links = found.manifest.links if found else ()
    return [{"title": title, "url": url} for title, url in links]


def _describe(value: object) -> str:
    """Return a fact for people; "" for one that says nothing."""
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items() if one)
    if isinstance(value, list):
        return "; ".join(" ".join(x.values()) if isinstance(x, dict) else str(x) for x in value)
    return "" if value is None or value is False else str(value)
