"""What a browser or GitHub does not show of a comment, or shows as a formula, is no command."""

from __future__ import annotations

import pytest

from fyre.controller.comments.command_parser import Command
from fyre.controller.comments.handler import parse_command


@pytest.mark.parametrize(
    "body",
    [
        "see <ruby>x<rp>\n/fyre cancel\n</rp></ruby>", "a <rp>\n/fyre cancel",
        "<details>\n\n/fyre cancel\n\n</details>", "<details>\n\nx\n\n/fyre cancel",
        "<details><summary>a</summary><summary>\n\n/fyre cancel\n\n</summary></details>",
        "<details open><details>\n\n/fyre cancel", "<dialog>\n\n/fyre cancel",
        "<details><div><summary>\n\n/fyre cancel\n\n</summary></div></details>",
        "$a +\n/fyre cancel\nb$", "a ($a +\n/fyre cancel\n = b$).", "$$ a\n/fyre cancel\nb $$",
        "costs $5, $a +\n/fyre cancel\n= b$", "*$a*\n/fyre cancel\n*b$*",
        "<datalist>\n\n/fyre cancel", "<p popover>x\n\n<div popover>\n\n/fyre cancel",
        "x <progress>\n/fyre cancel", "<meter>\n\n/fyre cancel", "x <bdo dir=rtl>\n/fyre cancel",
    ],
)  # fmt: skip
def test_9_5_what_a_browser_or_github_hides_is_no_command(body: str) -> None:
    assert parse_command(body) is None


@pytest.mark.parametrize(
    "body",
    [
        "<ruby>x<rp>(</rp><rt>y</rt></ruby>\n/fyre status", "<details open>\n\n/fyre status",
        "<details>\n<summary>\n\n/fyre status\n\n</summary>\n\nx\n\n</details>",
        "<details><details></details></details>\n\n/fyre status", "costs $5\n/fyre status\nor $6",
        "$x$\n/fyre status\n$y$", "$$x$$\n/fyre status", "US$ 5\n/fyre status\n5$",
        "<dialog open>\n\n/fyre status", "x <ins>\n/fyre status", "$a\n\n/fyre status\nb$",
    ],
)  # fmt: skip
def test_9_5_what_a_browser_shows_is_a_command(body: str) -> None:
    assert parse_command(body) == Command("status")
