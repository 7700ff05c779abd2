"""``fyre log``: print the runs of a branch or a range, newest first."""

from __future__ import annotations

import json as json_
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer

from fyre.cli import run_target, table
from fyre.cli.run_target import JsonOption, RemoteOption
from fyre.client.run_client import RunClient, RunSummary
from fyre.errors import TransientError, UserError
from fyre.git import git_command, history
from fyre.github.errors import NotFoundError, NotVisibleError
from fyre.message import request, trailers
from fyre.runs.results import format_metric
from fyre.runs.state import RunState
from fyre.workspace import config_file, lab_branch, snapshot, worktree
from fyre.workspace import remote as remotes

_SEARCHED_COMMITS = 1000
"""Commits with runs among which those are looked for that a person chose, or that are best."""

_ROUND_FACTORS = (1, 2, 8)
"""So many times the wanted number of commits are asked for runs, until there are enough."""


_NAMES_SHOWN = 12
"""Names that are listed where a person's own is not among them."""


def main(
    range_: Annotated[
        str, typer.Argument(metavar="[RANGE]", help="As for git log: main, v1..HEAD.")
    ] = "",
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Runs that are listed.")] = 20,
    sort: Annotated[
        str,
        typer.Option(metavar="METRIC", help="The best value of a metric first, by .fyre.yaml."),
    ] = "",
    metrics: Annotated[bool, typer.Option("--metrics", help="A column for each metric.")] = False,
    name: Annotated[str, typer.Option(help="Runs of that name only.")] = "",
    state: Annotated[str, typer.Option(help="Runs in that state only: succeeded.")] = "",
    remote: RemoteOption = "",
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print the runs of a branch or a range, the newest first.

    Without RANGE: those of HEAD, and what `fyre run` started from this clone (your lab branch).
    """
    worktree.require_repository()
    remote_info = remotes.resolve_remote(name=remote or None)
    ranges = [_known_range(range_, remote_info.name)] if range_ else _default_ranges(remote_info)
    client = RunClient.from_remote(remote_info)
    wanted = _RunFilter(name, _parse_state(state), sort)
    is_chosen = bool(sort or name or state)
    try:
        runs, messages, missing_shas = _find_runs(
            client, ranges, _SEARCHED_COMMITS if is_chosen else limit
        )
    except NotVisibleError as error:
        raise run_target.missing_repository_error(remote_info) from error
    notes = {sha: _describe_commit(message) for sha, message in messages.items()}
    goals, found = _read_goals(runs), runs
    runs = wanted.select(runs, goals)
    columns = list(dict.fromkeys([sort] * bool(sort) + _metric_names(runs) * metrics))
    if csv:
        print_csv(runs[:limit])
    elif runs or json:
        table.print_run_table(runs[:limit], as_json=json, notes=notes, metrics=columns)
    if is_chosen and not runs:
        wanted.explain_none(found)
    if len(runs) >= limit and not (json or csv):
        these = f"the best {limit}" if sort else f"the newest {limit}"
        sys.stderr.write(f"fyre: these are {these}; -n lists more\n")
    if sort and runs:
        _print_rank_notes(runs[0], sort, goals)
    if not messages:
        _report_no_runs(client, range_, as_json=json)
    elif not runs and not (json or is_chosen) and not missing_shas:
        sys.stderr.write(f"fyre: {_no_runs_line(range_)}\n")
    if missing_shas:
        shas = ", ".join(sha[:7] for sha in messages if sha in missing_shas)
        sys.stderr.write(
            f"fyre: not in {remote_info.repository} on {remote_info.host}: {shas} "
            f"(git push {remote_info.name})\n"
        )


def find_best_run(metric: str, remote_name: str = "") -> RunSummary:
    """Return the run with the best value of a metric among those that are listed without a range.

    Only runs that succeeded count. Raises ``UserError`` if none has the metric, or if
    ``.fyre.yaml`` does not say which of its values is best.
    """
    worktree.require_repository()
    remote_info = remotes.resolve_remote(name=remote_name or None)
    client, ranges = RunClient.from_remote(remote_info), _default_ranges(remote_info)
    runs, _, _ = _find_runs(client, ranges, _SEARCHED_COMMITS)
    goals = _read_goals(runs)
    ranked = _RunFilter("", RunState.SUCCEEDED, metric).select(runs, goals)
    if not ranked:
        raise UserError(
            f"no run here that succeeded has a metric {metric!r}", hint="fyre log --metrics"
        )
    if metric not in goals:
        raise UserError(
            f".fyre.yaml does not say which {metric} is best",
            hint=f"write there: {_goal_lines(metric)}",
            exit_code=2,
        )
    best = ranked[0]
    value = format_metric(best.best[metric])
    sys.stderr.write(f"fyre: {best.sha[:7]}:{best.name} has the best {metric}: {value}\n")
    return best


@dataclass(frozen=True, slots=True)
class _RunFilter:
    """A choice of the runs that are listed, and their order."""

    name: str
    state: RunState | None
    metric: str

    def select(self, runs: list[RunSummary], goals: Mapping[str, str]) -> list[RunSummary]:
        """Return the runs that are wanted; those with the best value of the metric come first."""
        selected = [
            run
            for run in (one.with_goals(goals) for one in runs)
            if (not self.name or run.name.lower() == self.name.lower())
            and (self.state is None or run.state is self.state)
            and (not self.metric or self.metric in run.best)
        ]
        if not self.metric:
            return selected
        is_least = goals.get(self.metric) == "min"  # else the largest is best
        return sorted(selected, key=lambda run: run.best[self.metric], reverse=not is_least)

    def explain_none(self, runs: list[RunSummary]) -> None:
        """Say on stderr which part of the choice none of these runs fits, and what there is."""
        names = list(dict.fromkeys(run.name for run in runs))
        states = list(dict.fromkeys(str(run.state) for run in runs))
        if self.name and self.name.lower() not in map(str.lower, names):
            line = f"no run here is named {self.name!r}{_and_there_are(names)}"
        elif self.state and self.state not in states:
            line = f"no run here is {self.state}{_and_there_are(states)}"
        elif self.metric and not any(self.metric in run.best for run in runs):
            line = f"no run here has a metric {self.metric!r}{_and_there_are(_metric_names(runs))}"
        else:
            line = "no run here is all of that"
        sys.stderr.write(f"fyre: {line}\n")


def _and_there_are(names: list[str]) -> str:
    """Return the end of a line that says which names there are instead; "" if there are none."""
    shown = ", ".join(map(table.escape_unprintable, names[:_NAMES_SHOWN]))
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    return f"; there {'is' if len(names) == 1 else 'are'} {shown}{more}" if names else ""


def _read_goals(runs: list[RunSummary]) -> dict[str, str]:
    """Return the goals of the work tree; {} where no run has a metric: then nobody needs them."""
    return worktree_goals() if any(run.best for run in runs) else {}


def _goal_lines(metric: str) -> str:
    """Return what declares that the least value of a metric is best, or the greatest."""
    name = metric if metric.replace("_", "").isalnum() else json_.dumps(metric)
    return f"metrics: {{{name}: min}} or metrics: {{{name}: max}}"


def _print_rank_notes(first: RunSummary, metric: str, goals: Mapping[str, str]) -> None:
    """Say what a person may not expect of the order: its direction, and what stands first."""
    if metric not in goals:
        sys.stderr.write(
            f"fyre: the largest {metric} is first, as .fyre.yaml does not say which is best; "
            f"write there: {_goal_lines(metric)}\n"
        )
    elif first.state is not RunState.SUCCEEDED:
        sys.stderr.write(
            f"fyre: the first run is {first.state}; best:{metric} is the best that succeeded\n"
        )


def worktree_goals() -> dict[str, str]:
    """Return which value of each metric is best, by the ``.fyre.yaml`` of the work tree."""
    from fyre.runs import repo_config

    text = config_file.read_worktree_config(snapshot.locate_repo().top)
    try:
        return dict(repo_config.parse_repo_config(text or "").all_runs.metric_goals)
    except repo_config.RepoConfigError as error:
        sys.stderr.write(f"fyre: which values are best is not known: {error}\n")
        return {}


def _parse_state(text: str) -> RunState | None:
    if not text:
        return None
    try:
        return RunState(text.lower())
    except ValueError:
        states = ", ".join(RunState)
        raise UserError(f"{text!r} is no state", hint=f"the states are {states}") from None


def _metric_names(runs: list[RunSummary]) -> list[str]:
    """Return the metrics of some runs, in the order in which they come up."""
    return list(dict.fromkeys(name for run in runs for name in run.best))


def print_csv(runs: list[RunSummary]) -> None:
    """Print runs as CSV: what is fixed, then the last and the best value of each metric."""
    import csv

    fixed = ("sha", "name", "state", "attempt", "started_at", "ended_at", "exit_code", "command")
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*fixed, "note", *names, *(f"best {name}" for name in names), "env"])
    for run in runs:
        values = [found.get(name, "") for found in (run.metrics, run.best) for name in names]
        env = " ".join(f"{name}={shlex.quote(value)}" for name, value in run.env.items())
        writer.writerow([*(getattr(run, key) for key in fixed), run.note, *values, env])


def _find_runs(
    client: RunClient, ranges: list[str], limit: int
) -> tuple[list[RunSummary], dict[str, str], set[str]]:
    """Return the newest runs, the messages of the commits that were asked, and what is not pushed.

    A commit that has no runs, as it is not pushed yet, takes no run's place: older ones are asked.
    """
    found: list[RunSummary] = []
    messages: dict[str, str] = {}
    missing_shas: set[str] = set()  # not pushed yet, or deleted
    for factor in _ROUND_FACTORS:
        commits = history.find_run_commits(ranges, limit * factor)
        found += client.list_runs([one for one in commits if one[0] not in messages], missing_shas)
        messages = dict(commits)
        if len(found) >= limit or len(commits) < limit * factor:
            break
    runs = [
        run
        for sha, message in messages.items()
        for run in run_target.sort_as_written((run for run in found if run.sha == sha), message)
    ]
    return runs, messages, missing_shas


def _no_runs_line(range_: str) -> str:
    if range_:
        return f"no runs in {range_}: without a range, those of HEAD and of your lab branch"
    return "no runs here yet: fyre run -- COMMAND"


def _report_no_runs(client: RunClient, range_: str, *, as_json: bool) -> None:
    """Say that no commit here asks for a run, or that the forge, which may know of more, is down.

    The forge was not asked for anything so far.
    """
    notes = [] if as_json else [_no_runs_line(range_)]
    try:
        client.forge.get_repository(client.repository.name)
    except (TransientError, UserError) as error:
        is_new = isinstance(error, NotFoundError)
        notes += [] if is_new else [f"runs of other clones may be missing: {error}"]
    for note in notes:
        sys.stderr.write(f"fyre: {note}\n")


def _describe_commit(message: str) -> str:
    """Return what a person noted, and the commit that a snapshot was taken on."""
    subject, _, body = message.partition("\n")
    is_snapshot = subject.startswith("Run: ")
    note = body.strip().partition("\n")[0] if is_snapshot else subject
    if trailers.is_trailer_line(note):
        note = ""
    base = request.parse_message(message).fyre_from[:7] if is_snapshot else ""
    return " · ".join(part for part in (note, f"on {base}" if base else "") if part)


def _known_range(revision_range: str, remote_name: str) -> str:
    """Return a range as git knows it: a branch of the remote needs no ``origin/``."""
    if ".." in revision_range:
        return revision_range
    return run_target.find_branch(revision_range, remote_name) or revision_range


def _default_ranges(remote_info: remotes.Remote) -> list[str]:
    """Return HEAD, and the person's lab branches on this remote, fetched in a fresh clone."""
    lab_refs = _lab_refs(remote_info.name)
    if not lab_refs:
        with suppress(UserError):  # no name for the person, no branch, no forge
            repo_paths = snapshot.locate_repo()
            branch = lab_branch.find_lab_branch(repo_paths, remote_info.name)
            lab_branch.fetch_lab_branch(repo_paths, branch)
        lab_refs = _lab_refs(remote_info.name)
    has_head = git_command.git_output_or_none("rev-parse", "--verify", "--quiet", "HEAD")
    if not has_head and not lab_refs:
        raise UserError("there is no commit yet", hint="fyre commit --run 'echo hello'")
    return [*lab_refs, "HEAD"] if has_head else lab_refs


def _lab_refs(remote_name: str) -> list[str]:
    return git_command.git_output(
        "for-each-ref", "--format=%(refname)", f"refs/fyre/lab/{remote_name}/"
    ).split()
