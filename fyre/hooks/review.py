"""What the commit-msg hook does with a message that speaks of Fyre at all."""

from __future__ import annotations

import os
import sys

from fyre.hooks.draft import Draft
from fyre.message import compose, fyre_ids, near_misses, request, trailers
from fyre.message.request import Asked


def review(path: str) -> int:
    """Say what is wrong and answer 1, or mint what is missing and answer 0."""
    draft = Draft(path)
    found = request.read(draft.kept)
    complaint = _lookalikes(draft) + _problems(found)
    if complaint:
        mended = near_misses.mend(draft.kept)
        shown = ["mended, it reads:", "", _quoted(mended), ""] if mended != draft.kept else []
        kept = f"your message is kept; mend it with: git commit -e -F {path}"
        lines = ["fyre: not committed", *complaint, *shown, kept]
        print("\n".join(lines).encode(errors="replace").decode(), file=sys.stderr)
        return 1
    if found.runs and not found.fyre_id:
        _mint(draft)
    return 0


def _lookalikes(draft: Draft) -> list[str]:
    """What looks like a trailer and is none, a line each. A rebase that squashes is full of them: none there."""
    if os.path.isdir(os.path.join(draft.git_dir, "rebase-merge")):  # noqa: PTH112, PTH118 - no pathlib in a hook
        return []
    return [
        f"line {one.line}: {one.text.strip()!r}: {one.why}" for one in near_misses.find(draft.kept)
    ]


def _problems(found: Asked) -> list[str]:
    lines = []
    for one in found.problems:
        lines.append(f"line {one.line}: {one.message}")
        lines += [f"  hint: {one.hint}"] if one.hint else []
    return lines


def _quoted(text: str) -> str:
    return "\n".join(f"    {row}".rstrip() for row in text.rstrip("\n").split("\n"))


def _mint(draft: Draft) -> None:
    """Put a new id below the last of our trailers, and change nothing else."""
    ours = [trailer for trailer in trailers.parse(draft.kept) if trailer.key[:5].lower() == "fyre-"]
    at = draft.find(ours[-1])
    if at < 0:
        return  # the commit is known by its SHA then
    rows = compose.lines_of(draft.text)
    at = compose.end_of(rows, at + 1)
    if not rows[at - 1].endswith("\n"):
        rows[at - 1] += "\n"
    end = "\r\n" if rows[at - 1].endswith("\r\n") else "\n"
    draft.write([*rows[:at], f"Fyre-Id: {fyre_ids.mint()}{end}", *rows[at:]])
