"""The parser answers what git answers: rule by rule, then over thousands of messages against git
itself.
"""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fyre.message import trailers
from fyre.message.trailers import Trailer
from tests.support import trailers_generator

SCISSORS = "# ------------------------ >8 ------------------------\n"
SIGNED = "Signed-off-by: A"
RULES = {
    "plain": ("S\n\nFyre-Run: make\n", ["Fyre-Run: make"]),
    "empty": ("", []),
    "only blank lines": ("\n \n\t\n", []),
    "a subject alone": ("S\n", []),
    "no last newline": ("S\n\nK: v", ["K: v"]),
    "not in the subject": ("K: v\n", []),
    "not in the title paragraph": ("S\nK: v\n", []),
    "a comment does not end the title": ("# c\nK: v\n", []),
    "only the last paragraph": ("S\n\nK: v\n\nprose\n", []),
    "only the last of two blocks": ("S\n\nK: v\n\nL: w\n", ["L: w"]),
    "a line of spaces ends a paragraph": ("S\n\nprose\n \t\nK: v\n", ["K: v"]),
    "a form feed does not": ("S\n\nprose\n\x0c\nK: v\n", []),
    "blank lines at the end": ("S\n\nK: v\n\n\n", ["K: v"]),
    "blank-looking lines at the end": ("S\n\nK: v\n \n\t\n", ["K: v"]),
    "prose beside it": ("S\n\nprose\nK: v\n", []),
    "prose beside it, but signed off": (f"S\n\nprose\nK: v\n{SIGNED}\n", ["K: v", SIGNED]),
    "signed off in another case is not git's own": ("S\n\nprose\nsigned-off-by: A\n", []),
    "signed off without a space is not git's own": ("S\n\nprose\nSigned-off-by:A\n", []),
    "a quarter is enough": (f"S\n\na\nb\nc\n{SIGNED}\n", [SIGNED]),
    "less than a quarter is not": (f"S\n\na\nb\nc\nd\n{SIGNED}\n", []),
    "two of eight are": (f"S\n\na\nb\nc\nd\ne\nf\nK: v\n{SIGNED}\n", ["K: v", SIGNED]),
    "folds of prose count as prose": (f"S\n\na\n b\n c\n d\n{SIGNED}\n", []),
    "folds of a trailer count as nothing": (f"S\n\na\n{SIGNED}\n b\n c\n d\n", [f"{SIGNED} b c d"]),
    "a cherry-pick's line counts and is none": (
        "S\n\na\nK: v\n(cherry picked from commit 1)\n",
        ["K: v"],
    ),
    "a cherry-pick's line alone": ("S\n\n(cherry picked from commit 1)\n", []),
    "folded": ("S\n\nK: a\n  b\n\tc\n", ["K: a b c"]),
    "folded by a carriage return": ("S\n\nK: a\n\rb\n", ["K: a b"]),
    "folded from nothing": ("S\n\nK:\n  b\n", ["K: b"]),
    "a fold keeps the spaces before it": ("S\n\nK: a \n b\n", ["K: a  b"]),
    "a fold with nothing to continue": ("S\n\n  a\nK: v\n", []),
    "a folded trailer is a fold": ("S\n\nK: a\n L: b\n", ["K: a L: b"]),
    "a fold after a comment": ("S\n\nK: a\n# c\n b\n", []),
    "any case": ("S\n\nfYRE-rUN: v\n", ["fYRE-rUN: v"]),
    "space before the colon": ("S\n\nK \t: v\n", ["K: v"]),
    "none after it": ("S\n\nK:v\n", ["K: v"]),
    "tabs around the value": ("S\n\nK:\t v \t\n", ["K: v"]),
    "empty value": ("S\n\nK:\n", ["K: "]),
    "empty key": ("S\n\n: v\n", []),
    "a key of digits and dashes": ("S\n\n-9-: v\n", ["-9-: v"]),
    "only the first colon": ("S\n\nK: a: b\n", ["K: a: b"]),
    "identical ones are kept": ("S\n\nK: v\nK: v\n", ["K: v", "K: v"]),
    "an underscore makes it prose": ("S\n\nK_x: v\n", []),
    "a space inside makes it prose": ("S\n\na b: v\n", []),
    "an indented trailer is none": ("S\n\n K: v\n", []),
    "a quoted trailer is none": ("S\n\n> K: v\n", []),
    "carriage returns": ("S\r\n\r\nK: v\r\n", ["K: v"]),
    "a carriage return inside": ("S\n\nK: a\rb\n", ["K: a\rb"]),
    "a divider divides nothing": ("S\n\nK: v\n---\n\nL: w\n", ["L: w"]),
    "a divider beside it is prose": ("S\n\n---\nK: v\n", []),
    "a patch is read like the rest": (
        "S\n\nK: v\n---\n a | 1 +\n\ndiff --git a/a b/a\n+L: w\n",
        [],
    ),
    "comments at the end": ("S\n\nK: v\n# c\n\n# d\n", ["K: v"]),
    "a comment inside": ("S\n\nK: v\n# c\nL: w\n", ["K: v", "L: w"]),
    "a commented trailer": ("S\n\n#K: v\nL: w\n", ["L: w"]),
    "an indented hash is a fold": ("S\n\nK: v\n # c\n", ["K: v # c"]),
    "scissors": (f"S\n\nK: v\n{SCISSORS}L: w\n", ["K: v"]),
    "scissors first": (f"{SCISSORS}S\n\nK: v\n", []),
    "scissors of another length are a comment": (
        "S\n\nK: v\n# --- >8 ---\nL: w\n",
        ["K: v", "L: w"],
    ),
    "old conflicts": ("S\n\nK: v\n\nConflicts:\n\tpath\n", ["K: v"]),
    "old conflicts with prose after them": ("S\n\nK: v\n\nConflicts:\n\tpath\nprose\n", []),
    "a trailer named Conflicts": ("S\n\nConflicts: none\n", ["Conflicts: none"]),
    "unicode space is no space": ("S\n\nK: \u00a0v\n", ["K: \u00a0v"]),
    "unicode lines are no lines": ("S\n\nK: a\x85b\u2028c\x0bd\n", ["K: a\x85b\u2028c\x0bd"]),
    "unicode letters are no key": ("S\n\nКлюч: v\n", []),
    "quotes survive": ("S\n\nK: echo \"a  b\" && 'c'\n", ["K: echo \"a  b\" && 'c'"]),
    "git stops at a NUL": ("S\n\nK: v\0w\nL: x\n", ["K: v"]),
    "a megabyte": ("S\n\nK: " + "v" * 1_000_000 + "\n", ["K: " + "v" * 1_000_000]),
}
DIFFERENT = {  # git answers these in two ways: ours, then that of log
    "\n\nK: v\n": (["K: v"], []),
    " \nS\nK: v\nSigned-off-by: A\n": (["K: v", "Signed-off-by: A"], []),
    "S\n\nK: v\nConflicts:": (["K: v", "Conflicts: "], ["K: v", "Conflicts: "]),
}


def ours(message: str) -> list[str]:
    return [f"{trailer.key}: {trailer.value}" for trailer in trailers.parse(message)]


def by_log(where: Path, messages: Sequence[str]) -> list[list[str]]:
    seen = trailers_generator.by_git_log(where, messages)
    return [[f"{key}: {value}" for key, value in pairs] for pairs in seen]


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    message, expected = RULES[rule]
    assert ours(message) == expected


def test_git_has_the_same_rules(tmp_path: Path) -> None:
    messages = [message for message, _ in RULES.values()]
    expected = [answer for _, answer in RULES.values()]
    assert by_log(tmp_path / "git", messages) == expected
    assert [trailers_generator.by_interpret_trailers(message) for message in messages] == expected


def test_where_git_has_two_answers_ours_is_known(tmp_path: Path) -> None:
    logged = by_log(tmp_path / "git", list(DIFFERENT))
    for (message, (own, log)), seen in zip(DIFFERENT.items(), logged, strict=True):
        assert (ours(message), seen) == (own, log)
        if message.endswith("\n"):  # else it depends on git's version
            assert trailers_generator.by_interpret_trailers(message) == own


def test_it_agrees_with_git_log_over_generated_messages(tmp_path: Path) -> None:
    texts = list(map(trailers_generator.for_log, trailers_generator.messages(4000, seed=20261121)))
    seen = by_log(tmp_path / "git", texts)
    wrong = [(text, git) for text, git in zip(texts, seen, strict=True) if ours(text) != git]
    assert not wrong, wrong[0]
    assert sum(map(bool, seen)) > 1000, "the generator must make messages that have trailers"


def test_it_agrees_with_interpret_trailers_on_a_sample() -> None:
    for text in map(
        trailers_generator.for_interpret_trailers, trailers_generator.messages(60, seed=7)
    ):
        assert ours(text) == trailers_generator.by_interpret_trailers(text), text


def test_lines_count_from_one_and_are_no_part_of_equality() -> None:
    found = trailers.parse("S\n\nprose\n\nK: a\n b\nL: c\n")
    assert [t.line for t in found] == [5, 7]
    assert found == (Trailer("K", "a b", 1), Trailer("L", "c"))
    assert len({*found, Trailer("L", "c", 99)}) == 2
    assert [t.line for t in trailers.parse("\n \nS\n\nK: a\n")] == [5], (
        "blank lines at the beginning count too"
    )


@pytest.mark.parametrize(
    "message",
    [
        "S\n\nK: " + "x" * 4_000_000,
        "S\n\n" + "K: v\n" * 100_000,
        "S\n\nK: v\n" + " f\n" * 100_000,
        "S\n\n" + "\n" * 1_000_000,
        "S\n\n" + "# c\n" * 100_000 + "x",
        "K" * 4_000_000,
        "S\n\nK: v\n" + " \n" * 200_000,
    ],
    ids=[
        "long line",
        "many trailers",
        "many folds",
        "blank lines",
        "comments",
        "one word",
        "blank folds",
    ],
)
def test_a_megabyte_is_read_in_one_pass(message: str) -> None:
    assert len(trailers.parse(message)) in (
        0,
        1,
        100_000,
    )  # quadratic work would not come back in this suite's time


def test_the_parser_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(trailers.__file__).read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_the_public_name_stays() -> None:
    from fyre.trailers import parse

    assert parse is trailers.parse
