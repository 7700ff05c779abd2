"""Print runs as a table: columns cut to the terminal's width, the state in colour."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fyre.message.credential_scan import mask_credentials
from fyre.runs.results import format_metric

if TYPE_CHECKING:  # `fyre check` needs nothing of it
    from fyre.client.run_client import RunSummary

_STATE_COLOURS = {
    "succeeded": "32",
    "carried": "32",
    "waiting": "33",
    "queued": "33",
    "starting": "33",
    "running": "33",
}
_EXTRA_ROOM = 24
"""Characters for age and note that are worth to be cut."""

_LEFT_COLUMNS, _RIGHT_COLUMNS = ("sha", "state", "name"), ("description", "command")
_NAME, _DESCRIPTION, _COMMAND = 2, -2, -1
_SHRINKING = ((_DESCRIPTION, 24), (_NAME, 10), (_COMMAND, 24), (_DESCRIPTION, 8))
"""Columns that give way on a narrow terminal, in this order, each down to so many characters."""

_METRIC_WIDTH = 16
"""Characters of a metric's name above its column."""

_SPACE = "  "


def print_run_table(
    runs: Sequence[RunSummary],
    *,
    as_json: bool,
    notes: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
) -> None:
    """Print runs, as a table or as a JSON list with every field.

    With ``metrics`` each of them is a column with its best value, below a line with their names.

    On a terminal the columns are made to fit. Where it has room, the age of each run follows, how
    long one that has not ended has been running, and the note of its commit in ``notes``.
    """
    if as_json:
        json.dump([run.to_json() for run in runs], sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    cells = [_row_cells(run, metrics) for run in runs]
    head = [
        *("" for _ in _LEFT_COLUMNS),
        *(_cut(escape_unprintable(name), _METRIC_WIDTH) for name in metrics),
        "",
        "",
    ]
    widths = [max(len(line[n]) for line in [head, *cells]) for n in range(len(head))]
    total = 10_000
    if sys.stdout.isatty():
        total = shutil.get_terminal_size().columns
        extras = [_extra_text(run, run.note or (notes or {}).get(run.sha, "")) for run in runs]
        room = total - sum(widths) - len(_SPACE) * len(widths)
        if max(map(len, extras), default=0) <= room or room >= _EXTRA_ROOM:
            for line, extra in zip([*cells, head], [*extras, ""], strict=True):
                line.append(_cut(extra, room))
            widths.append(room)
        else:
            for line in cells:  # the state says it, and the metric at its end is what matters
                line[_DESCRIPTION] = line[_DESCRIPTION].removeprefix("exit 0 · ")
            widths[_DESCRIPTION] = max(len(line[_DESCRIPTION]) for line in cells)
            widths = fit_widths(widths, total)
    for line in [head, *cells] if metrics else cells:
        text = _SPACE.join(
            f"{_cut(cell, width):{width}}" for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        sys.stdout.write(_colour_state(_cut(text, max(total, 8)), line[1]) + "\n")


def fit_widths(widths: Sequence[int], total: int) -> list[int]:
    """Return the widths of the columns on a terminal of ``total`` characters.

    The command is the last one to give way: it says what a run is.
    """
    fitted = list(widths)
    for column, least in _SHRINKING:
        excess = sum(fitted) + len(_SPACE) * (len(fitted) - 1) - total
        if excess > 0:
            fitted[column] = max(min(fitted[column], least), fitted[column] - excess)
    return fitted


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[:width]


def _extra_text(run: RunSummary, note: str) -> str:
    """Return when a run ended or how long it has been running, and the note of its commit."""
    now = datetime.now(UTC)
    times = [
        f"{word} {_format_age(now, time)}{after}"
        for word, time, after in (
            ("", run.ended_at, " ago"),
            ("for", None if run.ended_at else run.started_at, ""),
        )
        if time
    ]
    return escape_unprintable(" · ".join(part for part in (*times, note) if part).strip())


def _format_age(now: datetime, iso_time: str) -> str:
    """Return the time since then in its largest unit; "" for what is no time."""
    try:
        seconds = int((now - datetime.fromisoformat(iso_time)).total_seconds())
    except (ValueError, TypeError):
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def escape_unprintable(text: str) -> str:
    """Return the text with escapes for characters that a terminal would obey.

    Anybody who can push may have written a status.
    """
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _row_cells(run: RunSummary, metrics: Sequence[str]) -> list[str]:
    """Return the cells of one line."""
    values = [format_metric(run.best[name]) if name in run.best else "" for name in metrics]
    left = [_format_cell(run, column) for column in _LEFT_COLUMNS]
    return [*left, *values, *(_format_cell(run, column) for column in _RIGHT_COLUMNS)]


def _format_cell(run: RunSummary, column: str) -> str:
    text = str(getattr(run, column))
    if column == "command":
        variables = mask_credentials(" ".join(f"{name}={one}" for name, one in run.env.items()))
        parts = [" ".join(one.split()) for one in (mask_credentials(text), variables)]
        return escape_unprintable(_SPACE.join(filter(None, parts)))
    return text[:7] if column == "sha" else escape_unprintable(" ".join(text.split()))


def _colour_state(text: str, state: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return text.replace(state, f"\x1b[{_STATE_COLOURS.get(state, '31')}m{state}\x1b[0m", 1)
