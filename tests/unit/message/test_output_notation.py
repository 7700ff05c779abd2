"""The notation of outputs."""

from __future__ import annotations

import pytest

from fyre.message import output_notation
from fyre.message.output_notation import DeclaredOutput
from fyre.message.value_parsers import BadValueError


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("model.pt", DeclaredOutput("model.pt")),
        ("?ck/", DeclaredOutput("ck", is_optional=True, is_directory=True)),
        ("a/*.png", DeclaredOutput("a/*.png")),
        ("with space", DeclaredOutput("with space")),
    ],
)
def test_an_output_is_read(text: str, output: DeclaredOutput) -> None:
    assert output_notation.parse_output(text) == text
    assert output_notation.read_output(text) == output


@pytest.mark.parametrize(
    "text",
    ["", "?", "/", "/etc/passwd", "../x", "a/../b", ".git/config", "a//b", "./a", "x" * 5000],
)
def test_what_is_no_path_of_the_checkout_is_refused(text: str) -> None:
    with pytest.raises(BadValueError):
        output_notation.parse_output(text)


@pytest.mark.parametrize("text", ["model.pt -> s3://bucket/x", ">eval.txt", ">>log"])
def test_what_is_not_supported_yet_is_said(text: str) -> None:
    with pytest.raises(BadValueError, match="not supported yet"):
        output_notation.parse_output(text)


def test_a_path_from_a_subdirectory_is_one_of_the_checkout() -> None:
    assert output_notation.below("exp/", "?ck/") == "?exp/ck/"
    assert output_notation.below("", "ck/") == "ck/"
