"""The environment variables that every command gets, on any engine. Pure."""

from __future__ import annotations

from fyre.runs.run import Run

TRY_VARIABLE = "FYRE_TRY"
"""The variable that says which try a start is: whoever starts the command sets it."""


def run_environment(run: Run) -> dict[str, str]:
    """Return the environment variables that every command gets, on any engine."""
    return {
        "CI": "true",
        "FYRE_SHA": run.sha,
        "FYRE_REF": run.ref,
        "FYRE_REPOSITORY": run.repository.name,
        "FYRE_RUN": run.name,
        "FYRE_KEY": run.key,
        "FYRE_ID": run.fyre_id,
        "FYRE_ATTEMPT": str(run.attempt),
        "GIT_TERMINAL_PROMPT": "0",
        "PYTHONUNBUFFERED": "1",
    }
