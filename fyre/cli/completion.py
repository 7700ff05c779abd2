"""Complete command lines in a shell, and install what makes the shell ask: typer's own way.

The script that typer writes for a shell sets ``_FYRE_COMPLETE`` and calls ``fyre`` with the words
so far in other variables. Only the verb that is named there is loaded.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from fyre.cli.commit_args import FYRE_OPTIONS
from fyre.errors import UserError


def main(argv: Sequence[str], verbs: Mapping[str, str], raw_verbs: frozenset[str]) -> int:
    """Answer a shell's question, or install or show what makes it ask.

    ``verbs`` has the line of each verb; ``raw_verbs`` are those that parse their own arguments.
    """
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    app = typer.Typer(rich_markup_mode=None)
    for verb, line in verbs.items():
        is_typed = verb in words.split()[1:2]
        if is_typed and verb not in raw_verbs:
            verb_main = import_module(f"fyre.cli.commands.{verb}").main
        else:
            verb_main = _create_stub(FYRE_OPTIONS if verb == "commit" else ())
        app.command(verb, help=line)(verb_main)
    try:
        result = app(list(argv), prog_name="fyre", standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own usage errors have it
            raise
        hint = "fyre --install-completion"
        raise UserError(error.format_message(), hint=hint, exit_code=2) from error
    return result if isinstance(result, int) else 0


def _create_stub(options: Sequence[str]) -> Callable[..., None]:
    """Return a function of which typer learns these options."""

    def stub(**_: Any) -> None:  # noqa: ANN401 - never called
        pass

    annotations = {
        option.strip("-").replace("-", "_"): Annotated[str, typer.Option(option)]
        for option in options
        if option != "--help"
    }
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, kind, default="", annotation=annotation)
        for name, annotation in annotations.items()
    ]
    stub.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    stub.__annotations__ = dict(annotations)
    return stub
