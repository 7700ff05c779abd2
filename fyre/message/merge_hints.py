"""Say what a merge, or GitHub's own words in a message, do to the runs that it asks for. Pure."""

from __future__ import annotations

import re

from fyre.message import trailers
from fyre.message.request import RunRequest

# https://docs.github.com/en/actions/managing-workflow-runs/skipping-workflow-runs
_SKIP_WORDS = re.compile(
    r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]|^skip-checks:[ \t]*true[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_RUN_LINE = re.compile(r"^[ \t]*fyre-run[ \t]*:", re.IGNORECASE)
# GitHub lists commits with a star; git indents them, and its editor counts them.
_SQUASH = re.compile(
    r"^\* \S.*\n(?:.*\n)*?\* \S|^Squashed commit of the following:$"
    r"|^(?:# )?This is (?:a combination of|the 1st commit message)",
    re.MULTILINE,
)

MERGE_QUEUE = (
    "nothing is posted on a merge queue's own branches: where there is a merge queue, "
    "no fyre/… check may be a required one, or the queue waits for it for ever"
)


FORK = (
    "this comes from a fork: after the merge its runs wait until somebody who may write comments "
    "`/fyre rerun` on the commit"
)


def list_hints(text: str, run_request: RunRequest) -> list[str]:
    """Return a line for each thing that makes a message's runs other than they seem."""
    hints = []
    lines = trailers.message_lines(text)
    read = {trailer.line for trailer in trailers.parse(text)}
    numbers = [number for number, line in enumerate(lines, 1) if _RUN_LINE.match(line)]
    lost = [number for number in numbers if number not in read]
    if lost and _SQUASH.search(text):
        kept = len(numbers) - len(lost)
        hints.append(
            f"this squash keeps only the runs of its last block: {kept} of {len(numbers)}; "
            f"the Fyre-Run of line {lost[0]} starts nothing"
        )
    skip = skip_word(text)
    if skip and not run_request.asks_nothing:
        hints.append(
            f"{skip!r} silences GitHub's workflows, and so Fyre's Action; "
            "a receiver (`fyre serve`, `fyre up`) launches the runs all the same"
        )
    return hints


def skip_word(text: str) -> str:
    """Return GitHub's words in a message that silence its workflows; "" for none."""
    skip = _SKIP_WORDS.search(text)
    return skip[0].strip() if skip else ""


def squash_hint(requesting_commits: int) -> str:
    """Return the line for a branch of which so many commits ask for runs; "" for one or none."""
    if requesting_commits < 2:
        return ""
    return (
        f"{requesting_commits} commits of this branch ask for runs: a squash merge keeps only "
        "those of its message's last block"
    )
