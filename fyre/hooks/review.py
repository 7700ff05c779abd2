"""What the commit-msg hook does with a message that speaks of Fyre at all."""

from __future__ import annotations

import os
import sys

from fyre.hooks.draft import MessageDraft
from fyre.message import compose, fyre_ids, near_misses, request, trailers
from fyre.message.request import RunRequest


def check_message_file(path: str) -> int:
    """Say what is wrong and answer 1, or mint what is missing and answer 0."""
    draft = MessageDraft(path)
    found = request.parse_message(draft.kept_text)
    complaint = _near_miss_lines(draft) + _problem_lines(found)
    if complaint:
        mended = near_misses.fix_near_misses(draft.kept_text)
        shown = (
            ["mended, it reads:", "", _indent_text(mended), ""] if mended != draft.kept_text else []
        )
        kept = f"your message is kept; mend it with: git commit -e -F {path}"
        lines = ["fyre: not committed", *complaint, *shown, kept]
        print("\n".join(lines).encode(errors="replace").decode(), file=sys.stderr)
        return 1
    if found.runs and not found.fyre_id:
        _add_fyre_id(draft)
    return 0


def _near_miss_lines(draft: MessageDraft) -> list[str]:
    """What looks like a trailer and is none, a line each. A rebase that squashes is full of them: none there."""
    if os.path.isdir(os.path.join(draft.git_dir, "rebase-merge")):  # noqa: PTH112, PTH118 - no pathlib in a hook
        return []
    return [
        f"line {one.line}: {one.text.strip()!r}: {one.reason}"
        for one in near_misses.find_near_misses(draft.kept_text)
    ]


def _problem_lines(run_request: RunRequest) -> list[str]:
    lines = []
    for one in run_request.problems:
        lines.append(f"line {one.line}: {one.message}")
        lines += [f"  hint: {one.hint}"] if one.hint else []
    return lines


def _indent_text(text: str) -> str:
    return "\n".join(f"    {row}".rstrip() for row in text.rstrip("\n").split("\n"))


def _add_fyre_id(draft: MessageDraft) -> None:
    """Put a new id below the last of our trailers, and change nothing else."""
    ours = [
        trailer for trailer in trailers.parse(draft.kept_text) if trailer.key[:5].lower() == "fyre-"
    ]
    at = draft.find_line(ours[-1])
    if at < 0:
        return  # the commit is known by its SHA then
    rows = compose.split_lines(draft.text)
    at = compose.trailer_end_line(rows, at + 1)
    if not rows[at - 1].endswith("\n"):
        rows[at - 1] += "\n"
    end = "\r\n" if rows[at - 1].endswith("\r\n") else "\n"
    draft.write_lines([*rows[:at], f"Fyre-Id: {fyre_ids.new_fyre_id()}{end}", *rows[at:]])
