"""Slips of a trailer's spelling are named in a note; prose with the same words is left alone."""

import pytest

from fyre.message import trailer_slips


@pytest.mark.parametrize(
    "line",
    [
        "FyreRun: true",
        "Fyre-Run true",
        "Fire-Run: true",
        "Fyre\u2011Run: true",
        "Fyre\u2013Run: true",
        "Fyre-Run\N{FULLWIDTH COLON} true",
        "Fyre-Run\N{NO-BREAK SPACE}: true",
        "**Fyre-Run:** true",
        "**Fyre-Run**: true",
        "`Fyre-Run: true`",
        "`Fyre-Run`: true",
    ],
)
def test_9_36_a_slip_is_named_with_what_to_write(line: str) -> None:
    for message in (f"Train\n\n{line}\n", f"Train\n\nWhy.\n\nReviewed-by: B\n{line}\n\n# x\n"):
        (note,) = trailer_slips.list_notes(message)
        assert note.endswith("write Fyre-Run: true")
        assert note.startswith(f"line {message.split(chr(10)).index(line) + 1} asks for nothing")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "FyreRun: true\n",
        "Train\nFyreRun: true\n",
        "Train\n\nFyre-Run: true\n",
        "Train\n\nfyre run: true\n",  # a near miss
        "Train\n\n> FyreRun: true\n",
        "Train\n\n    FyreRun: true\n",
        "Train\n\n- `Fyre-Run: true`\n",
        "Train\n\n* Fyre-Run true\n",
        "Train\n\nFyreRun: true\n\nMore words.\n",
        "Train\n\nWrite it like this:\nFyreRun: true\n",
        "Train\n\n```\nFyre-Run: true\n```\n",
        "Train\n\nFyre-Run takes a shell command.\n",
        "Train\n\nFyre-Run lines are read from\nthe last paragraph.\n",
        "Train\n\n`Fyre-Run: true` is what to write\nin the last paragraph.\n",
        "Train\n\n`Fyre-Run: true` asks for a run\n",
        "Train\n\nFyre: true\n",
        "Train\n\nfire exit: left\n",
    ],
)
def test_9_36_prose_about_trailers_is_left_alone(message: str) -> None:
    assert trailer_slips.list_notes(message) == []
