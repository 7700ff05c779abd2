"""What was posted of a run, as its record keeps it: JSON from each SHA to the state that stands there. Pure.

It is the annotation ``fyre.dev/reported`` of a Job and the note ``reported`` of a local run. A key beside SHAs is
``check run``. A text that is not this form counts as nothing posted: what was is then looked up on the forge, so no
status is posted twice for it.
"""

from __future__ import annotations

import json

from fyre.stored_form import VERSION, StoredForm, UnreadableError, parse_json

_FORM = StoredForm("what was posted", ())  # its fields are named by what they are about


def posted_states(reported: str) -> dict[str, str]:
    """Return SHA → the state that was posted there; empty where that can't be read. Other values are passed over."""
    return {
        sha: word
        for sha, word in _members(reported).items()
        if isinstance(word, str) and sha != VERSION
    }


def with_posted_state(reported: str, sha: str, word: str) -> str:
    """Return the same text with one more state in it; what this version does not know is kept."""
    return json.dumps(_members(reported) | {sha: word})


def check_posted_states(reported: str) -> None:
    """Raise ``UnreadableError`` for a text that is none of these."""
    if reported:
        _FORM.decode(parse_json(reported))


def _members(reported: str) -> dict[str, object]:
    try:
        check_posted_states(reported)
    except UnreadableError:
        return {}
    found: dict[str, object] = json.loads(reported) if reported else {}
    return found
