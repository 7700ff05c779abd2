"""What a run found, from the keyboard: ranked, listed, fetched and printed, as a person does it."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from fyre.cli import main
from fyre.local_forge.forge import LocalForge
from fyre.runs.run_query import ALL_RUNS
from tests.support.ci_marks import long_case
from tests.support.person import Person, person

__all__ = ["person"]

TRAIN = """\
printf '{"step": 0, "acc": %s}\\n{"step": 1, "acc": 0.1}\\n' $LR >> "$FYRE_METRICS"
mkdir -p "$FYRE_OUTPUTS/ck"; cd "$FYRE_OUTPUTS/ck"; echo "model $LR" > m.pt; chmod 750 m.pt
cd "$OLDPWD"; echo notes > notes.txt"""


@pytest.fixture
def shas(person: Person, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two runs that have ended, the second with the lower value."""
    monkeypatch.chdir(person.repo)
    (person.repo / ".fyre.yaml").write_text("metrics: {acc: max}\n")
    (person.repo / "train.sh").write_text(TRAIN)
    person.git("add", ".")
    shas = []
    for rate in ("0.9", "0.3"):
        shas.append(
            person.run(
                "sh train.sh",
                f"Fyre-Env: LR={rate}",
                "Fyre-Output: notes.txt",
                f"Fyre-Note: rate {rate}",
            )
        )
        person.final(shas[-1])
    return shas


def fyre(*words: str) -> int:
    return main.main(words)


def test_an_evening_is_ranked_and_its_best_model_is_pulled(
    shas: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fyre("log", "--sort", "acc", "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["sha"] for row in rows] == shas
    assert rows[0]["best"] == {"acc": 0.9}
    assert rows[0]["metrics"] == {"acc": 0.1}
    assert rows[0]["outputs"] == {"count": 2, "bytes": 16}
    assert rows[0]["note"] == "rate 0.9"
    assert rows[0]["env"] == {"LR": "0.9"}  # test_10: what tells the runs of a sweep apart
    assert rows[0]["description"].split(" · ")[2] == "acc 0.9"

    assert fyre("log", "--sort", "acc", "--limit", "1", "--csv") == 0
    (row,) = csv.DictReader(io.StringIO(capfd.readouterr().out))
    assert (row["sha"], row["acc"], row["note"]) == (shas[0], "0.1", "rate 0.9")
    assert row["env"] == "LR=0.9"
    assert fyre("log") == 0
    assert "sh train.sh  LR=0.3\n" in capfd.readouterr().out

    assert fyre("outputs", shas[0], "--json") == 0
    listed = json.loads(capfd.readouterr().out)
    assert [(one["path"], one["size"]) for one in listed] == [("ck/m.pt", 10), ("notes.txt", 6)]

    folder = tmp_path / "best"
    assert fyre("pull", shas[0], "-o", str(folder)) == 0
    assert (folder / "ck/m.pt").read_text() == "model 0.9\n"
    assert (folder / "ck/m.pt").stat().st_mode & 0o777 == 0o750
    assert (folder / "notes.txt").read_text() == "notes\n"
    assert fyre("pull", shas[0], "ck", "-o", str(folder)) == 0
    assert "1 of them were there" in capfd.readouterr().err

    assert fyre("cat", "best:acc", "notes.txt") == 0
    captured = capfd.readouterr()
    assert captured.out == "notes\n"
    assert f"{shas[0][:7]}:run has the best acc: 0.9" in captured.err

    assert fyre("cat", f"{shas[1]}:run", "ck/m.pt") == 0
    assert capfd.readouterr().out == "model 0.3\n"


@long_case
def test_a_pull_leaves_other_files_alone(
    shas: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert fyre("pull", shas[0], "-o", str(tmp_path)) == 1
    assert "is there already, and is another file" in capfd.readouterr().err
    assert not (tmp_path / "ck").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert fyre("pull", shas[0], "-o", str(tmp_path), "--force") == 0
    assert (tmp_path / "notes.txt").read_text() == "notes\n"


@long_case
def test_a_pull_follows_no_link_out_of_the_folder(
    shas: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    target.mkdir()
    elsewhere.mkdir()
    (target / "ck").symlink_to(elsewhere)
    assert fyre("pull", shas[0], "-o", str(target)) == 1
    assert "a link leads there" in capfd.readouterr().err
    assert [*elsewhere.iterdir()] == []


@long_case
def test_a_damaged_content_is_never_handed_out(
    shas: list[str],
    person: Person,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    forge: LocalForge = person.up.local_forge
    (blob,) = [
        path for path in (forge.root / "artifacts" / "blobs").rglob("*")
        if path.is_file() and path.read_bytes() == b"model 0.9\n"
    ]  # fmt: skip
    blob.write_bytes(b"model 0.8\n")
    assert fyre("pull", shas[0], "-o", str(tmp_path / "o")) == 1
    assert "damaged" in capfd.readouterr().err
    assert not (tmp_path / "o/ck/m.pt").exists()
    assert fyre("cat", shas[0], "ck/m.pt") == 1
    blob.unlink()
    assert fyre("cat", shas[0], "ck/m.pt") == 1
    assert "not in the receiver's store any more" in capfd.readouterr().err


WRONG_NAMES = {
    ("outputs", "HEAD~2"): "asks for none",
    ("cat", "HEAD", "nope"): "this run has no output nope",
    ("pull", "HEAD", "nope"): "this run has no output nope",
    ("outputs", "HEAD:nope"): "has no run named 'nope'",
    ("log", "--sort", "nope"): "no run here has a metric 'nope'; there is acc",
    ("log", "--name", "trian"): "no run here is named 'trian'; there is run",
    ("log", "--state", "failed"): "no run here is failed; there is succeeded",
    ("log", "HEAD.."): "no runs in HEAD..: without a range, those of HEAD",
    ("log", "--state", "nope"): "'nope' is no state",
}


@long_case
def test_a_wrong_name_is_answered_by_one_line(
    shas: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for words, said in WRONG_NAMES.items():
        fyre(*words)
        assert said in capfd.readouterr().err


def test_equal_files_and_odd_names_are_pulled(
    person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(person.repo)
    sha = person.run(
        'cd "$FYRE_OUTPUTS"; for n in a b c d e f; do echo same > $n; done; '
        r"""touch "$(printf 'x\377')" "$(printf 'y\nz')" -- --force"""
    )
    assert person.final(sha)["state"] == "success"
    folder = tmp_path / "all"
    assert fyre("pull", sha, "-o", str(folder)) == 0
    names = sorted(os.fsencode(path.name) for path in folder.iterdir())
    assert names == [b"--force", b"a", b"b", b"c", b"d", b"e", b"f", b"x\xff", b"y\nz"]
    assert {(folder / name).read_text() for name in "abcdef"} == {"same\n"}


@long_case
def test_a_run_that_is_forgotten_is_still_ranked(
    shas: list[str], person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = person.up.engine
    for record in engine.query_runs(ALL_RUNS):
        engine._records.pop(record.run.key)  # type: ignore[attr-defined] # as after ``history``
    assert fyre("log", "--sort", "acc", "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["sha"], row["best"]["acc"]) for row in rows] == [
        *zip(shas, (0.9, 0.3), strict=True)
    ]
    assert rows[0]["state"] == "succeeded"
