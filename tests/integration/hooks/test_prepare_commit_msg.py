from __future__ import annotations

from pathlib import Path

import pytest

from fyre.message import request
from tests.support.ci_marks import easier_cases


@pytest.fixture
def fyre_id(hooked: Path, git):
    """The Fyre-Id of a commit, by default HEAD."""
    return lambda rev="HEAD": (
        request.parse_message(git("log", "-1", "--format=%B", rev, cwd=hooked)).fyre_id
    )


@pytest.fixture(autouse=True)
def asking(hooked: Path, attempt) -> None:
    """HEAD asks for a run, on code of its own."""
    (hooked / "code").write_text("1\n")
    attempt("add", "code")
    assert attempt("commit", "-m", "Train\n\nFyre-Run: true").returncode == 0


@pytest.mark.parametrize(
    "words", [("--amend", "--no-edit"), *easier_cases(("-C", "HEAD")), ("--amend", "-C", "HEAD")]
)
def test_the_same_message_on_other_code_gets_a_new_id(
    hooked: Path, attempt, fyre_id, words: tuple[str, ...]
) -> None:
    before = fyre_id()
    (hooked / "code").write_text("2\n")
    assert attempt("commit", "-a", *words).returncode == 0
    assert fyre_id() not in ("", before)


def test_an_edited_one_too(hooked: Path, attempt, fyre_id) -> None:
    before = fyre_id()
    (hooked / "code").write_text("2\n")
    done = attempt("commit", "--amend", "code", editor="sed -i s/Train/Trained/")
    assert done.returncode == 0, done.stderr
    assert fyre_id() not in ("", before)


def test_the_same_code_keeps_the_id(attempt, fyre_id) -> None:
    before = fyre_id()
    assert attempt("commit", "--amend", "--date=2020-01-02T03:04:05", "--no-edit").returncode == 0
    assert fyre_id() == before
    assert attempt("commit", "--amend", editor="sed -i s/Train/Better/").returncode == 0
    assert fyre_id() == before


def test_cherry_pick_and_rebase_keep_the_id(hooked: Path, attempt, fyre_id) -> None:
    before = fyre_id()
    attempt("switch", "-q", "-c", "side", "HEAD~")
    (hooked / "other").write_text("x\n")
    attempt("add", "other")
    attempt("commit", "-q", "-m", "Other")
    assert attempt("cherry-pick", "main").returncode == 0
    assert fyre_id() == before
    attempt("switch", "-q", "main")
    assert attempt("rebase", "side~").returncode == 0
    assert fyre_id() == before


def test_a_cherry_pick_with_a_conflict_keeps_the_id(hooked: Path, attempt, fyre_id) -> None:
    before = fyre_id()
    attempt("switch", "-q", "-c", "side", "HEAD~")
    (hooked / "code").write_text("theirs\n")
    attempt("add", "code")
    attempt("commit", "-q", "-m", "Other")
    assert attempt("cherry-pick", "main").returncode == 1
    (hooked / "code").write_text("both\n")
    assert attempt("commit", "-a", editor="true").returncode == 0
    assert fyre_id() == before
