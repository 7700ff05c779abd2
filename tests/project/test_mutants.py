"""The mutation command: its changes, its choice of tests, and that an empty test is found out."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutants
from tests.support.ci_marks import LONG_CASE

pytestmark = [*LONG_CASE]

ROOT = Path(__file__).parents[2]
SOURCE = b'''"""A docstring with 1 number."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    X = 1
def clamp(value: int, most: "int | 2" = 3) -> int:
    """Return it, at most 4."""
    if not value:
        return 0
    log.info("%s", 5)
    return min(value, most) if value > 7 else value
'''


def shown(source: bytes) -> list[tuple[str, str]]:
    return [
        (one["before"], one["after"])
        for one in (each.shown(source) for each in mutants.mutants("f.py", source))
    ]


def test_each_mutation_changes_one_place_and_is_python() -> None:
    found = mutants.mutants("f.py", SOURCE)
    for one in found:
        ast.parse(one.applied(SOURCE))
        assert one.applied(SOURCE) != SOURCE
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("if not value:", "if (value):"),
        ("if not value:", "if (not (not value)):"),
        ("return 0", "return 1"),
        ("return 0", "return (-1)"),
        ("return 0", "pass"),
        (
            "return min(value, most) if value > 7 else value",
            "return max(value, most) if value > 7 else value",
        ),
        (
            "return min(value, most) if value > 7 else value",
            "return min(value, most) if (value >= 7) else value",
        ),
        (
            "return min(value, most) if value > 7 else value",
            "return min(value, most) if value > 8 else value",
        ),
    ],
)
def test_what_is_mutated(before: str, after: str) -> None:
    assert (before, after) in shown(SOURCE)


def test_what_makes_no_difference_is_left_alone() -> None:
    befores = {before for before, _ in shown(SOURCE)}
    assert befores == {
        "if not value:",
        "return 0",
        "return min(value, most) if value > 7 else value",
    }


def test_the_nearest_tests_are_those_named_after_a_module_then_those_that_import_it() -> None:
    found = mutants.nearest_tests(ROOT, "fyre/github/rate_limit.py")
    assert found[0] == "tests/unit/github/test_rate_limit.py"
    assert len(found) == mutants.TESTS
    assert mutants.nearest_tests(ROOT, "fyre/controller/retry_queue.py") == [
        "tests/unit/controller/test_retry_queue.py"
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own, with a line that is tested and one that is not."""
    (tmp_path / "fyre").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "fyre/__init__.py").touch()
    (tmp_path / "fyre/sums.py").write_text(
        "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n"
    )
    (tmp_path / "tests/test_sums.py").write_text(
        "from fyre import sums\n\n\n"
        "def test_add():\n    assert sums.add(2, 3) == 5\n    sums.sub(2, 3)\n"
    )
    (tmp_path / "tests/mutants.py").write_bytes((ROOT / "tests/mutants.py").read_bytes())
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "Sums"),
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def judged(project: Path, *words: str) -> dict[str, object]:
    command = [sys.executable, "tests/mutants.py", *words]
    # Pytest is started for each mutant, with no plugin whose options somebody may have set.
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True, env=env)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_line_that_no_test_holds_is_a_survivor_and_the_tree_is_left_alone(project: Path) -> None:
    before = (project / "fyre/sums.py").read_bytes()
    found = judged(project, "fyre/sums.py")
    assert (found["possible"], found["caught"], found["survived"]) == (2, 1, 1)
    assert found["survivors"] == [
        {"at": "fyre/sums.py:6", "before": "return a - b", "after": "return (a + b)"}
    ]
    assert (project / "fyre/sums.py").read_bytes() == before
    status = subprocess.run(
        ["git", "status", "--short"], cwd=project, check=True, capture_output=True, text=True
    )
    assert status.stdout == ""


def test_only_lines_that_are_new_since_a_revision_are_mutated(project: Path) -> None:
    assert judged(project, "--since", "HEAD")["possible"] == 0
    (project / "fyre/sums.py").write_text(
        "def add(a, b):\n    return b + a\n\n\ndef sub(a, b):\n    return a - b\n"
    )
    found = judged(project, "--since", "HEAD")
    assert (found["possible"], found["caught"], found["survived"]) == (1, 1, 0)


def test_tests_that_fail_by_themselves_judge_nothing(project: Path) -> None:
    (project / "tests/test_sums.py").write_text(
        "from fyre import sums\n\n\ndef test_add():\n    assert not sums\n"
    )
    found = judged(project, "fyre/sums.py")
    assert (found["caught"], found["untested"]) == (0, 2)
