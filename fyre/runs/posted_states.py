"""The states that were posted of a run, as its record keeps them: JSON from SHA to state. Pure.

It is the annotation ``fyre.dev/reported`` of a Job and the note ``reported`` of a local run. A key
beside SHAs is ``check run``. Text that has not this form counts as nothing posted: the posted
statuses are then looked up on the forge, so none is posted twice because of it.
"""

from __future__ import annotations

import json

from fyre.stored_form import VERSION, StoredForm, UnreadableError, parse_json

_FORM = StoredForm("the posted states", ())  # its members are named by SHAs, not by fields


def posted_states(reported: str) -> dict[str, str]:
    """Return SHA → the state that was posted there; empty if the text can't be read.

    Values that are no text are passed over.
    """
    return {
        sha: word
        for sha, word in _members(reported).items()
        if isinstance(word, str) and sha != VERSION
    }


def with_posted_state(reported: str, sha: str, word: str) -> str:
    """Return the same text with one more state.

    Members that this version does not know are kept.
    """
    return json.dumps(_members(reported) | {sha: word})


def check_posted_states(reported: str) -> None:
    """Raise ``UnreadableError`` for a text of another form."""
    if reported:
        _FORM.decode(parse_json(reported))


def _members(reported: str) -> dict[str, object]:
    """Return the members of the JSON object; none if it can't be read."""
    try:
        check_posted_states(reported)
    except UnreadableError:
        return {}
    members: dict[str, object] = json.loads(reported) if reported else {}
    return members
