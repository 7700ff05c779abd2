"""The names and the layout of the code stay within what was agreed; the measures are commands."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.ci_marks import long_case

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@cache
def measure(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


@long_case
def test_names_say_what_a_thing_does() -> None:
    measured = measure("naming.py")
    assert measured["functions"] > 1000
    assert measured["one_word"] <= 0.2
    assert measured["names_in_several_files"] <= 0.08
    assert measured["question_docstrings"] <= 0.005


def test_the_layout_can_be_seen_at_once() -> None:
    measured = measure("naming.py", "--layout")
    assert measured["root_modules"] <= 10
    assert measured["most_modules_in_a_folder"] <= 24
    assert measured["contract_rows"] <= measured["packages"]


@long_case
def test_behaviours_are_found_by_the_words_of_the_field() -> None:
    measured = measure("stranger.py")
    assert measured["behaviours"] == 30
    assert measured["found"] >= 27
