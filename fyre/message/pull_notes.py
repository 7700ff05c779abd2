"""Say in a pull request, before its merge, what a merge does to the runs of its commits. Pure.

``fyre.message.merge_hints`` says the same to somebody who types ``fyre check``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fyre.message import merge_hints, request

NOTHING_LEFT = ("Nothing to note any more", "What was noted here before is settled.")
"""Title and text in place of notes that no longer hold."""

_FOOTER = "This is a note: it blocks nothing, and must not be a required check."


@dataclass(frozen=True, slots=True)
class PullText:
    """The text of a pull request that can become the message of a merge."""

    title: str
    description: str
    messages: Sequence[tuple[str, str]]
    """The SHA and the message of each of its commits that was read."""

    waits_after_merge: bool
    """True if it comes from a fork, and the policy has what forks wrote wait."""

    takes_squash: bool
    is_cut: bool = False
    """True if it has more commits than those."""


def render_notes(pull: PullText) -> tuple[str, str]:
    """Return title and Markdown text of what there is to say; ("", "") for nothing."""
    notes = [note for note in (_fork_note(pull), _squash_note(pull), _skip_note(pull)) if note]
    if not notes:
        return "", ""
    count = "a note" if len(notes) == 1 else f"{len(notes)} notes"
    if pull.is_cut:
        notes.append(f"Only its first {len(pull.messages)} commits were read.")
    return f"Before you merge: {count} on its runs", "\n\n".join((*notes, _FOOTER))


def _fork_note(pull: PullText) -> str:
    """Return what becomes of the runs that a fork's pull request asks for."""
    askers = [place for place, message in _possible_messages(pull) if _asks(message)]
    if not pull.waits_after_merge or not askers:
        return ""
    return (
        "**After the merge its runs wait.** This pull request comes from a fork and asks for runs "
        f"({_listed(askers)}). They start only once somebody who may write comments `/fyre rerun` "
        "on the merged commit. A commit that somebody who may write has signed needs no comment."
    )


def _squash_note(pull: PullText) -> str:
    """Return what a squash loses."""
    requesting = sum(bool(request.parse_message(message).runs) for _, message in pull.messages)
    if not pull.takes_squash or not merge_hints.squash_hint(requesting):
        return ""
    return (
        f"**A squash merge loses runs.** {requesting} commits ask for runs, and a squash keeps "
        "only those of its message's last block. To keep all of them, merge without a squash, or "
        "copy all `Fyre-` lines into the last block of the message."
    )


def _skip_note(pull: PullText) -> str:
    """Return what words such as ``[skip ci]`` do, if they stand in what may become a message."""
    places = [("the title", pull.title), ("the description", pull.description)]
    places += [(f"commit {sha[:7]}", message) for sha, message in pull.messages]
    skipping = [(place, word) for place, text in places if (word := merge_hints.skip_word(text))]
    if not skipping or not any(_asks(message) for _, message in _possible_messages(pull)):
        return ""
    where = _listed([place for place, _ in skipping])
    return (
        f"**`{skipping[0][1]}` does not stop Fyre.** It stands in {where}. In the message of a "
        "merge it silences GitHub's workflows, and so Fyre's Action. This receiver starts the "
        "runs all the same."
    )


def _asks(message: str) -> bool:
    return not request.parse_message(message).asks_nothing


def _possible_messages(pull: PullText) -> list[tuple[str, str]]:
    """Return the messages that commits may have after a merge, each with where it is from."""
    return [
        ("the title", f"Merge\n\n{pull.title}"),
        ("the description", f"{pull.title}\n\n{pull.description}"),
        *((f"commit {sha[:7]}", message) for sha, message in pull.messages),
    ]


def _listed(places: list[str]) -> str:
    """Return the first places as a list for people."""
    more = len(places) - 3
    return ", ".join(places[:3]) + (f" and {more} more" if more > 0 else "")
