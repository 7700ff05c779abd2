"""Read the query parameters of the list of runs, and write those of its next page."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from fyre.runs.run import RunRecord
from fyre.runs.run_query import RunCursor, RunQuery
from fyre.runs.state import RunState

RUNS_LISTED_MAX = 200
"""Runs on one page of the list, unless fewer are asked for."""

_TEXT_FILTERS = ("repository", "branch", "name")
FILTERS = (*_TEXT_FILTERS, "state")
"""The parameters that select runs; ``state`` may be given several times."""

_PARAMETERS = (*FILTERS, "before", "limit")


class BadParameterError(Exception):
    """A parameter has a value that it can't have; the message is one line for whoever gave it."""


def parse_run_query(params: QueryParams) -> RunQuery:
    """Return what is asked for, without the limit. Raises ``BadParameterError``."""
    for name in params:
        if name not in _PARAMETERS:
            raise BadParameterError(f"no parameter {name!r:.60}: {', '.join(_PARAMETERS)}")
    for name in _PARAMETERS:
        if name != "state" and len(params.getlist(name)) > 1:
            raise BadParameterError(f"{name} is given more than once")
    for name in _TEXT_FILTERS:
        if params.get(name) == "":
            raise BadParameterError(f"{name} is empty")
    branch = params.get("branch")
    return RunQuery(
        repository_name=params.get("repository"),
        ref=None if branch is None else _full_ref(branch),
        name=params.get("name"),
        states=_parse_states(params.getlist("state")),
        before=_parse_cursor(params.get("before")),
    )


def parse_limit(params: QueryParams) -> int:
    """Return how many runs a page may have. Raises ``BadParameterError``."""
    text = params.get("limit", str(RUNS_LISTED_MAX))
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= RUNS_LISTED_MAX:
        raise BadParameterError(f"limit is not a number from 1 to {RUNS_LISTED_MAX}: {text!r:.60}")
    return int(text)


def next_page_parameters(params: QueryParams, last: RunRecord) -> str:
    """Return the query string of the page that goes on below the last run of this one."""
    kept = [
        (name, text)
        for name, text in params.multi_items()
        if name in _PARAMETERS and name != "before"
    ]
    return urlencode([*kept, ("before", str(RunCursor.from_record(last)))])


def _full_ref(branch: str) -> str:
    """Return the ref of a branch; a whole ref, such as ``refs/pull/7/head``, is taken as it is."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _parse_states(words: list[str]) -> frozenset[RunState] | None:
    unknown = [word for word in words if word not in tuple(RunState)]
    if unknown:
        raise BadParameterError(f"state is not one of {', '.join(RunState)}: {unknown[0]!r:.60}")
    return frozenset(map(RunState, words)) if words else None


def _parse_cursor(text: str | None) -> RunCursor | None:
    try:
        return None if text is None else RunCursor.from_text(text)
    except ValueError as error:
        raise BadParameterError("before is not from the link to older runs") from error
