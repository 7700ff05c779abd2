"""The parser answers what git answers: rule by rule, then over thousands of messages against git itself."""

import ast
import sys
from pathlib import Path

import pytest

from fyre import trailers
from fyre.trailers import Trailer
from tests import trailers_generator

RULES = {
    "plain": ("S\n\nFyre-Run: make\n", [("Fyre-Run", "make")]),
    "no last newline": ("S\n\nK: v", [("K", "v")]),
    "not in the subject": ("K: v\n", []),
    "not in the title paragraph": ("S\nK: v\n", []),
    "only the last paragraph": ("S\n\nK: v\n\nprose\n", []),
    "prose beside it": ("S\n\nprose\nK: v\n", []),
    "prose beside it, but signed off": ("S\n\nprose\nK: v\nSigned-off-by: A\n", [("K", "v"), ("Signed-off-by", "A")]),
    "a quarter is enough": ("S\n\na\nb\nc\nSigned-off-by: A\n", [("Signed-off-by", "A")]),
    "less than a quarter is not": ("S\n\na\nb\nc\nd\nSigned-off-by: A\n", []),
    "a cherry-pick's line counts and is none": ("S\n\na\nK: v\n(cherry picked from commit 1)\n", [("K", "v")]),
    "folded": ("S\n\nK: a\n  b\n\tc\n", [("K", "a b c")]),
    "folded over a blank-looking line": ("S\n\nK: a\n b\n \n", [("K", "a b")]),
    "any case": ("S\n\nfYRE-rUN: v\n", [("fYRE-rUN", "v")]),
    "space before the colon": ("S\n\nK : v\n", [("K", "v")]),
    "none after it": ("S\n\nK:v\n", [("K", "v")]),
    "empty value": ("S\n\nK:\n", [("K", "")]),
    "identical ones are kept": ("S\n\nK: v\nK: v\n", [("K", "v"), ("K", "v")]),
    "an underscore makes it prose": ("S\n\nK_x: v\n", []),
    "a space inside makes it prose": ("S\n\na b: v\n", []),
    "carriage returns": ("S\r\n\r\nK: v\r\n", [("K", "v")]),
    "a divider divides nothing": ("S\n\n---\n\nK: v\n", [("K", "v")]),
    "comments at the end": ("S\n\nK: v\n# c\n\n# d\n", [("K", "v")]),
    "a comment inside": ("S\n\nK: v\n# c\nL: w\n", [("K", "v"), ("L", "w")]),
    "scissors": ("S\n\nK: v\n# ------------------------ >8 ------------------------\nL: w\n", [("K", "v")]),
    "old conflicts": ("S\n\nK: v\n\nConflicts:\n\tpath\n", [("K", "v")]),
    "unicode space is no space": ("S\n\nK: \u00a0v\n", [("K", "\u00a0v")]),
    "unicode letters are no key": ("S\n\nКлюч: v\n", []),
    "quotes survive": ("S\n\nK: echo \"a  b\" && 'c'\n", [("K", "echo \"a  b\" && 'c'")]),
    "empty": ("", []),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    message, expected = RULES[rule]
    assert [(t.key, t.value) for t in trailers.parse(message)] == expected
    assert trailers_generator.by_interpret_trailers(message) == [f"{key}: {value}" for key, value in expected]


def test_it_agrees_with_git_log_over_generated_messages(tmp_path: Path) -> None:
    texts = list(trailers_generator.messages(4000, seed=20261121))
    seen = trailers_generator.by_git_log(tmp_path / "git", texts)
    wrong = [(text, git) for text, git in zip(texts, seen, strict=True)
             if [(t.key, t.value) for t in trailers.parse(text)] != git]  # fmt: skip
    assert not wrong, wrong[0]
    assert sum(map(bool, seen)) > 1000, "the generator must make messages that have trailers"


def test_it_agrees_with_interpret_trailers_on_a_sample() -> None:
    for text in trailers_generator.messages(60, seed=7):
        ours = [f"{t.key}: {t.value}" for t in trailers.parse(text)]
        assert ours == trailers_generator.by_interpret_trailers(text), text


def test_a_message_that_begins_with_blank_lines_is_read_as_interpret_trailers_reads_it() -> None:
    message = "\n\nK: v\n"
    assert [f"{t.key}: {t.value}" for t in trailers.parse(message)] == trailers_generator.by_interpret_trailers(message)


def test_git_stops_at_a_nul_and_so_does_the_parser() -> None:
    message = "S\n\nK: v\0w\nL: x\n"
    assert trailers.parse(message) == (Trailer("K", "v"),)
    assert trailers_generator.by_interpret_trailers(message) == ["K: v"]


def test_lines_count_from_one_and_are_no_part_of_equality() -> None:
    found = trailers.parse("S\n\nprose\n\nK: a\n b\nL: c\n")
    assert [t.line for t in found] == [5, 7]
    assert found == (Trailer("K", "a b", 1), Trailer("L", "c"))
    assert len({*found, Trailer("L", "c", 99)}) == 2


@pytest.mark.parametrize(
    "message",
    [
        "S\n\nK: " + "x" * 4_000_000,
        "S\n\n" + "K: v\n" * 200_000,
        "S\n\nK: v\n" + " f\n" * 300_000,
        "S\n\n" + "\n" * 2_000_000,
        "S\n\n" + "# c\n" * 300_000 + "x",
        "K" * 4_000_000,
        "S\n\nK: v\n" + " \n" * 500_000,
    ],
    ids=["long line", "many trailers", "many folds", "blank lines", "comments", "one word", "blank folds"],
)
def test_a_megabyte_is_read_in_one_pass(message: str) -> None:
    assert len(trailers.parse(message)) in (0, 1, 200_000)  # quadratic work would not come back in this suite's time


def test_the_parser_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(trailers.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
