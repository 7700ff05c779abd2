from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.errors import UserError
from fyre.message import compose, near_misses, trailers


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["a && b"], "a && b"),
        (["echo", "a  b"], "echo 'a  b'"),
        (["echo", "$HOME"], "echo '$HOME'"),
        ([""], ""),
    ],
)
def test_one_word_is_verbatim_and_several_keep_their_quoting(
    words: list[str], command: str
) -> None:
    assert compose.command_from_words(words) == command


def test_a_minted_subject_says_what_runs_in_72_characters() -> None:
    assert compose.compose_subject(["python  train.py"]) == "Run: python train.py"
    assert compose.compose_subject(["make", "make test"]) == "Run 2 commands: make, make test"
    assert compose.compose_subject(["x" * 100]) == "Run: " + "x" * 66 + "…"


def test_trailers_go_below_those_that_are_there_and_else_into_a_paragraph_of_their_own() -> None:
    pairs = [("Fyre-Run", " true ")]
    assert compose.add_trailers("Subject", pairs) == "Subject\n\nFyre-Run: true\n"
    assert compose.add_trailers("Fix: it\n", pairs) == "Fix: it\n\nFyre-Run: true\n"
    assert (
        compose.add_trailers("Subject\n\nWhy: so it is\n\n", pairs)
        == "Subject\n\nWhy: so it is\nFyre-Run: true\n"
    )
    assert (
        compose.add_trailers("Subject\n\nSome prose.\n", pairs)
        == "Subject\n\nSome prose.\n\nFyre-Run: true\n"
    )


def test_trailers_are_taken_away_with_what_is_folded_under_them() -> None:
    text = "Subject\r\n\r\nFyre-Run: a\r\n  b\r\nReviewed-by: B\r\nFyre-Id: X\r\n"
    assert (
        compose.remove_trailers(text, lambda key: key.startswith("fyre-"))
        == "Subject\r\n\r\nReviewed-by: B\r\n"
    )
    assert compose.remove_trailers(text, lambda key: False) == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("a\nb", "several lines"),
        ("a\r\nb", "several lines"),
        ("", "empty"),
        ("a\0b", "can't be kept"),
        ("caf\udce9", "can't be kept"),
    ],
)
def test_a_command_that_a_trailer_cannot_hold_is_refused(value: str, says: str) -> None:
    pairs = [("Fyre-Run", value)]
    with pytest.raises(UserError, match=says) as refused:
        compose.verify_message(compose.add_trailers("Subject", pairs), pairs)
    assert refused.value.hint


def test_white_space_at_the_ends_of_a_value_is_not_lost_silently() -> None:
    pairs = [("Fyre-Run", "true"), ("Fyre-Env", "SEPARATOR= ")]
    with pytest.raises(UserError, match="Fyre-Env can't be kept"):
        compose.verify_message(compose.add_trailers("Subject", pairs), pairs)


def test_a_line_that_only_looks_like_a_trailer_is_refused() -> None:
    with pytest.raises(UserError, match="would not run"):
        near_misses.reject_near_misses("Subject\n\nFyre-Run: true\n\nand some prose\n")


@given(st.text(min_size=1))
def test_what_verify_lets_through_is_what_runs(command: str) -> None:
    pairs = [("Fyre-Run", command), ("Fyre-Name", "x")]
    text = compose.add_trailers("Subject", pairs)
    try:
        found = compose.verify_message(text, pairs)
    except UserError:
        return
    assert [spec.command for spec in found.runs] == [command.strip()]
    assert trailers.parse(text)[-1].value == "x"
