"""Lookalikes are found, explained and mended, and the mended message says to git what the person meant."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre import lookalikes, trailers


@pytest.mark.parametrize(
    ("message", "line", "why"),
    [
        ("Fyre-Run: echo hi\n", 1, "subject"),
        ("Train\nFyre-Run: echo hi\n", 2, "subject"),
        ("Train\n\nFyre-Run: echo hi\n\nMore words.\n", 3, "last paragraph"),
        ("Train\n\nthanks all\nFyre-Run: echo hi\n", 4, "line 3 'thanks all'"),
        ("Train\n\nFyre_Run: echo hi\n", 3, "underscore"),
        ("Train\n\nFyre Run: echo hi\n", 3, "space"),
        ("Train\n\nFyre-Run: a\n  Fyre-Name: b\n", 4, "indented"),
    ],
)
def test_what_looks_like_a_trailer_is_found_with_its_reason(message: str, line: int, why: str) -> None:
    (found,) = lookalikes.find(message)
    assert (found.line, why in found.why) == (line, True), found


@pytest.mark.parametrize(
    "message",
    [
        "Train\n\nFyre-Run: echo hi\n",
        "Train\n\n> Fyre-Run: echo hi\n\nquoted above\n",
        "Train\n\n    Fyre-Run: echo hi\n\nindented above\n",
        "fyre run: follow the log to its end\n\nfyre run: it did not.\n\nReally.\n",
        "Train\n\nWrite Fyre-Run: as the last line.\n",
        "Train\n\nFyre-Run: a\n\tfolded\n",
    ],
)
def test_talk_about_trailers_is_left_alone(message: str) -> None:
    assert lookalikes.find(message) == ()
    assert lookalikes.mend(message) == message


def test_mending_moves_lines_to_the_end_in_their_order() -> None:
    message = "Train\n\nFyre-Run: python train.py\n  --lr 1\n\nProse.\n\nFyre-Timeout: 2h\n\n# a comment\n"
    assert lookalikes.mend(message) == (
        "Train\n\nProse.\n\nFyre-Run: python train.py\n  --lr 1\nFyre-Timeout: 2h\n\n# a comment\n"
    )


def test_a_message_of_trailers_alone_gets_a_subject() -> None:
    assert lookalikes.mend("Fyre-Run: echo hi\n") == "Run: echo hi\n\nFyre-Run: echo hi\n"


LINE = st.sampled_from(
    ["Subject", "prose here", "", "", "Fyre-Run: echo a", "fyre-run : b", "Fyre_Run: c", "Fyre Name: d", "  folded",
     " Fyre-Env: A=1", "Signed-off-by: A <a@example.com>", "Reviewed-by: B", "# comment", "> Fyre-Run: q"]
)  # fmt: skip


@given(st.lists(LINE, max_size=12).map("\n".join))
def test_a_mended_message_has_no_lookalikes_and_loses_no_words(message: str) -> None:
    mended = lookalikes.mend(message)
    assert lookalikes.find(mended) == ()
    assert lookalikes.mend(mended) == mended
    before = {t.value for t in trailers.parse(message) if t.key.lower().startswith("fyre")}
    assert {word for value in before for word in value.split()} <= set(mended.split())
    assert message.count("prose here") == mended.count("prose here")


@given(st.lists(LINE, max_size=12).map("\n".join))
def test_comments_are_stripped_as_git_strips_them(message: str) -> None:
    if hash(message) % 10:  # a git process each: a tenth of them is enough
        return
    git = subprocess.run(
        ["git", "stripspace", "--strip-comments"], input=message.encode(), capture_output=True, check=True
    )
    assert lookalikes.strip_comments(message) == git.stdout.decode()
