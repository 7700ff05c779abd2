"""Find the run whose outputs a verb is about: by commit, ``COMMIT:NAME``, ``last``, or none."""

from __future__ import annotations

from typing import Annotated

import typer

from fyre.cli import run_target, table
from fyre.cli.commands import log
from fyre.client.outputs import RunOutputs, fetch_outputs
from fyre.client.run_client import RunSummary
from fyre.errors import UserError

LAST = "last"
"""The word for the run that was started last in this clone, or of HEAD if that is newer."""

BEST = "best"
"""The word before a metric, for the run with its best value."""

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="A commit (a SHA, a branch, a tag), COMMIT:NAME, or best:METRIC for the best of "
        "those that succeeded. Without it, or as `last`: what was started last.",
        show_default=False,
    ),
]


def find_run(
    text: str, remote_name: str = "", attempt: int | None = None, *, file_hint: str = ""
) -> RunSummary:
    """Return the one run that a text names. Raises ``UserError`` if it is none, or several.

    ``file_hint`` says what to write where the text is a file's path instead.
    """
    rev, _, run_name = text.partition(":")
    if rev == BEST and run_name:
        return log.find_best_run(run_name, remote_name)
    try:
        target = run_target.resolve_target("" if rev == LAST else rev, remote_name)
    except run_target.UnknownRevisionError as error:
        hint = f"{file_hint}; for a run: {error.hint}" if file_hint else error.hint
        raise UserError(error.message, hint=hint) from error
    runs = target.find_runs(run_name, attempt)
    if len(runs) > 1:
        names = ", ".join(table.escape_unprintable(run.name) for run in runs)
        raise UserError(
            f"{target.sha[:7]} has several runs: {names}",
            hint=f"name one: {target.sha[:7]}:{runs[0].name}",
        )
    return runs[0]


def names_run(text: str) -> bool:
    """Return True for what names a run, or a commit of this clone; False for a file's path."""
    rev, _, run_name = text.partition(":")
    return rev == LAST or (rev == BEST and bool(run_name)) or bool(run_target.find_commit(rev))


def require_outputs(run: RunSummary) -> RunOutputs:
    """Return the outputs of a run. Raises ``UserError`` that says why there are none."""
    found = fetch_outputs(run.log_url)
    if found is not None:
        return found
    place = f"{run.name} of {run.sha[:7]}"
    if not run.state.is_final:
        raise UserError(
            f"{place} has no outputs yet: it is {run.state}", hint=f"fyre watch {run.sha[:7]}"
        )
    raise UserError(
        f"{place} kept no outputs",
        hint='a command writes into "$FYRE_OUTPUTS", or the run names files: --output model.pt',
    )
